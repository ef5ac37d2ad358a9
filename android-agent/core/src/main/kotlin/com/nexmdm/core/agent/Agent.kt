package com.nexmdm.core.agent

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.link.LinkEnd
import com.nexmdm.core.link.LinkReport
import com.nexmdm.core.link.Signal
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelChildren
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.drop
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.IOException

/**
 * The agent: one instance a process. Its functions may be called from any thread; what it does happens on [dispatcher], one
 * thing at a time.
 */
class Agent(
    private val ports: Ports,
    private val settings: AgentSettings = AgentSettings(),
    private val dispatcher: CoroutineDispatcher = Dispatchers.Default.limitedParallelism(1),
    /** Where files are read and digested. */
    private val blocking: CoroutineDispatcher = Dispatchers.IO,
) {
    private val memory by lazy { AgentMemory(ports, settings) }
    private val current = MutableStateFlow(AgentStatus(agentVersionCode = ports.facts.agentVersionCode()))

    /** Given when a device without an identity has something to do. */
    private val enrollmentSignal = Signal()

    @Volatile
    private var enrolled: EnrolledAgent? = null

    /** What the status screen shows. */
    val status: StateFlow<AgentStatus> = current.asStateFlow()

    /** Lives until it is cancelled: registers if there is a token, then serves. Once at a time. */
    suspend fun run(): Nothing = withContext(dispatcher) {
        ports.log.info("start", "version_code" to ports.facts.agentVersionCode(), "enrolled" to (memory.vault.identity != null))
        try {
            launch { ports.monitor.network.drop(1).collect { enrollmentSignal.give() } }
            live()
        } finally {
            memory.database.close()
            ports.log.info("stop")
        }
    }

    private suspend fun live(): Nothing {
        while (true) {
            val identity = memory.vault.identity
            when {
                identity != null -> serve(identity)
                memory.vault.pending != null -> register()
                else -> enrollmentSignal.await(null)
            }
        }
    }

    /** Takes an enrollment; durable when the answer is [EnrollmentAnswer.ACCEPTED]. Needs no [run], which goes on with it. */
    suspend fun enroll(request: EnrollmentRequest): EnrollmentAnswer = withContext(dispatcher) {
        when (val decision = Enrollment.decide(memory.vault.identity, request)) {
            is Enrollment.Decision.Answered -> decision.answer
            is Enrollment.Decision.Accepted -> try {
                memory.vault.update { it.copy(pending = decision.pending) }
                enrollmentSignal.give()
                EnrollmentAnswer(EnrollmentAnswer.ACCEPTED, "The device registers with ${decision.pending.servers.first()}.")
            } catch (e: IOException) {
                ports.log.warn("store.fail", "what" to "enrollment", "error" to e.javaClass.simpleName)
                EnrollmentAnswer(EnrollmentAnswer.REFUSED, "The enrollment cannot be stored: is the storage full?")
            }
        }
    }

    /** The device is awake, for a [reason] such as `alarm` or `boot`: does what is due. */
    fun wake(reason: String) {
        ports.log.info("wake", "reason" to reason)
        enrollmentSignal.give()
        enrolled?.wake()
    }

    /** Sends a heartbeat and everything that waits, now. */
    fun syncNow() {
        enrolled?.syncNow()
    }

    private suspend fun register() {
        current.update { it.copy(phase = AgentPhase.REGISTERING, server = memory.vault.pending?.servers?.first(), lastError = null) }
        val registration = Registration(ports, memory.vault, memory.time, settings, enrollmentSignal) { error ->
            current.update { it.copy(lastError = error) }
        }
        when (val end = registration.run()) {
            is Registration.End.Enrolled -> Unit
            is Registration.End.Refused ->
                current.update { it.copy(phase = AgentPhase.REGISTRATION_REFUSED, lastError = end.reason) }
        }
    }

    private suspend fun serve(identity: Identity) {
        ports.http.apply(identity.policy)
        current.update {
            AgentStatus(
                phase = AgentPhase.ENROLLED, server = identity.servers.first(), alias = identity.alias, deviceId = identity.deviceId,
                queueSize = queueSize(), agentVersionCode = it.agentVersionCode,
            )
        }
        coroutineScope {
            val agent = EnrolledAgent(memory, identity, settings, this, blocking, ::connectionChanged, ::queueChanged)
            enrolled = agent
            try {
                val end = agent.run()
                coroutineContext.cancelChildren()
                forget(agent, end)
            } finally {
                enrolled = null
            }
        }
    }

    private suspend fun forget(agent: EnrolledAgent, end: LinkEnd) {
        ports.log.warn("identity.ended", "reason" to end.name.lowercase())
        while (true) {
            try {
                agent.forget()
                memory.vault.forgetIdentity()
                break
            } catch (e: SqlException) {
                ports.log.warn("store.fail", "what" to "identity", "error" to e.message)
            } catch (e: IOException) {
                ports.log.warn("store.fail", "what" to "identity", "error" to e.javaClass.simpleName)
            }
            delay(STORAGE_RETRY_MS)
        }
        current.update {
            AgentStatus(phase = AgentPhase.IDENTITY_FORGOTTEN, lastError = reason(end), agentVersionCode = it.agentVersionCode)
        }
    }

    private fun reason(end: LinkEnd): String = when (end) {
        LinkEnd.REFUSED -> "The server does not accept this device any more."
        LinkEnd.DELETED -> "The device was deleted on the server."
    }

    private fun connectionChanged(report: LinkReport) {
        val kind = when {
            report.socketOpen -> ConnectionKind.SOCKET
            report.error == null && report.contactAtMs != null -> ConnectionKind.HTTP
            else -> ConnectionKind.NONE
        }
        current.update {
            it.copy(
                server = report.server, lastContactMs = report.contactAtMs, connection = kind, lastError = report.error,
                queueSize = queueSize(),
            )
        }
    }

    private fun queueChanged(): Unit = current.update { it.copy(queueSize = queueSize()) }

    private fun queueSize(): Int = try {
        memory.outbox.size()
    } catch (_: SqlException) {
        // Shown only; whoever needs the queue hears of it.
        current.value.queueSize
    }

    private companion object {
        const val STORAGE_RETRY_MS = 5_000L
    }
}
