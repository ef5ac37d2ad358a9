package com.nexmdm.core.link

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.Vault
import com.nexmdm.core.install.AgentApi
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.Transport
import com.nexmdm.core.port.info
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.time.TrustedTime
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch

/** The device's connection to its servers: empties the queue and brings commands, by socket and by requests. */
class Link(
    private val ports: Ports,
    identity: Identity,
    vault: Vault,
    outbox: Outbox,
    time: TrustedTime,
    settings: LinkSettings,
    listener: LinkListener,
) {
    private val state = LinkState(ports, identity, settings, listener)
    private val sessions = Sessions(state, vault, time)
    private val client = ApiClient(state, sessions, time)
    private val acknowledgements = Acknowledgements(state, outbox, listener)
    private val requests = RequestDelivery(state, outbox, client, time, listener, acknowledgements)
    private val socket = SocketDelivery(state, outbox, sessions, time, listener, acknowledgements)

    /** Calls with the device's credentials. */
    val api: AgentApi get() = client

    /** There is something new in the queue. */
    fun deliverNow(): Unit = state.wake()

    /** There is a new heartbeat in the queue. */
    fun heartbeatQueued(): Unit = state.heartbeatQueued()

    /** Sends a heartbeat that could not be queued; only the latest of them is kept. */
    fun sendUnqueued(body: String) {
        state.unqueued = OutboxItem(UNQUEUED_ID, ItemKind.HEARTBEAT, "", body, ports.clock.wallMs())
        state.heartbeatQueued()
    }

    /** Works until the identity is worthless, or it is cancelled. */
    suspend fun run(): LinkEnd = coroutineScope {
        val workers = listOf(
            launch { watchNetwork() },
            launch { ports.monitor.power.collect { state.wake() } },
            launch { requests.run() },
            launch { socket.run() },
        )
        state.end.await().also { workers.forEach { it.cancel() } }
    }

    private suspend fun watchNetwork() {
        var known: NetworkState? = null
        ports.monitor.network.collect { network ->
            val before = known
            known = network
            if (before != null && before != network) {
                ports.log.info(
                    "net.change",
                    "transport" to network.transport.name.lowercase(), "validated" to network.validated, "metered" to network.metered,
                )
            }
            val isUp = network.transport != Transport.NONE
            if (before?.transport != network.transport && (before != null || !isUp)) state.apply(ConnectionEvent.NetworkChanged(isUp))
            if (before != null && !before.validated && network.validated) {
                ports.log.info("net.regain", "transport" to network.transport.name.lowercase())
                state.apply(ConnectionEvent.NetworkValidated)
            }
        }
    }

    private companion object {
        /** Below every id of the queue. */
        const val UNQUEUED_ID = 0L
    }
}
