package com.nexmdm.core.link

import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.OutboxItem

/** What waits to be sent, as far as a plan has to know; oldest first, without what is on its way. */
class Waiting(
    /** Results, statuses and reports. */
    val essential: List<OutboxItem>,
    val heartbeats: List<OutboxItem>,
)

/** One request. */
sealed interface Step {
    /** One item in a request of its own. */
    data class Single(val item: OutboxItem) : Step

    /** Heartbeats as a list; [body] is the JSON array. */
    data class HeartbeatList(val items: List<OutboxItem>, val body: String) : Step
}

/** How the queue is emptied: pure planning and the texts that go out. */
object Delivery {
    /** Frames that may wait for their acknowledgement at the same time. */
    const val WINDOW: Int = 8

    /** With a socket open, heartbeats go as lists over HTTP once so many wait. */
    const val BACKLOG: Int = 16

    /** Most heartbeats of a list: the server's limit. */
    const val LIST_ITEMS: Int = 100

    /** Most bytes of a list: the server's limit of 64 KiB, with some room. */
    const val LIST_BYTES: Int = 60 shl 10

    /** Kinds that go before heartbeats and that no power saving holds back. */
    val ESSENTIAL: Set<ItemKind> = setOf(ItemKind.RESULT, ItemKind.DEPLOYMENT_STATUS, ItemKind.UPDATE_REPORT)

    /** Kinds that have a frame on the socket. */
    val FRAMED: Set<ItemKind> = setOf(ItemKind.RESULT, ItemKind.DEPLOYMENT_STATUS)

    /** Kinds that have none. */
    val UNFRAMED: Set<ItemKind> = setOf(ItemKind.UPDATE_REPORT)

    /**
     * The next request over HTTP, or null. [heartbeatsFirst] after a result that was not taken, so that a server that takes no
     * results still hears heartbeats; [alone] while the heartbeats of a refused list go one by one.
     */
    fun nextRequest(waiting: Waiting, heartbeatsFirst: Boolean, alone: Boolean): Step? {
        val essential = waiting.essential.firstOrNull()?.let(Step::Single)
        val heartbeats = heartbeatRequest(waiting.heartbeats, alone)
        return if (heartbeatsFirst) heartbeats ?: essential else essential ?: heartbeats
    }

    private fun heartbeatRequest(heartbeats: List<OutboxItem>, alone: Boolean): Step? {
        val first = heartbeats.firstOrNull() ?: return null
        if (alone || heartbeats.size == 1) return Step.Single(first)
        var bytes = 1
        val listed = heartbeats.take(LIST_ITEMS).takeWhile { item ->
            bytes += item.body.encodeToByteArray().size + 1
            bytes <= LIST_BYTES
        }
        if (listed.size < 2) return Step.Single(first)
        return Step.HeartbeatList(listed, listed.joinToString(",", "[", "]") { it.body })
    }

    /** Path of an item's own request. */
    fun path(item: OutboxItem, deviceId: String): String = when (item.kind) {
        ItemKind.HEARTBEAT -> "/v1/heartbeat"
        ItemKind.RESULT -> "/v1/action-result"
        ItemKind.DEPLOYMENT_STATUS -> "/v1/agent/deployments/${item.subject}/devices/$deviceId/status"
        ItemKind.UPDATE_REPORT -> "/v1/agent/update/report"
    }

    /** Text of an item's frame: the fields of its body beside the frame's own; null for a kind without one. */
    fun frame(item: OutboxItem): String? {
        val own = when (item.kind) {
            ItemKind.HEARTBEAT -> """{"type":"heartbeat","id":${item.id}"""
            ItemKind.RESULT -> """{"type":"action_result","id":${item.id}"""
            ItemKind.DEPLOYMENT_STATUS -> """{"type":"deployment_status","id":${item.id},"deployment_id":"${item.subject}""""
            ItemKind.UPDATE_REPORT -> return null
        }
        val rest = item.body.trim().removePrefix("{")
        return if (rest == "}") "$own}" else "$own,$rest"
    }

    /** Whether a node that answered an item with [status] will never take it. */
    fun isFinal(status: Int): Boolean = status !in setOf(401, 408, 410, 425, 429) && status in 400..499
}
