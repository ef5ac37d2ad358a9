package com.nexmdm.platform

import android.util.Log
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import java.io.File
import java.io.IOException
import java.io.OutputStream
import java.time.Instant
import java.time.format.DateTimeFormatter
import java.time.temporal.ChronoUnit

/**
 * The structured log in two files of [folder] that take turns: one JSON object a line, at most twice [fileMaxBytes] in all. The
 * older file is dropped when the newer one is full. Also written to logcat.
 */
internal class RingFileLog(
    private val folder: File,
    private val fileMaxBytes: Long = 1 shl 20,
    private val wallMs: () -> Long = System::currentTimeMillis,
) : EventLog {
    private val current = File(folder, "events.jsonl")
    private val previous = File(folder, "events.1.jsonl")

    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        val line = line(level, event, fields)
        Log.println(priority(level), TAG, line.take(LOGCAT_MAX_CHARS))
        // A log that cannot be written must not stop the agent: storage may be full.
        try {
            append((line + "\n").toByteArray())
        } catch (e: IOException) {
            Log.w(TAG, "log not written: ${e.javaClass.simpleName}")
        }
    }

    /** Copies everything, oldest line first. Throws [IOException]. */
    @Synchronized
    fun export(to: OutputStream) {
        for (file in listOf(previous, current)) if (file.exists()) file.inputStream().use { it.copyTo(to) }
    }

    @Synchronized
    private fun append(bytes: ByteArray) {
        folder.mkdirs()
        if (current.length() + bytes.size > fileMaxBytes) {
            previous.delete()
            current.renameTo(previous)
        }
        java.io.FileOutputStream(current, true).use { it.write(bytes) }
    }

    private fun line(level: Level, event: String, fields: Map<String, Any?>): String {
        val at = DateTimeFormatter.ISO_INSTANT.format(Instant.ofEpochMilli(wallMs()).truncatedTo(ChronoUnit.MILLIS))
        return buildJsonObject {
            put("ts", JsonPrimitive(at))
            put("level", JsonPrimitive(level.name.lowercase()))
            put("event", JsonPrimitive(event))
            for ((name, value) in fields.entries.take(FIELDS_MAX)) put(name, json(name, value))
        }.toString()
    }

    private fun json(name: String, value: Any?): JsonElement = when {
        value == null -> JsonNull
        // Nobody should log these; a mistake must not end in a file that people send around.
        SECRET_NAMES.any { name.contains(it, ignoreCase = true) } -> JsonPrimitive("***")
        value is Number -> JsonPrimitive(value)
        value is Boolean -> JsonPrimitive(value)
        else -> JsonPrimitive(value.toString().take(VALUE_MAX_CHARS))
    }

    private fun priority(level: Level) = when (level) {
        Level.DEBUG -> Log.DEBUG
        Level.INFO -> Log.INFO
        Level.WARN -> Log.WARN
        Level.ERROR -> Log.ERROR
    }

    private companion object {
        const val TAG = "nexmdm"
        const val LOGCAT_MAX_CHARS = 3_500
        const val VALUE_MAX_CHARS = 500
        const val FIELDS_MAX = 20
        val SECRET_NAMES = listOf("token", "password", "secret", "device_key", "authorization")
    }
}
