package com.nexmdm.core.agent

import com.nexmdm.core.link.LinkSettings
import com.nexmdm.core.time.Backoff

/** What a platform may set; the defaults are those of the reliability specification. */
data class AgentSettings(
    /** Time between heartbeats, ms; null: as the server says. */
    val heartbeatIntervalMs: Long? = null,
    /** Upper bound of the wait after a first failure, ms; doubles with every further one. */
    val retryBaseMs: Long = Backoff.BASE_MS,
    /** Upper bound of any wait between retries, ms. */
    val retryCapMs: Long = Backoff.CAP_MS,
    /** Deadline of a call and of the acknowledgement of a frame, ms. */
    val callTimeoutMs: Long = 20_000,
    /** Whether a socket is kept open; HTTP alone otherwise. */
    val useSocket: Boolean = true,
    /** When the agent was built, ms since 1970: an earlier wall clock is wrong. */
    val builtAtMs: Long = FIRST_RELEASE_MS,
) {
    internal val link: LinkSettings get() = LinkSettings(retryBaseMs, retryCapMs, callTimeoutMs, useSocket)

    private companion object {
        /** 2026-11-01T00:00:00Z. */
        const val FIRST_RELEASE_MS = 1_793_491_200_000
    }
}
