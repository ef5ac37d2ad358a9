package com.nexmdm.host

import com.nexmdm.core.port.Level
import com.nexmdm.host.record.JsonLog
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.runBlocking
import java.io.FileDescriptor
import java.io.FileOutputStream
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

private const val SHUTDOWN_MS = 1_900L

/** Runs the agent as a process; [CommandLine.USAGE] says how. */
fun main(args: Array<String>) {
    val options =
        try {
            CommandLine.parse(args.toList())
        } catch (e: UsageException) {
            System.err.println("${e.message}\n${CommandLine.USAGE}")
            ProcessEnd.HALT.now(ExitStatus.USAGE)
        }
    val stop = CompletableDeferred<Unit>()
    val stopped = CountDownLatch(1)
    // SIGTERM and SIGINT begin a shutdown; halting in the hook decides about the exit status.
    Runtime.getRuntime().addShutdownHook(
        Thread {
            stop.complete(Unit)
            stopped.await(SHUTDOWN_MS, TimeUnit.MILLISECONDS)
            ProcessEnd.HALT.now(ExitStatus.STOPPED)
        },
    )
    val log = JsonLog(FileOutputStream(FileDescriptor.out), options.haltAt)
    val status =
        try {
            HostAgent(options, log, ProcessEnd.HALT).use { agent -> runBlocking { agent.run(stop) } }
        } catch (e: UsageException) {
            System.err.println(e.message)
            ExitStatus.USAGE
        } catch (e: Exception) {
            log.log(Level.ERROR, "crash", mapOf("error" to e.stackTraceToString()))
            ExitStatus.CRASHED
        }
    ProcessEnd.HALT.now(status)
}
