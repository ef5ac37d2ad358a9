package com.nexmdm.core.time

import com.nexmdm.core.port.Randomness

/** Waits between retries: exponential with full jitter, and never shorter than the server asked for. */
class Backoff(
    /** Upper bound of the wait after a first failure, ms. */
    private val baseMs: Long,
    /** Upper bound of any wait that the server did not ask for, ms. */
    private val capMs: Long,
) {
    /** Wait in ms after a failure that followed [failures] others in a row; [retryAfterMs] is what the server asked for. */
    fun delayMs(failures: Int, retryAfterMs: Long?, randomness: Randomness): Long {
        if (retryAfterMs != null) {
            // Never earlier than asked; a little later, so that not all devices come at once.
            val askedMs = retryAfterMs.coerceIn(0, RETRY_AFTER_MAX_MS)
            return askedMs + randomness.below(askedMs / 10 + 1)
        }
        val fullMs = (baseMs shl failures.coerceIn(0, SHIFT_MAX)).coerceAtMost(capMs).coerceAtLeast(1)
        return 1 + randomness.below(fullMs)
    }

    internal companion object {
        /** Upper bound of the first wait, ms, where nothing else is set. */
        const val BASE_MS: Long = 2_000

        /** Upper bound of any wait, ms, where nothing else is set. */
        const val CAP_MS: Long = 300_000

        /** A server that asks for more than this is taken to have meant this. */
        private const val RETRY_AFTER_MAX_MS = 600_000L
        private const val SHIFT_MAX = 20
    }
}
