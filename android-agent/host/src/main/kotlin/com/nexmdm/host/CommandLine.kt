package com.nexmdm.host

import java.io.File

/** The command line cannot be followed; the message names the option and what it takes. */
internal class UsageException(message: String) : Exception(message)

/** Point at which the process ends itself as if it were killed. */
internal data class HaltPoint(
    /** Name of a log event. */
    val event: String,
    /** Which of them, counted from 1 since the start of the process. */
    val occurrence: Int,
)

/** What the process was started with. */
internal data class CommandLine(
    /** Base addresses of the nodes, the first tried first. */
    val servers: List<String>,
    /** Folder that outlives the process. */
    val stateFolder: File,
    /** Enrollment token; needed until the agent is enrolled, ignored afterwards. */
    val token: String? = null,
    /** Name of the device, unless the token fixes it. */
    val alias: String? = null,
    /** The simulated device; a healthy one without it. */
    val deviceProfile: File? = null,
    /** Time between heartbeats, ms; null: as the server says. */
    val intervalMs: Long? = null,
    /** File that a line about every exchange, command and step is appended to. */
    val record: File? = null,
    /** Where the process ends itself. */
    val haltAt: HaltPoint? = null,
    /** Port of 127.0.0.1 that push messages are taken at; 0: any free one. */
    val pushPort: Int? = null,
) {
    /** Without the token. */
    override fun toString(): String = "CommandLine($servers, $stateFolder)"

    companion object {
        /** What the process says when it is used wrongly. */
        val USAGE: String =
            """
            usage: java -jar nexmdm-agent-host.jar --server URL[,URL..] --state DIR [--token TOKEN]
                [--alias NAME] [--device-profile FILE] [--interval 10s] [--record FILE]
                [--push-listen PORT] [--halt-at EVENT[#N]]
            exit status: 0 after SIGTERM, 1 crash, 2 usage, 3 registration refused, 4 identity forgotten,
                75 replaced by an update or rebooted: start it again with the same arguments
            """.trimIndent()

        private const val PORT_MAX = 65_535
        private val DURATION = Regex("([0-9]{1,9})(ms|s|m|h)")
        private val UNIT_MS = mapOf("ms" to 1L, "s" to 1_000L, "m" to 60_000L, "h" to 3_600_000L)

        /** Reads `--name value` and `--name=value`. Throws [UsageException]. */
        fun parse(arguments: List<String>): CommandLine {
            val values = values(arguments)
            fun required(name: String) = values[name] ?: throw UsageException("--$name is missing")
            val servers = required("server").split(',').map { it.trim().trimEnd('/') }.filter { it.isNotEmpty() }
            servers.find { !it.startsWith("http://") && !it.startsWith("https://") }?.let {
                throw UsageException("--server takes addresses that begin with http:// or https://, not $it")
            }
            if (servers.isEmpty()) throw UsageException("--server takes at least one address")
            return CommandLine(
                servers = servers,
                stateFolder = File(required("state")).absoluteFile,
                token = values["token"]?.trim()?.ifEmpty { null },
                alias = values["alias"]?.trim()?.ifEmpty { null },
                deviceProfile = values["device-profile"]?.let { File(it).absoluteFile },
                intervalMs = values["interval"]?.let { durationMs("interval", it) },
                record = values["record"]?.let { File(it).absoluteFile },
                haltAt = values["halt-at"]?.let(::haltPoint),
                pushPort = values["push-listen"]?.let(::port),
            )
        }

        private val NAMES =
            setOf("server", "state", "token", "alias", "device-profile", "interval", "record", "halt-at", "push-listen")

        private fun values(arguments: List<String>): Map<String, String> {
            val values = mutableMapOf<String, String>()
            val rest = ArrayDeque(arguments)
            while (true) {
                val argument = rest.removeFirstOrNull() ?: return values
                val name = argument.removePrefix("--").substringBefore('=')
                if (!argument.startsWith("--") || name !in NAMES) throw UsageException("unknown argument ${argument.substringBefore('=')}")
                val value = if ('=' in argument) argument.substringAfter('=') else rest.removeFirstOrNull()
                value ?: throw UsageException("--$name takes a value")
                if (values.put(name, value) != null) throw UsageException("--$name is given twice")
            }
        }

        private fun durationMs(name: String, text: String): Long {
            val (number, unit) = DURATION.matchEntire(text)?.destructured
                ?: throw UsageException("--$name takes a time such as 10s, not $text")
            return (number.toLong() * UNIT_MS.getValue(unit)).also { if (it == 0L) throw UsageException("--$name is more than nothing") }
        }

        private fun haltPoint(text: String): HaltPoint {
            val occurrence = if ('#' in text) text.substringAfter('#').toIntOrNull() else 1
            val event = text.substringBefore('#')
            if (event.isEmpty() || occurrence == null || occurrence < 1) throw UsageException("--halt-at takes EVENT or EVENT#N, not $text")
            return HaltPoint(event, occurrence)
        }

        private fun port(text: String): Int =
            text.toIntOrNull()?.takeIf { it in 0..PORT_MAX } ?: throw UsageException("--push-listen takes a port, not $text")
    }
}
