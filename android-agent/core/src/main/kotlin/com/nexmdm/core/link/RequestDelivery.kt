package com.nexmdm.core.link

import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.HeartbeatResponse
import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/** Empties the queue by requests, one at a time: all of it without a socket, beside one what frames are not made for. */
internal class RequestDelivery(
    private val state: LinkState,
    private val outbox: Outbox,
    private val api: ApiClient,
    private val time: TrustedTime,
    private val listener: LinkListener,
    private val acknowledgements: Acknowledgements,
) {
    private var heartbeatsFirst = false

    /** Heartbeats of a refused list that still have to go one by one. */
    private var aloneLeft = 0

    /** Sends until it is cancelled. */
    suspend fun run(): Nothing {
        while (true) {
            val step = if (state.mayTalk()) nextStep() else null
            if (step == null) {
                state.requestSignal.await(state.blockedForMs())
            } else {
                perform(step)
            }
        }
    }

    private fun nextStep(): Step? {
        val socket = state.connection.socket
        // What waits may go on the socket in a moment.
        if (socket == SocketPhase.OPENING) return null
        state.unqueued?.let { return Step.Single(it) }
        return try {
            val isOpen = socket == SocketPhase.OPEN
            val underway = state.underway()
            val heartbeats = if (state.heartbeatsHeld()) emptyList() else heartbeats(isOpen, underway)
            val essential = outbox.oldest(if (isOpen) Delivery.UNFRAMED else Delivery.ESSENTIAL, 1, underway)
            Delivery.nextRequest(Waiting(essential, heartbeats), heartbeatsFirst, aloneLeft > 0)
        } catch (e: SqlException) {
            state.storageFailed(e)
            null
        }
    }

    private fun heartbeats(isOpen: Boolean, underway: Set<Long>): List<OutboxItem> {
        val waiting = outbox.oldest(setOf(ItemKind.HEARTBEAT), Delivery.LIST_ITEMS, underway)
        return if (isOpen && waiting.size < Delivery.BACKLOG) emptyList() else waiting
    }

    private suspend fun perform(step: Step) {
        val items = when (step) {
            is Step.Single -> listOf(step.item)
            is Step.HeartbeatList -> step.items
        }
        state.requested += items.map { it.id }
        try {
            when (step) {
                is Step.Single -> deliver(step.item)
                is Step.HeartbeatList -> deliver(step)
            }
        } finally {
            state.requested.clear()
            // What did not go may go on the socket.
            state.socketSignal.give()
        }
    }

    private suspend fun deliver(item: OutboxItem) {
        val isHeartbeat = item.kind == ItemKind.HEARTBEAT
        val outcome = api.call("POST", Delivery.path(item, state.identity.deviceId), item.body, listOf(item))
        heartbeatsFirst = outcome is CallOutcome.Undecided && !isHeartbeat
        if (outcome !is CallOutcome.Decided) return
        val reply = outcome.reply
        if (isHeartbeat && aloneLeft > 0) aloneLeft--
        when {
            reply is Reply.Ok && Reply.confirms(reply.body) -> {
                if (isHeartbeat) heartbeatTaken(item, reply.body, outcome) else acknowledgements.answered(item, 200, outcome.exchange)
                state.served()
            }
            reply is Reply.Refused -> {
                state.failed(listOf(item), outcome.exchange, reply.status, "refused")
                acknowledgements.answered(item, reply.status, outcome.exchange)
                state.served()
            }
            else -> notUnderstood(listOf(item), outcome)
        }
    }

    private fun heartbeatTaken(item: OutboxItem, body: JsonObject, outcome: CallOutcome.Decided) {
        acknowledgements.heartbeat(item, outcome.exchange, outcome.answer.header(OWNER_HEADER))
        val response = response(body)
        if (response == null) state.ports.log.warn("deliver.fail", "kind" to "heartbeat", "error" to "answer_not_understood")
        response?.let { told(it, outcome) }
    }

    private suspend fun deliver(list: Step.HeartbeatList) {
        val outcome = api.call("POST", LIST_PATH, list.body, list.items)
        heartbeatsFirst = false
        if (outcome !is CallOutcome.Decided) return
        val reply = outcome.reply
        if (reply is Reply.Refused) {
            state.failed(list.items, outcome.exchange, reply.status, "list_refused")
            state.served()
            // One of them is the culprit: they go one by one.
            aloneLeft = list.items.size
            return
        }
        val response = (reply as? Reply.Ok)?.takeIf { "results" in it.body }?.let { response(it.body) }
        if (response == null) return notUnderstood(list.items, outcome)
        val outcomes = response.results.associate { it.index to it.status }
        if (outcomes.any { it.value == 410 }) {
            state.credentials(CredentialEvent.DEVICE_DELETED)
            return
        }
        var kept = 0
        list.items.forEachIndexed { index, item ->
            val status = outcomes[index]
            when {
                status == 200 -> acknowledgements.heartbeat(item, outcome.exchange, outcome.answer.header(OWNER_HEADER))
                status != null && Delivery.isFinal(status) -> {
                    state.failed(listOf(item), outcome.exchange, status, "item_$status")
                    acknowledgements.answered(item, status, outcome.exchange)
                }
                else -> kept++
            }
        }
        state.ports.log.info("deliver.ok", "kind" to "heartbeats", "count" to list.items.size - kept)
        told(response, outcome)
        if (kept == 0) state.served() else keptSome(list.items, kept, outcome)
    }

    private fun keptSome(items: List<OutboxItem>, kept: Int, outcome: CallOutcome.Decided) {
        state.failed(items.takeLast(kept), outcome.exchange, outcome.answer.status, "items_kept")
        state.apply(ConnectionEvent.Failed(Reply.retryAfterMs(outcome.answer), elsewhere = false))
    }

    private fun told(response: HeartbeatResponse, outcome: CallOutcome.Decided) {
        response.serverTime?.let(Rfc3339::parseMs)?.let { time.learn(it, outcome.sentMonotonicMs, state.nowMs()) }
        response.nextHeartbeatSeconds?.let(listener::onNextHeartbeat)
        if (response.commands.isNotEmpty()) state.stored { listener.onCommands(response.commands, PATH_NAME, outcome.exchange) }
    }

    private fun notUnderstood(items: List<OutboxItem>, outcome: CallOutcome.Decided) {
        state.failed(items, outcome.exchange, outcome.answer.status, "answer_not_understood")
        state.apply(ConnectionEvent.Failed(null, elsewhere = true))
    }

    private fun response(body: JsonObject): HeartbeatResponse? = try {
        WireJson.decodeFromJsonElement(HeartbeatResponse.serializer(), body)
    } catch (_: SerializationException) {
        null
    } catch (_: IllegalArgumentException) {
        null
    }

    private companion object {
        const val LIST_PATH = "/v1/heartbeats"

        /** Names the node that decided about a heartbeat, and its epoch. */
        const val OWNER_HEADER = "x-nexmdm-owner"
        const val PATH_NAME = "heartbeat"
    }
}

