package com.nexmdm.core.agent

import com.nexmdm.core.command.AgentControl
import com.nexmdm.core.command.CommandProcessor
import com.nexmdm.core.identity.Identity
import com.nexmdm.core.install.CommandConclusion
import com.nexmdm.core.install.Installations
import com.nexmdm.core.link.Link
import com.nexmdm.core.link.LinkEnd
import com.nexmdm.core.link.LinkListener
import com.nexmdm.core.link.LinkReport
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.PushListener
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.wire.Command
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch

/** What an agent does while it has an identity: wires heartbeats, commands, installations, push and link to each other. */
internal class EnrolledAgent(
    private val memory: AgentMemory,
    identity: Identity,
    settings: AgentSettings,
    private val scope: CoroutineScope,
    blocking: CoroutineDispatcher,
    private val onConnection: (LinkReport) -> Unit,
    private val onQueue: () -> Unit,
) {
    private val ports = memory.ports
    private val link = Link(ports, identity, memory.vault, memory.outbox, memory.time, settings.link, FromServers())
    private val heartbeats =
        Heartbeats(ports, memory.database, memory.outbox, identity, settings.heartbeatIntervalMs, ToLink())
    private val installations: Installations = Installations(
        ports, memory.database, memory.outbox, memory.time, link.api,
        CommandConclusion { requestId, action, outcome -> commands.conclusion.conclude(requestId, action, outcome) },
        scope,
        blocking,
        onReport = link::deliverNow,
    )
    private val commands: CommandProcessor = CommandProcessor(
        ports, memory.database, memory.outbox, memory.vault, memory.time, { installations }, Control(), scope,
    )

    /** Works until the identity is worthless, or it is cancelled. */
    suspend fun run(): LinkEnd {
        scope.launch { recover() }
        scope.launch { heartbeats.run() }
        ports.push.start(FromPush())
        try {
            return link.run()
        } finally {
            ports.push.stop()
        }
    }

    /** Goes on with what an earlier process left behind, as soon as storage allows. */
    private suspend fun recover() {
        while (true) {
            try {
                installations.recover()
                break
            } catch (e: SqlException) {
                ports.log.warn("store.fail", "what" to "recovery", "error" to e.message)
                delay(RECOVERY_RETRY_MS)
            }
        }
        commands.recover()
    }

    /** Does what is due. From any thread. */
    fun wake() {
        heartbeats.wake()
        link.deliverNow()
        scope.launch {
            try {
                installations.wake()
            } catch (e: SqlException) {
                ports.log.warn("store.fail", "what" to "installations", "error" to e.message)
            }
        }
    }

    /** Reports now. From any thread. */
    fun syncNow(): Unit = heartbeats.reportNow(null)

    /** Ends and removes what belongs to the identity. Throws [SqlException]; call it again then. */
    fun forget() {
        installations.forget()
        memory.database.inTransaction {
            memory.outbox.oldest(ItemKind.entries.toSet(), Int.MAX_VALUE).forEach { memory.outbox.remove(it.id) }
        }
    }

    private inner class Control : AgentControl {
        override fun reportNow(pingRequestId: String?) = heartbeats.reportNow(pingRequestId)

        override fun deliverNow() = link.deliverNow()
    }

    private inner class ToLink : Heartbeats.Destination {
        override fun queued() {
            link.heartbeatQueued()
            onQueue()
        }

        override fun unqueued(body: String) = link.sendUnqueued(body)
    }

    private inner class FromServers : LinkListener {
        override fun onCommands(commands: List<Command>, path: String, exchange: Exchange) {
            for (command in commands) this@EnrolledAgent.commands.receive(command, path, exchange)
        }

        override fun onAnswered(item: OutboxItem, status: Int, exchange: Exchange): Boolean = when (item.kind) {
            ItemKind.HEARTBEAT -> true
            ItemKind.RESULT -> commands.resultAnswered(item, status)
            ItemKind.DEPLOYMENT_STATUS, ItemKind.UPDATE_REPORT -> {
                installations.statusAnswered(item, status, exchange)
                true
            }
        }

        override fun onHeartbeatAcknowledged(item: OutboxItem) = heartbeats.acknowledged(item)

        override fun onNextHeartbeat(seconds: Long) = heartbeats.answered(seconds)

        override fun onConnection(report: LinkReport) = this@EnrolledAgent.onConnection(report)
    }

    private inner class FromPush : PushListener {
        override fun onToken(token: String) {
            scope.launch { heartbeats.pushTokenChanged(token) }
        }

        override fun onMessage(data: Map<String, String>) {
            scope.launch {
                val nowMs = ports.clock.wallMs()
                commands.receivePush(data, Exchange(link.api.servers().first(), nowMs, nowMs))
                wake()
            }
        }
    }

    private companion object {
        const val RECOVERY_RETRY_MS = 5_000L
    }
}
