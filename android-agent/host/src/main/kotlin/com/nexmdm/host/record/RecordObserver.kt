package com.nexmdm.host.record

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.port.Observer
import com.nexmdm.core.port.warn
import com.nexmdm.core.wire.Command
import com.nexmdm.host.storage.AtomicFile
import com.nexmdm.host.storage.appendLine
import kotlinx.serialization.json.JsonObject
import java.io.File
import java.io.IOException

/**
 * Appends what the agent does to a record, each line written to the operating system before the agent goes on. Times are true:
 * what the device's clock is off by, [clockOffsetMs], is taken off again.
 */
internal class RecordObserver(
    file: File,
    private val deviceId: () -> String?,
    private val clockOffsetMs: () -> Long,
    private val log: EventLog,
) : Observer {
    private val out = AtomicFile.append(file)
    private var lastBucket: Long? = null

    override fun heartbeatAcknowledged(exchange: Exchange, timestampUtc: String, owner: String?) {
        val bucket = RecordLine.bucketOf(timestampUtc)
        val isRepeat = bucket != null && bucket == lastBucket
        lastBucket = bucket
        write(exchange) { it.heartbeat(timestampUtc, isRepeat, owner) }
    }

    override fun exchangeFailed(exchange: Exchange, status: Int?, error: String) = write(exchange) { it.failure(status, error) }

    override fun commandJudged(exchange: Exchange, path: String, verdict: String, command: Command) =
        write(exchange) { it.command(path, verdict, command) }

    override fun commandExecuted(exchange: Exchange, command: Command) = write(exchange) { it.executed(command) }

    override fun resultAnswered(exchange: Exchange, requestId: String, action: String?, outcome: String, status: Int?) =
        write(exchange) { it.result(requestId, action, outcome, status) }

    override fun installStep(exchange: Exchange, step: InstallStep) = write(exchange) { it.deployment(step) }

    @Synchronized
    private fun write(exchange: Exchange, line: (RecordLine) -> JsonObject) {
        // Before it is enrolled there is no device that a line could be about.
        val deviceId = deviceId() ?: return
        val offsetMs = clockOffsetMs()
        val trueTimes = exchange.copy(sentAtMs = exchange.sentAtMs - offsetMs, answeredAtMs = exchange.answeredAtMs - offsetMs)
        try {
            out.appendLine(line(RecordLine(deviceId, trueTimes)).toString())
        } catch (e: IOException) {
            log.warn("record.failed", "error" to e.message)
        }
    }
}
