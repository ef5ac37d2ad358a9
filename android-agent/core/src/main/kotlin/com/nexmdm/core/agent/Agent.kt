package com.nexmdm.core.agent

import com.nexmdm.core.port.Ports
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow

/**
 * The agent: one instance a process. Its functions may be called from any thread; what it does happens on [dispatcher], one
 * thing at a time.
 */
class Agent(
    private val ports: Ports,
    private val settings: AgentSettings = AgentSettings(),
    private val dispatcher: CoroutineDispatcher = Dispatchers.Default.limitedParallelism(1),
) {
    private val current = MutableStateFlow(AgentStatus(agentVersionCode = ports.facts.agentVersionCode()))

    /** What the status screen shows. */
    val status: StateFlow<AgentStatus> = current.asStateFlow()

    /** Lives until it is cancelled: registers if there is a token, then serves. */
    suspend fun run(): Nothing = TODO("${settings.useSocket} $dispatcher")

    /** Takes an enrollment; durable when the answer is [EnrollmentAnswer.ACCEPTED]. Needs no running [run]. */
    suspend fun enroll(request: EnrollmentRequest): EnrollmentAnswer = TODO("$request")

    /** The device is awake, for a [reason] such as `alarm` or `boot`: does what is due. */
    fun wake(reason: String): Unit = TODO(reason)

    /** Sends a heartbeat and everything that waits, now. */
    fun syncNow(): Unit = TODO()
}
