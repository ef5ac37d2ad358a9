package com.nexmdm.host

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File

class CommandLineTest {
    private val least = listOf("--server", "http://n1:1", "--state", "/s")

    private fun problem(vararg more: String): String =
        assertThrows(UsageException::class.java) { CommandLine.parse(least + more) }.message.orEmpty()

    @Test
    fun `every option has its place`() {
        val options =
            CommandLine.parse(
                (
                    "--server http://n1:1/,https://n2 --state /s --token t.s --alias kiosk --device-profile /p.json --interval 10s " +
                        "--record /r.jsonl --halt-at command.run#3 --push-listen 0"
                    ).split(' '),
            )
        val expected =
            CommandLine(
                servers = listOf("http://n1:1", "https://n2"),
                stateFolder = File("/s"),
                token = "t.s",
                alias = "kiosk",
                deviceProfile = File("/p.json"),
                intervalMs = 10_000,
                record = File("/r.jsonl"),
                haltAt = HaltPoint("command.run", 3),
                pushPort = 0,
            )
        assertEquals(expected, options)
    }

    @Test
    fun `server and state are enough, and values may follow an equals sign`() {
        assertEquals(CommandLine(listOf("http://n1:1"), File("/s")), CommandLine.parse(least))
        assertEquals(CommandLine.parse(least), CommandLine.parse(listOf("--server=http://n1:1", "--state=/s")))
        assertEquals(HaltPoint("start", 1), CommandLine.parse(least + listOf("--halt-at", "start")).haltAt)
    }

    @Test
    fun `times have units`() {
        val timesMs = listOf("250ms", "10s", "5m", "1h").map { CommandLine.parse(least + listOf("--interval", it)).intervalMs }
        assertEquals(listOf<Long?>(250, 10_000, 300_000, 3_600_000), timesMs)
    }

    @Test
    fun `a wrong line names the option`() {
        val wrong =
            mapOf(
                "--interval" to listOf("10", "0s", "s", "-1s", "1d"),
                "--push-listen" to listOf("-1", "65536", "x"),
                "--halt-at" to listOf("#1", "start#0", "start#x", ""),
                "--server" to listOf("http://twice"),
                "--unknown" to listOf("x"),
            )
        for ((name, values) in wrong) {
            for (value in values) assertTrue(name in problem(name, value), "$name $value: ${problem(name, value)}")
        }
        assertTrue("--token" in problem("--token"), "a value is missing")
        assertThrows(UsageException::class.java) { CommandLine.parse(listOf("--server", "http://n1")) }
        assertThrows(UsageException::class.java) { CommandLine.parse(listOf("--server", "n1", "--state", "/s")) }
        assertThrows(UsageException::class.java) { CommandLine.parse(listOf("--server", ",", "--state", "/s")) }
    }

    @Test
    fun `no text of it has the token`() {
        assertFalse("secret" in CommandLine.parse(least + listOf("--token", "secret")).toString())
        assertFalse("secret" in problem("--tokn=secret"))
    }
}
