package com.nexmdm.host.record

import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.host.ExitStatus
import com.nexmdm.host.HaltPoint
import com.nexmdm.host.RecordingEnd
import kotlinx.coroutines.CancellationException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.OutputStream
import java.time.Instant

class JsonLogTest {
    private val out = ByteArrayOutputStream()
    private val end = RecordingEnd()

    private fun log(haltAt: HaltPoint? = null) = JsonLog(out, haltAt, end) { Instant.parse("2026-11-21T15:36:17.0016Z") }

    @Test
    fun `an event is one line of JSON`() {
        log().warn("deliver.fail", "kind" to "result", "status" to 503, "error" to null, "last" to true, "text" to "a \"b\"\nc")
        assertEquals(
            """{"ts":"2026-11-21T15:36:17.001Z","level":"warn","event":"deliver.fail","kind":"result","status":503,"error":null,""" +
                """"last":true,"text":"a \"b\"\nc"}""" + "\n",
            out.toString(),
        )
    }

    @Test
    fun `the process ends before the event of the halt point is written`() {
        val log = log(HaltPoint("command.run", 2))
        log.info("command.recorded")
        log.info("command.run")
        log.info("command.concluded")
        assertThrows(CancellationException::class.java) { log.info("command.run") }
        assertEquals(
            listOf("command.recorded", "command.run", "command.concluded"),
            out.toString().lines().dropLast(1).map {
                it.substringAfter("event\":\"").dropLast(2)
            },
        )
        assertEquals(listOf(ExitStatus.KILLED), end.statuses)
    }

    @Test
    fun `a reader that went away costs the agent nothing`() {
        val broken =
            object : OutputStream() {
                override fun write(b: Int) = throw IOException("broken pipe")
            }
        JsonLog(broken, null, end).info("start")
    }
}
