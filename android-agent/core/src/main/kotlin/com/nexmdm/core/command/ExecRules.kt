package com.nexmdm.core.command

/** Limits of a program that `exec` runs; the server's list of allowed programs keeps to the same (actors/domain/src/action.rs). */
object ExecRules {
    /** Longest argument vector, the program included. */
    const val ARGV_MAX: Int = 32

    /** Longest argument. */
    const val ARGUMENT_MAX_CHARS: Int = 500

    /** File names of programs that run another program that their arguments name. */
    val PROGRAM_RUNNERS: Set<String> = setOf(
        "sh", "bash", "ash", "dash", "ksh", "mksh", "zsh", "toybox", "busybox", "su", "env", "xargs",
        "timeout", "nohup", "setsid", "nice", "ionice", "time", "chrt", "taskset", "watch", "find", "awk", "linker", "linker64",
        "app_process", "app_process32", "app_process64", "nsenter", "unshare", "flock", "run-as",
    )
}
