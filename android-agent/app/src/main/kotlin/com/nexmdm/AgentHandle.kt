package com.nexmdm

import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import kotlinx.coroutines.flow.StateFlow
import java.io.IOException
import java.io.OutputStream

/** The agent of this process, as Android's components see it. */
internal interface AgentHandle {
    /** Where the agent stands. */
    val status: StateFlow<AgentStatus>

    /** Version of the agent for people. */
    val versionName: String

    /** Runs the agent until the process ends; once more is no change. */
    fun start()

    /** Takes an enrollment; durable when it is accepted. */
    suspend fun enroll(request: EnrollmentRequest): EnrollmentAnswer

    /** The device is awake for [reason]: does what is due, and keeps the device awake for a moment. */
    fun wake(reason: String)

    /** Sends a heartbeat and everything that waits, now. */
    fun syncNow()

    /** Uses what a device owner may: permissions, protection from being stopped, configuration handed to the app. */
    fun prepare()

    /** Copies the log of events. Throws [IOException]. */
    fun exportLog(to: OutputStream)
}
