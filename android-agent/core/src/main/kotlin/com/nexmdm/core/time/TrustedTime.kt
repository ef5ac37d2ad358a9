package com.nexmdm.core.time

import com.nexmdm.core.port.Clock
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlin.math.abs

/** Storage for the estimate of the server's time. Best effort: neither function throws. */
interface TimePersistence {
    /** What was saved last, or null. */
    fun load(): String?

    /** Replaces what is saved. */
    fun save(document: String)
}

/** What an estimate of the server's time rests on, the best first. */
enum class TimeSource {
    /** An answer of the server during this boot, carried on by the monotonic clock. */
    SERVER,

    /** The wall clock, corrected by its skew before the reboot. */
    LAST_SKEW,

    /** The wall clock alone. */
    WALL_CLOCK,

    /** Nothing: the wall clock is earlier than times that are certain to be over. */
    NONE,
}

/**
 * The server's time as the agent knows it.
 *
 * Commands expire by the server's clock, and a device's own may be wrong by years. Within a boot one answer of the server settles the
 * time: the monotonic clock carries it on and no jump of the wall clock matters. After a reboot the wall clock with the skew that it
 * had serves until the next answer, and before any answer the wall clock alone, both only while plausible: not earlier than
 * [builtAtMs] nor than the latest time that the server was known to have. Otherwise the time is unknown.
 */
class TrustedTime(
    private val clock: Clock,
    private val bootId: String,
    private val persistence: TimePersistence,
    /** When the agent was built, ms since 1970: no true time is earlier. */
    private val builtAtMs: Long,
) {
    @Serializable
    private data class Saved(
        @SerialName("boot_id") val bootId: String,
        /** Server's time minus monotonic clock. */
        @SerialName("offset_ms") val offsetMs: Long,
        /** Server's time minus wall clock. */
        @SerialName("skew_ms") val skewMs: Long,
        /** The server's time when this was saved. */
        @SerialName("server_ms") val serverMs: Long,
    )

    private var saved: Saved? = persistence.load()?.let(::decode)

    /** What [nowMs] rests on at present. */
    val source: TimeSource
        get() {
            val last = saved ?: return if (clock.wallMs() >= builtAtMs) TimeSource.WALL_CLOCK else TimeSource.NONE
            return when {
                last.bootId == bootId -> TimeSource.SERVER
                clock.wallMs() + last.skewMs >= maxOf(builtAtMs, last.serverMs) -> TimeSource.LAST_SKEW
                else -> TimeSource.NONE
            }
        }

    /** Whether the server told its time during this boot. */
    val isKnown: Boolean get() = source == TimeSource.SERVER

    /** The best estimate of the server's time, ms since 1970; whatever the wall clock says when there is no better one. */
    fun nowMs(): Long = clock.wallMs() + skewMs()

    /** The server's time for decisions that a wrong time would make wrong, ms since 1970; null when it is unknown. */
    fun reliableNowMs(): Long? = if (source == TimeSource.NONE) null else nowMs()

    /** The server's time minus the wall clock, ms; 0 when unknown. */
    fun skewMs(): Long = when (source) {
        TimeSource.SERVER -> clock.monotonicMs() + (saved?.offsetMs ?: 0) - clock.wallMs()
        TimeSource.LAST_SKEW -> saved?.skewMs ?: 0
        TimeSource.WALL_CLOCK, TimeSource.NONE -> 0
    }

    /**
     * Takes the time that an answer of the server carried. It was true at some moment between [sentMonotonicMs] and
     * [receivedMonotonicMs]; [resolutionMs] is the unit that it was cut off to (1,000 for a `Date` header). An estimate that agrees
     * is kept, so that it does not wander with the length of round trips.
     */
    fun learn(serverTimeMs: Long, sentMonotonicMs: Long, receivedMonotonicMs: Long, resolutionMs: Long = 1) {
        val roundTripMs = receivedMonotonicMs - sentMonotonicMs
        if (roundTripMs !in 0..ROUND_TRIP_MAX_MS || serverTimeMs < 0 || serverTimeMs > SERVER_TIME_MAX_MS) return
        val offsets = (serverTimeMs - receivedMonotonicMs)..(serverTimeMs + resolutionMs - sentMonotonicMs)
        val present = saved?.takeIf { it.bootId == bootId }
        val offsetMs = present?.offsetMs?.takeIf { it in offsets } ?: (offsets.first + (offsets.last - offsets.first) / 2)
        val serverMs = clock.monotonicMs() + offsetMs
        val next = Saved(bootId, offsetMs, serverMs - clock.wallMs(), serverMs)
        val isNews = present == null || present.offsetMs != offsetMs || abs(present.skewMs - next.skewMs) > SKEW_CHANGE_MS ||
            serverMs - present.serverMs > SAVE_INTERVAL_MS
        if (isNews) {
            saved = next
            persistence.save(Json.encodeToString(Saved.serializer(), next))
        }
    }

    private fun decode(document: String): Saved? = try {
        Json.decodeFromString(Saved.serializer(), document)
    } catch (_: SerializationException) {
        null
    }

    private companion object {
        /** An answer that took longer says too little. */
        const val ROUND_TRIP_MAX_MS = 60_000L

        /** The year 9999. */
        const val SERVER_TIME_MAX_MS = 253_402_300_799_999L

        /** A change of the wall clock that is worth a write. */
        const val SKEW_CHANGE_MS = 500L

        /** An estimate is saved again after this time, so that the latest known time of the server is not too old. */
        const val SAVE_INTERVAL_MS = 3_600_000L
    }
}
