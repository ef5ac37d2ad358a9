package com.nexmdm.core.command

import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.wire.Command
import java.time.Instant

/** What the agent does with a command that arrived; in this order, the first that is true. */
enum class Verdict {
    /** `v` is not `1`. */
    UNKNOWN_VERSION,

    /** No key of the device made this signature over these fields. */
    BAD_SIGNATURE,

    /** It is signed, but names another device. */
    OTHER_DEVICE,

    /** Its time is over, or is no time. */
    EXPIRED,

    /** Whether its time is over is unknown, because the server's time is: it is left for later. */
    TIME_UNKNOWN,

    /** Its `request_id` was run before. */
    SEEN_BEFORE,

    /** It is older than the replay memory, which was lost: it may have run. */
    MEMORY_LOST,

    /** There is no room to remember another, or storage refused: it is left for later. */
    MEMORY_FULL,

    /** Run it, now and never again. */
    RUN,
    ;

    /** As the fixtures and the record spell it. */
    val wireName: String get() = name.lowercase()

    /** Whether the same command may come again and get another verdict. */
    val isLeftForLater: Boolean get() = this == TIME_UNKNOWN || this == MEMORY_FULL
}

/** What the agent knows when it judges a command. */
class JudgeInput(
    /** Who the device is. */
    val deviceId: String,
    /** The keys that it takes. */
    val keys: List<DeviceKey>,
    /** The server's time, or null when it is unknown. */
    val now: Instant?,
    /** Commands made before this time (ms since 1970) may have run. */
    val replayFloorMs: Long = 0,
    /** Whether a `request_id` is remembered. */
    val knows: (String) -> Boolean,
)

/** Judges a command; throws what [JudgeInput.knows] throws. */
fun judge(command: Command, input: JudgeInput): Verdict {
    val expiresAt = Rfc3339.parse(command.expiresAt)
    return when {
        command.v != Signature.VERSION -> Verdict.UNKNOWN_VERSION
        Signature.makers(input.keys, command).isEmpty() -> Verdict.BAD_SIGNATURE
        command.deviceId != input.deviceId -> Verdict.OTHER_DEVICE
        expiresAt == null -> Verdict.EXPIRED
        input.now == null -> Verdict.TIME_UNKNOWN
        !input.now.isBefore(expiresAt) -> Verdict.EXPIRED
        input.knows(command.requestId) -> Verdict.SEEN_BEFORE
        input.replayFloorMs > 0 && (uuidTimeMs(command.requestId) ?: 0) < input.replayFloorMs -> Verdict.MEMORY_LOST
        else -> Verdict.RUN
    }
}

private val UUID_V7 = Regex("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

/** The time of a UUID of version 7 (RFC 9562, section 5.7) in ms since 1970, or null when it is none. */
internal fun uuidTimeMs(text: String): Long? =
    if (UUID_V7.matches(text)) (text.substring(0, 8) + text.substring(9, 13)).toLong(radix = 16) else null
