package com.nexmdm.host.storage

import com.nexmdm.core.identity.VaultDocument
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import java.io.File
import java.io.IOException
import java.nio.channels.FileChannel
import java.time.Instant
import java.time.ZoneOffset
import java.time.format.DateTimeFormatter

/**
 * The keys that the device took from a time on, as `chaos/src/identity/state_file.rs` reads them (`key_history`): a line when the
 * device is enrolled, one for each change of keys, one when the identity is gone. The times are true, whatever the device's clock
 * says. The file holds secrets.
 */
internal class KeyHistory(private val file: File, private val now: () -> Instant = Instant::now) {
    private var last: Line? = AtomicFile.read(file)?.lineSequence()?.mapNotNull(::parse)?.lastOrNull()
    private var out: FileChannel? = null

    /**
     * Lets [write] replace the document, and puts the keys of [document] on record. New keys go on record before the device takes
     * them and old ones leave it after the device let go of them, so that a kill in between makes nothing look forged. Throws
     * [IOException].
     */
    fun record(document: String, write: () -> Unit) {
        val next = of(document)
        val before = last
        if (next == null && before != null && before.kind != GONE) {
            write()
            append(Line(GONE, before.deviceId, why = "identity_forgotten"))
        } else if (next == null || before?.hasKeysOf(next) == true) {
            write()
        } else if (before == null || before.kind == GONE || before.deviceId != next.deviceId) {
            append(next)
            write()
        } else {
            val keys = Line(KEYS, next.deviceId, deviceKey = next.deviceKey, nextDeviceKey = next.nextDeviceKey)
            val addsOne = !before.keys.containsAll(next.keys)
            if (addsOne) append(keys.at(now()))
            write()
            if (!addsOne) append(keys.at(now()))
        }
    }

    private fun append(line: Line) {
        val channel = out ?: open().also { out = it }
        channel.appendLine(json.encodeToString(Line.serializer(), line))
        last = line
    }

    private fun open(): FileChannel {
        // A line that a kill cut off is ended, so that the next one is whole.
        val isCut = AtomicFile.read(file)?.lastOrNull()?.let { it != '\n' } == true
        return AtomicFile.append(file).also { if (isCut) it.appendLine("") }
    }

    private fun of(document: String): Line? {
        val identity =
            try {
                json.decodeFromString(VaultDocument.serializer(), document).identity
            } catch (_: IllegalArgumentException) {
                // Without the cause: it quotes the document.
                throw IOException("the secret document cannot be read")
            }
        identity ?: return null
        return Line(
            kind = DEVICE,
            deviceId = identity.deviceId,
            number = 1,
            alias = identity.alias.orEmpty(),
            deviceToken = identity.deviceToken,
            deviceKey = identity.deviceKey,
            nextDeviceKey = identity.nextDeviceKey,
        )
    }

    private fun parse(text: String): Line? = runCatching { json.decodeFromString(Line.serializer(), text) }.getOrNull()

    /** A line of the file. */
    @Serializable
    private class Line(
        val kind: String,
        @SerialName("device_id") val deviceId: String,
        val number: Long? = null,
        val alias: String? = null,
        @SerialName("device_token") val deviceToken: String? = null,
        val at: String? = null,
        @SerialName("device_key") val deviceKey: String? = null,
        @SerialName("next_device_key") val nextDeviceKey: String? = null,
        val why: String? = null,
    ) {
        val keys: Set<String> get() = setOfNotNull(deviceKey, nextDeviceKey)

        fun hasKeysOf(other: Line): Boolean =
            kind != GONE && deviceId == other.deviceId && deviceKey == other.deviceKey && nextDeviceKey == other.nextDeviceKey

        fun at(time: Instant) = Line(kind, deviceId, number, alias, deviceToken, MILLIS.format(time), deviceKey, nextDeviceKey, why)
    }

    private companion object {
        const val DEVICE = "device"
        const val KEYS = "keys"
        const val GONE = "gone"
        val MILLIS: DateTimeFormatter = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC)
        val json = Json {
            explicitNulls = false
            ignoreUnknownKeys = true
        }
    }
}