/** Takes out of the queue what was answered, and tells who has to know. */
internal class Acknowledgements(private val state: LinkState, private val outbox: Outbox, private val listener: LinkListener) {
    /** A heartbeat is stored. */
    fun heartbeat(item: OutboxItem, exchange: Exchange, owner: String?) {
        state.ports.log.info("deliver.ok", "kind" to "heartbeat")
        state.ports.observer.heartbeatAcknowledged(exchange, timestampOf(item), owner)
        state.stored {
            takeOut(item)
            listener.onHeartbeatAcknowledged(item)
        }
    }

    /** An item was answered 200, or with a status with which no node will ever take it. */
    fun answered(item: OutboxItem, status: Int, exchange: Exchange) {
        if (item.kind == ItemKind.HEARTBEAT) {
            state.stored { takeOut(item) }
            return
        }
        if (status == 200) state.ports.log.info("deliver.ok", "kind" to item.kind.name.lowercase())
        if (item.kind == ItemKind.RESULT && status == 200) state.observeResult(item, status, exchange)
        state.stored {
            if (!listener.onAnswered(item, status, exchange)) state.pauseForStorage()
        }
    }

    private fun takeOut(item: OutboxItem) {
        if (state.unqueued?.body == item.body) state.unqueued = null
        if (item.id > 0) outbox.remove(item.id)
    }

    private fun timestampOf(item: OutboxItem): String =
        (WireJson.parseToJsonElement(item.body) as? JsonObject)?.get("timestamp_utc")?.let { it as? JsonPrimitive }?.content.orEmpty()
}
