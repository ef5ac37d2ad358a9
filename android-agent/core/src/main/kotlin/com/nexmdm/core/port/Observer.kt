package com.nexmdm.core.port

import com.nexmdm.core.wire.Command

/** One exchange with a node; times are ms since 1970 by the agent's [Clock]. */
data class Exchange(
    /** Base address of the node. */
    val server: String,
    /** When the request was sent. */
    val sentAtMs: Long,
    /** When the answer was there. */
    val answeredAtMs: Long,
)

/** One step of an installation. */
data class InstallStep(
    /** A status that was reported, or `downloaded`, `installed`, `update_downloaded`, `update_installed`, `update_failed`. */
    val step: String,
    /** The deployment; empty for an update of the agent. */
    val deploymentId: String,
    /** Number of the server's attempt. */
    val attempt: Int?,
    /** Error code that was reported. */
    val error: String?,
    /** Package that is installed. */
    val packageName: String?,
    /** Version code that is installed. */
    val versionCode: Long?,
    /** HTTP status of the report, when it was one. */
    val status: Int?,
)

/**
 * A witness of what the agent does, for tests that judge it from outside. Unlike the log it is given whole commands, secrets
 * included; on a device nothing implements it.
 */
interface Observer {
    /** A heartbeat was acknowledged; [owner] is the node's `X-NexMDM-Owner` or the frame's `owner`. */
    fun heartbeatAcknowledged(exchange: Exchange, timestampUtc: String, owner: String?) = Unit

    /** A request came to nothing: [status] of the answer, or null and the kind of [error]. */
    fun exchangeFailed(exchange: Exchange, status: Int?, error: String) = Unit

    /** A command arrived by [path] (`socket`, `heartbeat`, `push`) and [verdict] was reached. */
    fun commandJudged(exchange: Exchange, path: String, verdict: String, command: Command) = Unit

    /** A command is about to run; its id is on record already. */
    fun commandExecuted(exchange: Exchange, command: Command) = Unit

    /** A result was answered with [status]. */
    fun resultAnswered(exchange: Exchange, requestId: String, action: String?, outcome: String, status: Int?) = Unit

    /** An installation made a step. */
    fun installStep(exchange: Exchange, step: InstallStep) = Unit

    /** An observer that sees nothing. */
    object None : Observer
}
