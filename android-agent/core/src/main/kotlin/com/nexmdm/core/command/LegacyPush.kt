package com.nexmdm.core.command

import com.nexmdm.core.time.Rfc3339
import java.security.MessageDigest
import java.time.Duration
import java.time.Instant

/**
 * The check of push data by its `hmac`, as agents of the earlier server make it: actors/wire/fixtures/README.md.
 *
 * Such data does not run here, since its parameters are not signed; an authentic one makes the agent fetch the signed command.
 */
internal object LegacyPush {
    private val LIFETIME: Duration = Duration.ofSeconds(300)
    private val FIELDS = listOf("request_id", "device_id", "action", "ts")
    private const val REMOTE_EXEC = "remote_exec_fcm"
    private val REMOTE_EXEC_PARAMETERS = listOf("duration", "enable", "package_name", "type")

    /** Judges push data; throws what [JudgeInput.knows] throws. */
    fun judge(data: Map<String, String>, input: JudgeInput): Verdict {
        val field = { name: String -> data[name].orEmpty() }
        val issuedAt = Rfc3339.parse(field("ts"))
        return when {
            !isSigned(data, input.keys) -> Verdict.BAD_SIGNATURE
            field("device_id") != input.deviceId -> Verdict.OTHER_DEVICE
            issuedAt == null -> Verdict.EXPIRED
            input.now == null -> Verdict.TIME_UNKNOWN
            isBeyondLifetime(issuedAt, input.now) -> Verdict.EXPIRED
            input.knows(field("request_id")) -> Verdict.SEEN_BEFORE
            else -> Verdict.RUN
        }
    }

    private fun isBeyondLifetime(issuedAt: Instant, now: Instant): Boolean = Duration.between(issuedAt, now).abs() > LIFETIME

    private fun isSigned(data: Map<String, String>, keys: List<DeviceKey>): Boolean {
        val given = Hex.decode(data["hmac"].orEmpty()) ?: return false
        val text = utf8(text(data)) ?: return false
        return keys.filter { MessageDigest.isEqual(hmacSha256(it.text.toByteArray(), text), given) }.isNotEmpty()
    }

    private fun text(data: Map<String, String>): String = buildString {
        append(FIELDS.joinToString("|") { data[it].orEmpty() })
        if (data["action"] == REMOTE_EXEC) {
            REMOTE_EXEC_PARAMETERS.forEach { name -> data[name]?.takeIf { it.isNotEmpty() }?.let { append("|$name:$it") } }
        }
    }
}
