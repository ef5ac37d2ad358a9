package com.nexmdm.core.agent

/** When the next heartbeat is due; the first is at once. Times are monotonic, ms. */
data class HeartbeatSchedule(
    val nextAtMs: Long,
    /** Time between two while no answer says otherwise. */
    val intervalMs: Long,
    /** Whether the interval was set on the device, so that answers change nothing. */
    val isFixed: Boolean,
) {
    /** After a heartbeat was made at [nowMs]. */
    fun made(nowMs: Long): HeartbeatSchedule = copy(nextAtMs = nowMs + intervalMs)

    /** After a server told at [nowMs] in how many seconds it wants the next one. */
    fun answered(seconds: Long, nowMs: Long): HeartbeatSchedule {
        if (isFixed) return this
        val askedMs = seconds.coerceIn(1, ASKED_MAX_S) * 1_000
        return copy(nextAtMs = nowMs + askedMs, intervalMs = askedMs)
    }

    companion object {
        /** Until a server says otherwise. */
        const val DEFAULT_INTERVAL_MS: Long = 300_000

        private const val ASKED_MAX_S = 86_400L

        /** From a start at [nowMs] on; [fixedIntervalMs] when it is set on the device. */
        fun startingAt(nowMs: Long, fixedIntervalMs: Long?): HeartbeatSchedule =
            HeartbeatSchedule(nowMs, fixedIntervalMs ?: DEFAULT_INTERVAL_MS, fixedIntervalMs != null)
    }
}
