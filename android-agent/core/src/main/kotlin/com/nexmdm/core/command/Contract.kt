package com.nexmdm.core.command

/** What commands want of the agent as a whole. Neither function throws. */
interface AgentControl {
    /** Queues and sends a heartbeat now; [pingRequestId] when it answers a ping. */
    fun reportNow(pingRequestId: String?)

    /** There is something new to deliver. */
    fun deliverNow()
}
