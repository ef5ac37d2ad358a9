package com.nexmdm.host.record

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.host.ExitStatus
import com.nexmdm.host.HaltPoint
import com.nexmdm.host.ProcessEnd
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import java.io.IOException
import java.io.OutputStream
import java.time.Instant
import java.time.ZoneOffset
import java.time.format.DateTimeFormatter

/** The log: a line of JSON an event, written through at once. At [haltAt] the process ends before the line is written. */
internal class JsonLog(
    private val out: OutputStream,
    private val haltAt: HaltPoint? = null,
    private val end: ProcessEnd = ProcessEnd.HALT,
    private val now: () -> Instant = Instant::now,
) : EventLog {
    private var occurrences = 0

    @Synchronized
    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        if (event == haltAt?.event && ++occurrences == haltAt.occurrence) end.now(ExitStatus.KILLED)
        val line =
            buildJsonObject {
                put("ts", TIME.format(now()))
                put("level", level.name.lowercase())
                put("event", event)
                for ((name, value) in fields) put(name, json(value))
            }
        try {
            out.write("$line\n".encodeToByteArray())
            out.flush()
        } catch (_: IOException) {
            // Nobody reads any more; the agent goes on.
            return
        }
    }

    private fun json(value: Any?): JsonPrimitive =
        when (value) {
            null -> JsonNull
            is Number -> JsonPrimitive(value)
            is Boolean -> JsonPrimitive(value)
            else -> JsonPrimitive(value.toString())
        }

    private companion object {
        val TIME: DateTimeFormatter = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC)
    }
}
