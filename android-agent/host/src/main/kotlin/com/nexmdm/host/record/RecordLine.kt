package com.nexmdm.host.record

import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.wire.Command
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import java.time.Duration
import java.time.Instant
import java.time.ZoneOffset
import java.time.format.DateTimeFormatter
import java.time.format.DateTimeParseException
import java.time.temporal.ChronoUnit

/** Lines of a record, in the format of the simulator (`chaos/src/fleet/record.rs`), which its oracle reads. */
internal class RecordLine(private val deviceId: String, private val exchange: Exchange) {
    /** A heartbeat was acknowledged. */
    fun heartbeat(timestampUtc: String, isRepeat: Boolean, owner: String?): JsonObject =
        buildJsonObject {
            put("device_id", deviceId)
            val deviceTime = instant(timestampUtc)
            put("timestamp_utc", deviceTime?.let(::seconds) ?: timestampUtc)
            put("bucket_at", deviceTime?.let(::bucket)?.let { JsonPrimitive(seconds(it)) } ?: JsonNull)
            put("status", OK)
            put("repeat", isRepeat)
            common("heartbeat")
            val (name, epoch) = ownerAndEpoch(owner)
            put("owner", name?.let { JsonPrimitive(it) } ?: JsonNull)
            put("epoch", epoch?.let { JsonPrimitive(it) } ?: JsonNull)
        }

    /** A request came to nothing. */
    fun failure(status: Int?, error: String): JsonObject =
        buildJsonObject {
            put("device_id", deviceId)
            status?.let { put("status", it) }
            common("failure")
            put("error", error)
        }

    /** A command arrived and was judged. */
    fun command(path: String, verdict: String, command: Command): JsonObject =
        buildJsonObject {
            put("device_id", deviceId)
            common("command", withSent = false)
            put("path", path)
            put("verdict", verdict)
            put("command", json(command))
        }

    /** A command is about to run. */
    fun executed(command: Command): JsonObject =
        buildJsonObject {
            put("device_id", deviceId)
            common("executed", withSent = false)
            put("command", json(command))
        }

    /** A result was told; without a status the answer was lost. */
    fun result(requestId: String, action: String?, outcome: String, status: Int?): JsonObject =
        buildJsonObject {
            put("device_id", deviceId)
            status?.let { put("status", it) }
            common("result")
            if (status == null) put("error", "answer_lost")
            put("request_id", requestId)
            action?.let { put("action", it) }
            put("outcome", outcome)
        }

    /** An installation made a step. */
    fun deployment(step: InstallStep): JsonObject =
        buildJsonObject {
            put("device_id", deviceId)
            step.status?.let { put("status", it) }
            common("deployment")
            put("step", step.step)
            if (step.deploymentId.isNotEmpty()) put("deployment_id", step.deploymentId)
            step.attempt?.let { put("attempt", it) }
            step.error?.let { put("code", it) }
            step.packageName?.let { put("package", it) }
            step.versionCode?.let { put("version_code", it) }
        }

    private fun JsonObjectBuilder.common(what: String, withSent: Boolean = true) {
        put("what", what)
        if (withSent) put("sent_at", precise(exchange.sentAtMs))
        put("answered_at", precise(exchange.answeredAtMs))
        put("server", exchange.server)
    }

    /** The bucket that the server believes a device's time leads to; null when the clock is too far off. */
    private fun bucket(deviceTime: Instant): Instant? {
        val answeredAt = Instant.ofEpochMilli(exchange.answeredAtMs)
        val isBelieved = deviceTime >= answeredAt - BELIEVED_PAST && deviceTime <= answeredAt + BELIEVED_FUTURE
        return if (isBelieved) Instant.ofEpochSecond(Math.floorDiv(deviceTime.epochSecond, BUCKET_S) * BUCKET_S) else null
    }

    companion object {
        private const val OK = 200
        private const val BUCKET_S = 10L
        private val BELIEVED_PAST = Duration.ofDays(7)
        private val BELIEVED_FUTURE = Duration.ofMinutes(5)
        private val MICROS = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC)
        private val everything = Json { encodeDefaults = true }

        /** A time to the microsecond, as PostgreSQL keeps times. */
        fun precise(ms: Long): String = MICROS.format(Instant.ofEpochMilli(ms))

        /** Start of the bucket that a heartbeat's time falls in, s; null when it is no time. */
        fun bucketOf(timestampUtc: String): Long? = instant(timestampUtc)?.let { Math.floorDiv(it.epochSecond, BUCKET_S) }

        private fun instant(text: String): Instant? =
            try {
                Instant.parse(text)
            } catch (_: DateTimeParseException) {
                null
            }

        private fun seconds(at: Instant): String = at.truncatedTo(ChronoUnit.SECONDS).toString()

        private fun json(command: Command) = everything.encodeToJsonElement(Command.serializer(), command)

        /** `node-1;epoch=7`; `-` means that no owner decided. */
        private fun ownerAndEpoch(text: String?): Pair<String?, Long?> {
            val owner = text?.substringBefore(';', "")?.trim().orEmpty()
            val epoch = text?.substringAfter(';')?.trim()?.takeIf { it.startsWith(EPOCH) }?.removePrefix(EPOCH)?.toLongOrNull()
            return if (epoch == null || ';' !in text) null to null else owner to epoch
        }

        private const val EPOCH = "epoch="
    }
}
