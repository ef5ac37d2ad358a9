package com.nexmdm.host.record

import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.wire.Command
import com.nexmdm.host.RecordingLog
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.time.Instant

/** The expected lines are those of the simulator's own test, in milliseconds; beneath them are those that it does not show. */
class RecordObserverTest {
    @TempDir
    lateinit var folder: File

    private val file get() = folder.resolve("record.jsonl")
    private val sentAtMs = Instant.parse("2026-11-21T15:36:17.001Z").toEpochMilli()
    private val exchange = Exchange("http://n1:1", sentAtMs, sentAtMs + 2)
    private val command = Command("r1", "d1", "ping", "t", "e", "{\"a\":1}", "s", "1")

    private fun observer(deviceId: String? = "d1", offsetMs: Long = 0) = RecordObserver(file, { deviceId }, { offsetMs }, RecordingLog())

    private fun expected() = javaClass.getResource("/record.jsonl")!!.readText().lines().filter { it.isNotEmpty() }

    private fun everything(observer: RecordObserver, exchange: Exchange) {
        observer.heartbeatAcknowledged(exchange, "2026-11-21T15:36:17Z", "node-2;epoch=3")
        observer.exchangeFailed(exchange, 503, "http_503")
        observer.exchangeFailed(exchange, null, "timeout")
        observer.commandJudged(exchange, "socket", "run", command)
        observer.commandExecuted(exchange, command)
        observer.resultAnswered(exchange, "r1", null, "success", 200)
        observer.resultAnswered(exchange, "r1", "ping", "success", null)
        observer.installStep(exchange, InstallStep("failed", "p1", 2, "low_battery", null, null, 200))
        observer.installStep(exchange, InstallStep("update_installed", "", null, null, "com.nexmdm", 121, null))
    }

    @Test
    fun `the lines are those of the simulator`() {
        everything(observer(), exchange)
        assertEquals(expected().filterNot { "2026-11-12" in it }, file.readLines())
    }

    @Test
    fun `a clock that is wrong by a year is not in the record`() {
        val yearMs = 31_536_000_000
        everything(observer(offsetMs = yearMs), Exchange("http://n1:1", sentAtMs + yearMs, sentAtMs + 2 + yearMs))
        assertEquals(expected().filterNot { "2026-11-12" in it }, file.readLines())
    }

    @Test
    fun `a heartbeat by an unbelievable clock has no bucket and may have no owner`() {
        val line = RecordLine("d1", exchange).heartbeat("2026-11-12T15:36:17.25Z", true, "-")
        assertEquals(expected()[1], line.toString())
        for (owner in listOf(null, "", "node-1", "node-1;epoch=", "node-1;7")) {
            assertEquals(line, RecordLine("d1", exchange).heartbeat("2026-11-12T15:36:17Z", true, owner), "owner $owner")
        }
    }

    @Test
    fun `a second heartbeat of the same bucket is a repeat`() {
        val observer = observer()
        val times = listOf("2026-11-21T15:36:10Z", "2026-11-21T15:36:19Z", "2026-11-21T15:36:20Z")
        for (time in times) observer.heartbeatAcknowledged(exchange, time, null)
        assertEquals(listOf(false, true, false), file.readLines().map { "\"repeat\":true" in it })
    }

    @Test
    fun `lines are added to those of the process before, and none without a device`() {
        observer().exchangeFailed(exchange, null, "timeout")
        observer(deviceId = null).exchangeFailed(exchange, null, "timeout")
        observer().exchangeFailed(exchange, null, "timeout")
        assertEquals(2, file.readLines().size)
    }
}
