package com.nexmdm.core.agent

/** Where an agent stands in its life. */
enum class AgentPhase {
    /** It belongs to no server and has no token. */
    UNENROLLED,

    /** It has a token and registers, or waits to try again. */
    REGISTERING,

    /** The server refused the registration for good; a new token is needed. */
    REGISTRATION_REFUSED,

    /** It belongs to a server. */
    ENROLLED,

    /** The server ended its identity; it can be enrolled anew. */
    IDENTITY_FORGOTTEN,
}

/** How an agent reaches its server. */
enum class ConnectionKind { NONE, HTTP, SOCKET }

/** What the status screen shows; no secrets. */
data class AgentStatus(
    val phase: AgentPhase = AgentPhase.UNENROLLED,
    /** Base address of the server in use, or of the one it registers with. */
    val server: String? = null,
    val alias: String? = null,
    val deviceId: String? = null,
    /** When a server last acknowledged something, ms since 1970 by the wall clock. */
    val lastContactMs: Long? = null,
    /** Items that wait for acknowledgement. */
    val queueSize: Int = 0,
    val connection: ConnectionKind = ConnectionKind.NONE,
    /** What went wrong last, in words; null once something succeeded. */
    val lastError: String? = null,
    val agentVersionCode: Long = 0,
)
