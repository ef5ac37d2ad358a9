package com.nexmdm.action

import com.nexmdm.core.command.ExecRules
import com.nexmdm.core.port.ActionOutcome
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runInterruptible
import kotlinx.coroutines.withContext
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.concurrent.TimeUnit

/**
 * Runs a program with its arguments, as the agent's own user: no shell, no privileges beyond the app's.
 *
 * Which programs exist is an administrator's list on the server, and its argument vector is signed with the command. The rules of
 * that list are checked again here, so that a server that was taken over gets no shell either.
 */
internal class ProgramRunner(
    private val timeoutMs: Long = 60_000,
    private val outputMaxBytes: Int = 16 shl 10,
    private val dispatcher: CoroutineDispatcher = Dispatchers.IO,
) {
    /** Runs it to its end; `data` has `exit_code`, `output` (both streams) and whether that was cut (`truncated`). */
    suspend fun run(argv: List<String>): ActionOutcome {
        problem(argv)?.let { return ActionOutcome.failed("bad_params", it) }
        return withContext(dispatcher) {
            val process = try {
                ProcessBuilder(argv).redirectErrorStream(true).apply {
                    environment().keys.retainAll(setOf("PATH", "ANDROID_ROOT", "ANDROID_DATA", "LD_LIBRARY_PATH"))
                }.start()
            } catch (e: IOException) {
                return@withContext ActionOutcome.failed("not_started", e.message?.take(AndroidActions.MESSAGE_MAX_CHARS))
            }
            try {
                finish(process)
            } finally {
                process.destroyForcibly()
            }
        }
    }

    private suspend fun finish(process: Process): ActionOutcome {
        process.outputStream.close()
        val output = Output(process.inputStream, outputMaxBytes)
        val reader = Thread(output, "exec-output").apply { isDaemon = true }
        reader.start()
        val ended = runInterruptible { process.waitFor(timeoutMs, TimeUnit.MILLISECONDS) }
        if (!ended) process.destroyForcibly()
        // Children of the program may hold its output open.
        runInterruptible { reader.join(READ_TAIL_MS) }
        val data = buildJsonObject {
            if (ended) put("exit_code", JsonPrimitive(process.exitValue()))
            put("output", JsonPrimitive(output.text()))
            put("truncated", JsonPrimitive(output.isTruncated))
        }
        return when {
            !ended -> ActionOutcome("timeout", "timeout", "stopped after ${timeoutMs / 1_000} s", data)
            process.exitValue() == 0 -> ActionOutcome("success", data = data)
            else -> ActionOutcome("failed", "exit_code", "exit code ${process.exitValue()}", data)
        }
    }

    private fun problem(argv: List<String>): String? {
        val program = argv.firstOrNull() ?: return "argv is empty"
        return when {
            argv.size > ExecRules.ARGV_MAX || argv.any { it.length > ExecRules.ARGUMENT_MAX_CHARS } -> "argv is beyond its limits"
            argv.any { '\u0000' in it } -> "argv holds a NUL"
            !program.startsWith('/') -> "argv[0] is not an absolute path"
            isProgramRunner(program) -> "argv[0] is a program that runs any other"
            else -> null
        }
    }

    /** By its own name, and by what it links to: a link to /system/bin/sh would get round a list of names. */
    private fun isProgramRunner(program: String): Boolean {
        val file = File(program)
        val target = runCatching { file.canonicalFile }.getOrDefault(file).name
        // Android's tools are links to toybox, which does what the link's name says.
        return file.name in ExecRules.PROGRAM_RUNNERS || (target in ExecRules.PROGRAM_RUNNERS && target != "toybox")
    }

    /** Reads to the end and keeps the first bytes, so that a talkative program is not blocked. */
    private class Output(private val stream: InputStream, private val maxBytes: Int) : Runnable {
        private val kept = ByteArrayOutputStream()

        @Volatile
        var isTruncated: Boolean = false
            private set

        override fun run() {
            val buffer = ByteArray(4_096)
            try {
                while (true) {
                    val count = stream.read(buffer)
                    if (count < 0) return
                    synchronized(kept) {
                        val room = (maxBytes - kept.size()).coerceAtMost(count)
                        kept.write(buffer, 0, room)
                        if (room < count) isTruncated = true
                    }
                }
            } catch (_: IOException) {
                // The process was destroyed.
            }
        }

        fun text(): String = synchronized(kept) { String(kept.toByteArray()) }
    }

    private companion object {
        const val READ_TAIL_MS = 1_000L
    }
}
