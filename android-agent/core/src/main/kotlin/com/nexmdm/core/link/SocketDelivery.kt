package com.nexmdm.core.link

import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import com.nexmdm.core.port.SocketRefused
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.Command
import com.nexmdm.core.wire.DownFrame
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.selects.onTimeout
import kotlinx.coroutines.selects.select
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.longOrNull

/** Keeps a socket open while it can, and sends what waits as frames. */
internal class SocketDelivery(
    private val state: LinkState,
    private val outbox: Outbox,
    private val sessions: Sessions,
    private val time: TrustedTime,
    private val listener: LinkListener,
    private val acknowledgements: Acknowledgements,
) {
    private sealed interface Event {
        class Text(val text: String) : Event

        class Closed(val failure: NetworkException?) : Event
    }

    /** An open socket and what arrives on it. */
    private class Open(val socket: Socket, val events: Channel<Event>, val server: String, val openedAtMs: Long)

    /** Opens sockets and serves them until it is cancelled. */
    suspend fun run(): Nothing {
        if (!state.settings.useSocket) awaitCancellation()
        while (true) {
            if (wantsSocket()) {
                open()?.let { serve(it) }
            } else {
                state.socketSignal.await(waitMs())
            }
        }
    }

    private fun wantsSocket(): Boolean {
        val connection = state.connection
        val isRetryPaused = connection.socketFailures > 0 && state.isPowerLow()
        // Acknowledgements do not tell the time, without which no command can be judged.
        return time.isKnown && state.mayTalk() && connection.wantsSocket(state.nowMs()) && !isRetryPaused
    }

    private fun waitMs(): Long? {
        if (!state.connection.answered || !time.isKnown) return null
        val socketMs = (state.connection.socketBlockedUntilMs - state.nowMs()).takeIf { it > 0 }
        return listOfNotNull(state.blockedForMs(), socketMs).maxOrNull()
    }

    private suspend fun open(): Open? {
        state.apply(ConnectionEvent.SocketOpening)
        val token = sessions.token()
        if (token == null) {
            state.apply(ConnectionEvent.SocketClosed)
            return null
        }
        val server = state.server
        val sentAtMs = state.ports.clock.wallMs()
        val events = Channel<Event>(EVENTS_MAX)
        val toChannel = object : SocketListener {
            override fun onText(text: String) {
                // A node that sends faster than it is served: the socket is given up rather than memory.
                if (events.trySend(Event.Text(text)).isFailure) events.close()
            }

            override fun onClosed(failure: NetworkException?) {
                if (events.trySend(Event.Closed(failure)).isFailure) events.close()
            }
        }
        var isKept = false
        try {
            val socket = withTimeoutOrNull(state.settings.callTimeoutMs) {
                state.ports.http.openSocket(server + PATH, token, toChannel)
            }
            if (socket == null) {
                unreachable(server, sentAtMs, "timeout")
                return null
            }
            state.endSocket = { orderly -> if (orderly) socket.close() else socket.drop() }
            state.apply(ConnectionEvent.SocketOpened)
            state.ports.log.info("socket.open", "server" to server)
            isKept = true
            return Open(socket, events, server, sentAtMs)
        } catch (e: NetworkException) {
            unreachable(server, sentAtMs, e.failure.name.lowercase())
        } catch (e: SocketRefused) {
            refused(e, server, sentAtMs)
        } finally {
            if (!isKept && state.connection.socket == SocketPhase.OPENING) state.apply(ConnectionEvent.SocketClosed)
        }
        return null
    }

    private fun unreachable(server: String, sentAtMs: Long, error: String) {
        state.exchangeFailed(state.exchange(server, sentAtMs), null, error)
        state.apply(ConnectionEvent.SocketUnavailable)
        state.apply(ConnectionEvent.Failed(null, elsewhere = true))
    }

    private fun refused(refusal: SocketRefused, server: String, sentAtMs: Long) {
        val status = refusal.answer.status
        state.exchangeFailed(state.exchange(server, sentAtMs), status, "socket_$status")
        val reply = Reply.of(refusal.answer)
        when {
            reply is Reply.Unauthorized -> unauthorized()
            reply is Reply.DeviceDeleted -> state.credentials(CredentialEvent.DEVICE_DELETED)
            reply is Reply.Unavailable && !reply.elsewhere -> {
                state.apply(ConnectionEvent.SocketUnavailable)
                state.apply(ConnectionEvent.Failed(reply.retryAfterMs, elsewhere = false))
            }
            else -> state.apply(ConnectionEvent.SocketUnavailable)
        }
    }

    private fun unauthorized() {
        sessions.discard()
        if (state.credentials(CredentialEvent.REFUSED) != CredentialEffect.RENEW_NOW) {
            state.apply(ConnectionEvent.Failed(null, elsewhere = false))
        }
    }

    @OptIn(ExperimentalCoroutinesApi::class)
    private suspend fun serve(open: Open) {
        try {
            while (state.connection.socket == SocketPhase.OPEN && !state.end.isCompleted) {
                if (!sendWaiting(open) || !isAnsweredInTime(open)) return
                val event = select {
                    // Events first: what the node said counts before what is due.
                    open.events.onReceiveCatching { it.getOrNull() ?: Event.Closed(null) }
                    state.socketSignal.channel.onReceive { null }
                    onTimeout(nextLookMs()) { null }
                }
                when (event) {
                    is Event.Text -> frame(open, event.text)
                    is Event.Closed -> return lost(open, event.failure?.failure?.name?.lowercase() ?: "socket_closed")
                    null -> Unit
                }
            }
        } finally {
            state.endSocket = null
            open.socket.close()
            // Whatever is not acknowledged goes out again.
            state.frames.clear()
            state.ports.log.info("socket.closed", "server" to open.server)
            if (state.connection.socket == SocketPhase.OPEN) state.apply(ConnectionEvent.SocketClosed)
            state.wake()
        }
    }

    private fun lost(open: Open, error: String) {
        // A socket that owed nothing is no delivery that failed.
        val oldest = state.frames.values.firstOrNull()
        val exchange = state.exchange(open.server, oldest?.sentAtMs ?: open.openedAtMs)
        if (oldest == null) {
            state.exchangeFailed(exchange, null, error)
        } else {
            state.failed(state.frames.values.map { it.item }, exchange, null, error)
        }
        state.apply(ConnectionEvent.SocketLost)
    }

    private fun nextLookMs(): Long {
        val oldest = state.frames.values.firstOrNull()
        val deadlineMs = oldest?.let { it.sentMonotonicMs + state.settings.callTimeoutMs - state.nowMs() }
        return listOfNotNull(deadlineMs, state.blockedForMs(), IDLE_LOOK_MS).min().coerceAtLeast(1)
    }

    private fun isAnsweredInTime(open: Open): Boolean {
        val oldest = state.frames.values.firstOrNull() ?: return true
        if (state.nowMs() - oldest.sentMonotonicMs < state.settings.callTimeoutMs) return true
        open.socket.drop()
        lost(open, "ack_timeout")
        return false
    }

    /** Sends what there is room for; false when the socket does not take it. */
    private fun sendWaiting(open: Open): Boolean {
        if (!state.mayTalk()) return true
        val items = try {
            val room = Delivery.WINDOW - state.frames.size
            if (room <= 0) return true
            val essential = outbox.oldest(Delivery.FRAMED, room, state.underway())
            essential + heartbeats(room - essential.size)
        } catch (e: SqlException) {
            state.storageFailed(e)
            return true
        }
        for (item in items) {
            val text = Delivery.frame(item) ?: continue
            state.frames[item.id] = Flight(item, state.ports.clock.wallMs(), state.nowMs())
            if (!open.socket.send(text)) {
                open.socket.drop()
                lost(open, "send_failed")
                return false
            }
        }
        return true
    }

    private fun heartbeats(room: Int) = when {
        room <= 0 || state.heartbeatsHeld() -> emptyList()
        else -> {
            val waiting = outbox.oldest(setOf(ItemKind.HEARTBEAT), Delivery.BACKLOG, state.underway())
            // A backlog goes as lists by request.
            if (waiting.size >= Delivery.BACKLOG) emptyList() else waiting.take(room)
        }
    }

    private fun frame(open: Open, text: String) {
        val parsed = try {
            WireJson.parseToJsonElement(text).let { it to WireJson.decodeFromJsonElement(DownFrame.serializer(), it) }
        } catch (_: SerializationException) {
            null
        } catch (_: IllegalArgumentException) {
            null
        } catch (_: StackOverflowError) {
            null
        }
        if (parsed == null) return state.ports.log.warn("deliver.fail", "error" to "frame_not_understood")
        val (element, frame) = parsed
        when (frame.type) {
            "ack" -> acknowledged(open, frame)
            "refused" -> refused(open, frame)
            "command" -> command(open, element)
            "reconnect" -> state.apply(ConnectionEvent.Reconnect(frame.afterMs ?: 0))
            // Of a newer node.
            else -> state.ports.log.info("socket.unknown_frame")
        }
    }

    private fun command(open: Open, element: JsonElement) {
        val command = try {
            WireJson.decodeFromJsonElement(Command.serializer(), element)
        } catch (_: SerializationException) {
            return state.ports.log.warn("deliver.fail", "error" to "command_not_understood")
        } catch (_: IllegalArgumentException) {
            return state.ports.log.warn("deliver.fail", "error" to "command_not_understood")
        }
        val exchange = state.exchange(open.server, state.ports.clock.wallMs())
        state.stored { listener.onCommands(listOf(command), PATH_NAME, exchange) }
    }

    private fun acknowledged(open: Open, frame: DownFrame) {
        val flight = (frame.id as? JsonPrimitive)?.longOrNull?.let(state.frames::remove)
        if (flight != null) {
            val exchange = state.exchange(open.server, flight.sentAtMs)
            if (flight.item.kind == ItemKind.HEARTBEAT) {
                acknowledgements.heartbeat(flight.item, exchange, frame.owner)
            } else {
                acknowledgements.answered(flight.item, 200, exchange)
            }
            state.served()
        }
        frame.nextHeartbeatSeconds?.let(listener::onNextHeartbeat)
    }

    private fun refused(open: Open, frame: DownFrame) {
        val status = frame.status ?: 0
        val flight = (frame.id as? JsonPrimitive)?.longOrNull?.let(state.frames::remove)
        val exchange = state.exchange(open.server, flight?.sentAtMs ?: state.ports.clock.wallMs())
        state.failed(listOfNotNull(flight?.item), exchange, status, "refused_$status")
        when {
            status == 410 -> state.credentials(CredentialEvent.DEVICE_DELETED)
            status == 401 -> {
                open.socket.close()
                state.apply(ConnectionEvent.SocketClosed)
                unauthorized()
            }
            !Delivery.isFinal(status) -> state.apply(ConnectionEvent.Failed(frame.retryAfterS?.times(1_000), elsewhere = false))
            // A frame without an id is none of ours: nothing to take back.
            flight != null -> acknowledgements.answered(flight.item, status, exchange)
        }
    }

    private companion object {
        const val PATH = "/v1/agent/socket"
        const val PATH_NAME = "socket"

        /** Frames that wait to be looked at. */
        const val EVENTS_MAX = 256

        /** Longest time without a look at what waits. */
        const val IDLE_LOOK_MS = 3_600_000L
    }
}
