package com.nexmdm.core.link

/** Limits of the link. */
data class LinkSettings(
    /** Upper bound of the wait after a first failure, ms. */
    val retryBaseMs: Long,
    /** Upper bound of any wait between retries, ms. */
    val retryCapMs: Long,
    /** Deadline of a call and of the acknowledgement of a frame, ms. */
    val callTimeoutMs: Long,
    /** Whether a socket is kept open. */
    val useSocket: Boolean,
)
