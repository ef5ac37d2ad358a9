package com.nexmdm.host

import kotlin.system.exitProcess

/** Exit statuses of the process. */
internal object ExitStatus {
    /** It was asked to stop. */
    const val STOPPED: Int = 0

    /** It ended by an error of its own. */
    const val CRASHED: Int = 1

    /** It was started wrongly. */
    const val USAGE: Int = 2

    /** The server refused the registration for good. */
    const val REGISTRATION_REFUSED: Int = 3

    /** The server ended the identity. */
    const val IDENTITY_FORGOTTEN: Int = 4

    /** The platform ended it: replaced by an update, or rebooted. It wants to be started again (`EX_TEMPFAIL` of sysexits). */
    const val RESTART: Int = 75

    /** Status of a process that SIGKILL ended. */
    const val KILLED: Int = 137
}

/** The end of the process, as abrupt as a kill: nothing of it runs afterwards. */
internal fun interface ProcessEnd {
    /** Ends it with an exit status. */
    fun now(status: Int): Nothing

    companion object {
        /** Ends the virtual machine without shutdown hooks. */
        val HALT: ProcessEnd =
            ProcessEnd { status ->
                Runtime.getRuntime().halt(status)
                exitProcess(status)
            }
    }
}
