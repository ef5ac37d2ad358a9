package com.nexmdm.core.queue

/** What an item of the queue is. */
enum class ItemKind {
    /** Body of a heartbeat. */
    HEARTBEAT,

    /** Body of an action result; never pruned before its 24 h are over. */
    RESULT,

    /** Body of a deployment status; never pruned. */
    DEPLOYMENT_STATUS,

    /** Body of a report about an update of the agent; never pruned. */
    UPDATE_REPORT,
}

/** Something that a node has to acknowledge. */
data class OutboxItem(
    /** Ascending; also the id of its frame on the socket. */
    val id: Long,
    val kind: ItemKind,
    /** The command's `request_id`, the `deployment_id` or the `build_id`; empty for heartbeats. */
    val subject: String,
    /** JSON object. */
    val body: String,
    /** When it was queued, ms by the wall clock. */
    val queuedAtMs: Long,
)

/**
 * The persistent queue of everything that a node has not acknowledged yet.
 *
 * Whatever a function has returned for is durable. Every function throws [com.nexmdm.core.port.SqlException] when storage
 * refuses; nothing is half done then.
 */
interface Outbox {
    /**
     * Queues a heartbeat of the 10-second bucket that begins at [bucketStartMs]; one of the same bucket that waits is replaced.
     * Beyond the limits (500 items, 10 MB) the oldest heartbeats go first.
     */
    fun putHeartbeat(body: String, bucketStartMs: Long): Long

    /** Queues anything else. Also within a transaction of the caller. */
    fun put(kind: ItemKind, subject: String, body: String): Long

    /** The oldest items of [kinds] that are not in [except], at most [limit]. */
    fun oldest(kinds: Set<ItemKind>, limit: Int, except: Set<Long> = emptySet()): List<OutboxItem>

    /** An item by its id. */
    fun get(id: Long): OutboxItem?

    /** Removes an item that was acknowledged, or that no node will ever take. */
    fun remove(id: Long)

    /** Number of items, heartbeats included. */
    fun size(): Int

    /** Number of heartbeats. */
    fun heartbeats(): Int
}
