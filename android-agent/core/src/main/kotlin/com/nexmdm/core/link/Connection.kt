package com.nexmdm.core.link

import com.nexmdm.core.port.Randomness
import com.nexmdm.core.time.Backoff

/** Stages of the socket. */
enum class SocketPhase { CLOSED, OPENING, OPEN }

/** Which server is used, how, and from when on. Times are monotonic, ms. */
data class ConnectionState(
    /** Number of servers. */
    val servers: Int,
    /** Index of the server that is used next. */
    val server: Int = 0,
    val networkUp: Boolean = true,
    /** Whether a server has answered since the process started. */
    val answered: Boolean = false,
    /** Failures in a row. */
    val failures: Int = 0,
    /** Nothing is sent before this. */
    val blockedUntilMs: Long = 0,
    /** Whether the server asked for the present block, so that a regained network does not end it. */
    val blockAsked: Boolean = false,
    val socket: SocketPhase = SocketPhase.CLOSED,
    val socketOpenedAtMs: Long = 0,
    /** Sockets in a row that failed to open or to last. */
    val socketFailures: Int = 0,
    /** No socket is opened before this. */
    val socketBlockedUntilMs: Long = 0,
) {
    /** Whether something may be sent at [nowMs]. */
    fun mayTalk(nowMs: Long): Boolean = networkUp && blockedUntilMs <= nowMs

    /** Whether a socket is to be opened at [nowMs]. */
    fun wantsSocket(nowMs: Long): Boolean =
        socket == SocketPhase.CLOSED && answered && mayTalk(nowMs) && socketBlockedUntilMs <= nowMs
}

/** What happens to the connection. */
sealed interface ConnectionEvent {
    /** A server answered as it should. */
    data object Answered : ConnectionEvent

    /** A request came to nothing. */
    data class Failed(
        val retryAfterMs: Long?,
        /** Whether another server is to be tried. */
        val elsewhere: Boolean,
    ) : ConnectionEvent

    /** A socket is being opened. */
    data object SocketOpening : ConnectionEvent

    /** A socket is open. */
    data object SocketOpened : ConnectionEvent

    /** No socket can be had although requests may succeed, as behind a proxy without web sockets. */
    data object SocketUnavailable : ConnectionEvent

    /** An open socket broke, or fell silent. */
    data object SocketLost : ConnectionEvent

    /** The socket was closed for reasons of our own. */
    data object SocketClosed : ConnectionEvent

    /** The node goes away and asks to come back. */
    data class Reconnect(val afterMs: Long) : ConnectionEvent

    /** There is another network, or none. */
    data class NetworkChanged(val up: Boolean) : ConnectionEvent

    /** The network reaches the Internet again. */
    data object NetworkValidated : ConnectionEvent
}

/** What follows from an event. */
sealed interface ConnectionEffect {
    /** The next try is in [delayMs]; [what] is `request` or `socket`. */
    data class RetryScheduled(val what: String, val delayMs: Long) : ConnectionEffect

    /** The open socket has to go. */
    data class EndSocket(val orderly: Boolean) : ConnectionEffect
}

/**
 * Rules for choosing between socket and HTTP and among servers.
 *
 * The socket is preferred. While it is closed everything goes by HTTP; a socket that fails has a back-off of its own, so that
 * HTTP goes on where web sockets do not pass.
 */
class Connection(private val backoff: Backoff, private val randomness: Randomness) {
    /** New state and effects of [event] at [nowMs] (monotonic). */
    fun decide(state: ConnectionState, event: ConnectionEvent, nowMs: Long): Pair<ConnectionState, List<ConnectionEffect>> =
        when (event) {
            ConnectionEvent.Answered -> state.copy(failures = 0, answered = true) to emptyList()
            is ConnectionEvent.Failed -> failed(state, event, nowMs)
            ConnectionEvent.SocketOpening -> state.copy(socket = SocketPhase.OPENING) to emptyList()
            ConnectionEvent.SocketOpened -> state.copy(socket = SocketPhase.OPEN, socketOpenedAtMs = nowMs) to emptyList()
            ConnectionEvent.SocketUnavailable -> socketFailed(state, nowMs)
            ConnectionEvent.SocketLost -> {
                val lasted = state.socket == SocketPhase.OPEN && nowMs - state.socketOpenedAtMs >= LASTING_MS
                socketFailed(next(if (lasted) state.copy(socketFailures = 0) else state), nowMs)
            }
            ConnectionEvent.SocketClosed -> state.copy(socket = SocketPhase.CLOSED) to emptyList()
            is ConnectionEvent.Reconnect -> reconnect(state, event, nowMs)
            is ConnectionEvent.NetworkChanged -> networkChanged(state, event)
            ConnectionEvent.NetworkValidated -> validated(state)
        }

    private fun failed(state: ConnectionState, event: ConnectionEvent.Failed, nowMs: Long): Pair<ConnectionState, List<ConnectionEffect>> {
        val delayMs = backoff.delayMs(state.failures, event.retryAfterMs, randomness)
        val blocked = state.copy(
            failures = state.failures + 1,
            blockedUntilMs = maxOf(state.blockedUntilMs, nowMs + delayMs),
            blockAsked = event.retryAfterMs != null || (state.blockAsked && state.blockedUntilMs > nowMs),
        )
        return (if (event.elsewhere) next(blocked) else blocked) to listOf(ConnectionEffect.RetryScheduled("request", delayMs))
    }

    private fun socketFailed(state: ConnectionState, nowMs: Long): Pair<ConnectionState, List<ConnectionEffect>> {
        val delayMs = backoff.delayMs(state.socketFailures, null, randomness)
        val closed = state.copy(
            socket = SocketPhase.CLOSED,
            socketFailures = state.socketFailures + 1,
            socketBlockedUntilMs = nowMs + delayMs,
        )
        return closed to listOf(ConnectionEffect.RetryScheduled("socket", delayMs))
    }

    private fun reconnect(state: ConnectionState, event: ConnectionEvent.Reconnect, nowMs: Long) =
        next(state).copy(
            socket = SocketPhase.CLOSED,
            blockedUntilMs = maxOf(state.blockedUntilMs, nowMs + event.afterMs.coerceIn(0, RECONNECT_MAX_MS)),
            blockAsked = true,
        ) to endOf(state, orderly = true)

    private fun networkChanged(state: ConnectionState, event: ConnectionEvent.NetworkChanged) =
        // A socket belongs to the network that it was opened on.
        state.copy(networkUp = event.up, socket = closedIfOpen(state)) to endOf(state, orderly = false)

    private fun validated(state: ConnectionState): Pair<ConnectionState, List<ConnectionEffect>> = state.copy(
        failures = 0,
        blockedUntilMs = if (state.blockAsked) state.blockedUntilMs else 0,
        socketFailures = 0,
        socketBlockedUntilMs = 0,
    ) to emptyList()

    private fun closedIfOpen(state: ConnectionState) = if (state.socket == SocketPhase.OPEN) SocketPhase.CLOSED else state.socket

    private fun endOf(state: ConnectionState, orderly: Boolean): List<ConnectionEffect> =
        if (state.socket == SocketPhase.OPEN) listOf(ConnectionEffect.EndSocket(orderly)) else emptyList()

    private fun next(state: ConnectionState) = state.copy(server = (state.server + 1) % state.servers)

    private companion object {
        /** A socket that lived this long was a good one. */
        const val LASTING_MS = 60_000L

        /** A node that asks for more than this is taken to have meant this. */
        const val RECONNECT_MAX_MS = 600_000L
    }
}
