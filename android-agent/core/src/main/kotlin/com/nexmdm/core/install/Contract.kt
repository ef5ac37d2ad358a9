package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.wire.Command

/** Calls of the agent API with the device's credentials, at whichever server is in use. */
interface AgentApi {
    /**
     * `GET` of a path with query. Throws [com.nexmdm.core.port.NetworkException]; credentials, sessions and changes of server are
     * taken care of.
     */
    suspend fun get(pathAndQuery: String): HttpAnswer

    /** Base addresses of the servers that a download may go on at, the present one first. */
    fun servers(): List<String>
}

/** Takes the end of what a command started. */
fun interface CommandConclusion {
    /** The command with this `request_id` ended like this; durable when this returns. */
    fun conclude(requestId: String, action: String, outcome: ActionOutcome)
}

/** What takes over the commands that install something: from then on it says how they end, by [CommandConclusion]. */
interface InstallationCommands {
    /** Takes a `deploy_apk`; durable when this returns. */
    fun deploy(command: Command)

    /** Takes an `update`, or looks for one unasked when [command] is null; durable when this returns. */
    fun lookForUpdate(command: Command?)

    /** Whether a command was taken over and has not ended. */
    fun owns(requestId: String): Boolean
}
