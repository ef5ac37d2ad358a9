package com.nexmdm.core.link

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.time.Backoff
import com.nexmdm.core.wire.ActionResult
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.CompletableDeferred
import kotlinx.serialization.SerializationException

/** What is on its way. */
internal class Flight(val item: OutboxItem, val sentAtMs: Long, val sentMonotonicMs: Long)

/** The state that the parts of the link share, and the effects of its decisions. */
internal class LinkState(
    val ports: Ports,
    val identity: Identity,
    val settings: LinkSettings,
    private val listener: LinkListener,
) {
    private val decisions = Connection(Backoff(settings.retryBaseMs, settings.retryCapMs), ports.randomness)
    private var credentials = CredentialState()

    var connection = ConnectionState(servers = identity.servers.size)
        private set

    /** Done when the identity is worthless. */
    val end = CompletableDeferred<LinkEnd>()

    /** Wakes who sends requests. */
    val requestSignal = Signal()

    /** Wakes who serves the socket. */
    val socketSignal = Signal()

    /** Frames that wait for their acknowledgement, by id. */
    val frames = LinkedHashMap<Long, Flight>()

    /** Items of the request that waits for its answer. */
    val requested = HashSet<Long>()

    /** Ends the open socket; set while there is one. */
    var endSocket: ((orderly: Boolean) -> Unit)? = null

    /** Body of the latest heartbeat that could not be queued, as when the storage is full. */
    var unqueued: OutboxItem? = null

    private var heartbeatFailed = false
    private var storageBlockedUntilMs = 0L
    private var report = LinkReport(identity.servers.first(), socketOpen = false, contactAtMs = null, error = null)

    /** Base address of the server that is used next. */
    val server: String get() = identity.servers[connection.server]

    fun nowMs(): Long = ports.clock.monotonicMs()

    /** Ids of everything that is on its way. */
    fun underway(): Set<Long> = frames.keys + requested

    fun mayTalk(): Boolean = connection.mayTalk(nowMs()) && storageBlockedUntilMs <= nowMs() && !end.isCompleted

    /** Ms until talking is allowed again; null while only an event can change that. */
    fun blockedForMs(): Long? {
        if (!connection.networkUp || end.isCompleted) return null
        return (maxOf(connection.blockedUntilMs, storageBlockedUntilMs) - nowMs()).takeIf { it > 0 }
    }

    /** Whether the battery is low and does not charge: what is not essential is not tried again. */
    fun isPowerLow(): Boolean = ports.monitor.power.value.let { !it.charging && (it.batteryPct ?: FULL_PCT) < LOW_PCT }

    /** Whether heartbeats wait for the next one before they are tried again. */
    fun heartbeatsHeld(): Boolean = heartbeatFailed && isPowerLow()

    /** A new heartbeat waits. */
    fun heartbeatQueued() {
        heartbeatFailed = false
        wake()
    }

    fun wake() {
        requestSignal.give()
        socketSignal.give()
    }

    /** Decides about [event] and does what follows. */
    fun apply(event: ConnectionEvent) {
        val (next, effects) = decisions.decide(connection, event, nowMs())
        val isServerChanged = next.server != connection.server
        connection = next
        for (effect in effects) {
            when (effect) {
                is ConnectionEffect.RetryScheduled -> ports.log.info("retry.schedule", "what" to effect.what, "delay_ms" to effect.delayMs)
                is ConnectionEffect.EndSocket -> endSocket?.invoke(effect.orderly)
            }
        }
        if (isServerChanged) ports.log.info("server.change", "server" to server)
        tell(report.copy(server = server, socketOpen = next.socket == SocketPhase.OPEN))
        wake()
    }

    /** What follows from how the credentials were received; ends the link when nothing can follow. */
    fun credentials(event: CredentialEvent): CredentialEffect {
        val (next, effect) = Credentials.decide(credentials, event)
        credentials = next
        when (effect) {
            CredentialEffect.FORGET_REFUSED -> end.complete(LinkEnd.REFUSED)
            CredentialEffect.FORGET_DELETED -> end.complete(LinkEnd.DELETED)
            CredentialEffect.NONE, CredentialEffect.RENEW_NOW, CredentialEffect.RENEW_LATER -> Unit
        }
        return effect
    }

    /** A server served us. */
    fun served() {
        credentials(CredentialEvent.ACCEPTED)
        apply(ConnectionEvent.Answered)
        report = report.copy(contactAtMs = ports.clock.wallMs(), error = null)
        // Also when it says nothing new: the queue may have changed.
        listener.onConnection(report)
    }

    /** Sending [items] came to nothing. */
    fun failed(items: Collection<OutboxItem>, exchange: Exchange, status: Int?, error: String) {
        for (kind in items.map { it.kind }.distinct()) {
            ports.log.warn("deliver.fail", "kind" to kind.name.lowercase(), "status" to status, "error" to error)
        }
        if (items.any { it.kind == ItemKind.HEARTBEAT }) heartbeatFailed = true
        val results = if (status == null) emptyList() else items.filter { it.kind == ItemKind.RESULT }
        if (results.isEmpty()) ports.observer.exchangeFailed(exchange, status, error)
        results.forEach { observeResult(it, status, exchange) }
        tell(report.copy(error = error))
    }

    /** A result was answered. */
    fun observeResult(item: OutboxItem, status: Int?, exchange: Exchange) {
        val result = try {
            WireJson.decodeFromString(ActionResult.serializer(), item.body)
        } catch (_: SerializationException) {
            return
        }
        ports.observer.resultAnswered(exchange, result.requestId, result.action, result.outcome, status)
    }

    /** A request that delivers nothing came to nothing. */
    fun exchangeFailed(exchange: Exchange, status: Int?, error: String) {
        ports.log.warn("connect.fail", "server" to exchange.server, "status" to status, "error" to error)
        ports.observer.exchangeFailed(exchange, status, error)
        tell(report.copy(error = error))
    }

    /** An exchange that ends now. */
    fun exchange(server: String, sentAtMs: Long): Exchange = Exchange(server, sentAtMs, ports.clock.wallMs())

    /** Runs [write]; when storage refuses, sending pauses for a while and what was not taken out is sent again. */
    fun stored(write: () -> Unit): Boolean = try {
        write()
        true
    } catch (e: SqlException) {
        storageFailed(e)
        false
    }

    fun storageFailed(e: SqlException) {
        ports.log.warn("store.fail", "error" to e.message)
        pauseForStorage()
        tell(report.copy(error = "storage"))
    }

    /** Nothing is sent for a while, since what is acknowledged could not be taken out of the queue. */
    fun pauseForStorage() {
        storageBlockedUntilMs = nowMs() + STORAGE_PAUSE_MS
    }

    private fun tell(next: LinkReport) {
        if (next == report) return
        report = next
        listener.onConnection(next)
    }

    private companion object {
        const val FULL_PCT = 100
        const val LOW_PCT = 10
        const val STORAGE_PAUSE_MS = 5_000L
    }
}
