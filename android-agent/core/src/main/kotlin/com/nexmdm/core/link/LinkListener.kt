package com.nexmdm.core.link

import com.nexmdm.core.port.Exchange
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.wire.Command

/** Takes what servers say. Functions may throw [com.nexmdm.core.port.SqlException]: what they were told is told again then. */
interface LinkListener {
    /** Commands arrived by [path]: `socket` or `heartbeat`. */
    fun onCommands(commands: List<Command>, path: String, exchange: Exchange)

    /**
     * A result, status or report was answered: 200, or a status with which no node will ever take it. Takes it out of the queue;
     * false when it has to be sent again, after a pause.
     */
    fun onAnswered(item: OutboxItem, status: Int, exchange: Exchange): Boolean

    /** A heartbeat was acknowledged and is no longer in the queue. */
    fun onHeartbeatAcknowledged(item: OutboxItem)

    /** A server told when it wants the next heartbeat, s. */
    fun onNextHeartbeat(seconds: Long)

    /** Something about the connection changed: server, way, contact or trouble. */
    fun onConnection(report: LinkReport)
}

/** What there is to see of the connection. */
data class LinkReport(
    /** Base address of the server that is used. */
    val server: String,
    /** Whether a socket is open. */
    val socketOpen: Boolean,
    /** When a server answered well last, ms by the wall clock. */
    val contactAtMs: Long?,
    /** What went wrong since, for a person. */
    val error: String?,
)

/** Why a link ended. */
enum class LinkEnd {
    /** Five 401 in a row. */
    REFUSED,

    /** 410: the device was deleted. */
    DELETED,
}
