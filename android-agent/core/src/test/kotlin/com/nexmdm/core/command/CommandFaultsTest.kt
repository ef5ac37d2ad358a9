package com.nexmdm.core.command

import com.nexmdm.core.command.CommandRig.Companion.KEY
import com.nexmdm.core.command.CommandRig.Companion.OTHER_KEY
import com.nexmdm.core.command.CommandRig.Companion.command
import com.nexmdm.core.command.CommandRig.Companion.signedWith
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.Observer
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.SecretStore
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.testing.FailingSqlOpener
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.KillSwitch
import com.nexmdm.core.testing.Killed
import com.nexmdm.core.testing.KillingSqlOpener
import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.wire.ActionResult
import com.nexmdm.core.wire.Command
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.test.TestCoroutineScheduler
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File
import java.nio.file.Files
import java.util.Random

/** Full storage at every statement, and kills between any two steps: nothing runs twice and no result is lost. */
class CommandFaultsTest {
    private val commands = listOf(
        command(1, "launch_app", """{"package":"a.c1"}"""),
        command(2, "ring", """{"duration_s":2}"""),
        command(3, "rotate_key", """{"device_key":"$OTHER_KEY"}"""),
        command(4, "set_monitored_app", """{"package":"a.c4"}"""),
        command(5, "deploy_apk", """{"deployment_id":"d"}"""),
        command(6, "ping"),
    )

    private fun <T> inFolder(block: (File) -> T): T {
        val folder = Files.createTempDirectory("commands").toFile()
        try {
            return block(folder)
        } finally {
            folder.deleteRecursively()
        }
    }

    /** Sends every command until all are answered; outcomes by command. */
    private fun converse(rig: CommandRig): Map<String, Set<String>> {
        val heard = mutableMapOf<String, MutableSet<String>>()
        repeat(6) {
            for (command in commands.map { it.signedAfter(heard) }) {
                if (heard[command.requestId]?.any { it != "received" } == true) continue
                if (rig.receive(command) == Verdict.RUN && command.action == "deploy_apk") rig.installations.owned += command.requestId
            }
            rig.advance(70_000)
            rig.installations.owned.toList().forEach { id ->
                runCatching { rig.processor.conclusion.conclude(id, "deploy_apk", ActionOutcome.SUCCESS) }
                    .onSuccess { rig.installations.owned -= id }
            }
            runCatching {
                for (item in rig.outbox.oldest(setOf(ItemKind.RESULT), 100)) {
                    val outcome = WireJson.decodeFromString(ActionResult.serializer(), item.body).outcome
                    heard.getOrPut(item.subject) { mutableSetOf() } += outcome
                    rig.processor.resultAnswered(item, 200)
                }
            }
        }
        return heard
    }

    /** As the server signs it: with the new key once it heard that the device has it. */
    private fun Command.signedAfter(heard: Map<String, Collection<String>>): Command {
        val rotation = heard[commands.first { it.action == "rotate_key" }.requestId].orEmpty()
        return signedWith(if (rotation.any { it.startsWith("success") }) OTHER_KEY else KEY)
    }

    private fun assertOnce(rig: CommandRig, heard: Map<String, Set<String>>, why: String) {
        assertEquals(emptyList<Throwable>(), rig.crashes, why)
        assertEquals(rig.performed.size, rig.performed.distinct().size, "$why: ${rig.performed}")
        assertEquals(rig.installations.taken.size, rig.installations.taken.distinct().size, why)
        for (command in commands) {
            val final = heard[command.requestId].orEmpty().filter { it != "received" }
            assertEquals(1, final.size, "$why: ${command.action} $heard")
            if (final.single() == "success" && command.action == "launch_app") {
                assertTrue(PlatformAction.LaunchApp("a.c1", null) in rig.performed, why)
            }
        }
    }

    @Test
    fun `storage that is full at any one statement, or from there on for a while, loses nothing and runs nothing twice`() {
        var statements = 0
        inFolder { folder ->
            val opener = FailingSqlOpener(JdbcSqlOpener(File(folder, "agent.db")))
            val rig = CommandRig(opener).enroll()
            val from = opener.count
            assertOnce(rig, converse(rig), "no failure")
            statements = opener.count - from
            rig.stop()
        }
        assertTrue(statements > 60, "$statements")
        for (length in listOf(1, 7)) {
            for (n in 1..statements) {
                inFolder { folder ->
                    val opener = FailingSqlOpener(JdbcSqlOpener(File(folder, "agent.db")))
                    val rig = CommandRig(opener).enroll()
                    opener.failing = (opener.count + n) until (opener.count + n + length)
                    val heard = converse(rig)
                    assertOnce(rig, heard, "statement $n, $length of them")
                    rig.stop()
                }
            }
        }
    }

    @Test
    fun `a secret store that is full at any write loses nothing and runs nothing twice`() {
        for (n in 1..4) {
            inFolder { folder ->
                val secrets = object : SecretStore {
                    val inner = MemorySecretStore()
                    var writes = 0

                    override fun read() = inner.read()

                    override fun write(document: String) {
                        writes++
                        inner.failing = writes == n + 1
                        inner.write(document)
                    }

                    override fun clear() = inner.clear()
                }
                val rig = CommandRig(JdbcSqlOpener(File(folder, "agent.db")), secrets).enroll()
                assertOnce(rig, converse(rig), "write $n")
                rig.stop()
            }
        }
    }

    /** A server and the storage of a device, which outlive the agent's processes. */
    private inner class World(folder: File, seed: Long) {
        private val random = Random(seed)
        private val disk = JdbcSqlOpener(File(folder, "agent.db"))
        private val secrets = MemorySecretStore()
        private val scheduler = TestCoroutineScheduler()
        private val clock = TestClock(scheduler = scheduler)
        private var kill = KillSwitch(Int.MAX_VALUE)
        private var boot = 1
        private var rig: CommandRig? = null
        private val sent = commands + command(7, "reboot") + command(8, "launch_app", """{"package":"a.c8"}""")

        /** How often the platform was asked for each action. */
        val performed = mutableMapOf<PlatformAction, Int>()

        /** How often a command was announced as executed. */
        val executed = mutableMapOf<String, Int>()

        /** Outcomes that the server was told, by command; `received` apart. */
        val told = mutableMapOf<String, MutableSet<String>>()

        private fun start(countdown: Int) {
            rig?.let { if (kill.isDead) it.stop() }
            if (random.nextInt(4) == 0) reboot()
            kill = KillSwitch(countdown)
            val observer = object : Observer {
                override fun commandExecuted(exchange: Exchange, command: Command) {
                    kill.point()
                    executed.merge(command.requestId, 1, Int::plus)
                }
            }
            try {
                val next = CommandRig(
                    KillingSqlOpener(disk, kill),
                    KillingSecrets(secrets),
                    scheduler,
                    clock,
                    { "boot-$boot" },
                    observer,
                    perform = ::perform,
                )
                rig = next
                if (next.vault.identity == null) next.enroll() else next.learn()
                next.processor.recover()
            } catch (_: Killed) {
                // Dead before it was ready.
            }
        }

        private fun reboot() {
            boot++
            clock.reboot()
        }

        private fun perform(action: PlatformAction): ActionOutcome {
            kill.point()
            performed.merge(action, 1, Int::plus)
            if (action == PlatformAction.Reboot) {
                reboot()
                kill.kill()
            }
            kill.point()
            return ActionOutcome.SUCCESS
        }

        private fun step(rig: CommandRig) {
            when (random.nextInt(4)) {
                0, 1 -> {
                    val command = sent[random.nextInt(sent.size)].signedAfter(told)
                    if (told[command.requestId] == null || random.nextInt(3) == 0) rig.receive(command)
                }
                2 -> rig.advance(random.nextInt(5_000).toLong())
                else -> deliver(rig, isAnswerLost = random.nextInt(3) == 0)
            }
        }

        private fun deliver(rig: CommandRig, isAnswerLost: Boolean) {
            for (item in rig.outbox.oldest(setOf(ItemKind.RESULT), 3)) {
                val result = WireJson.decodeFromString(ActionResult.serializer(), item.body)
                if (result.outcome != "received") told.getOrPut(item.subject) { mutableSetOf() } += "${result.outcome} ${result.code}"
                if (!isAnswerLost) rig.processor.resultAnswered(item, 200)
            }
        }

        /** Installations here end at once, without being owned over a restart. */
        private fun endInstallations(rig: CommandRig) {
            for (id in rig.installations.owned.toList()) {
                rig.processor.conclusion.conclude(id, "deploy_apk", ActionOutcome.SUCCESS)
                rig.installations.owned -= id
            }
        }

        fun live() {
            repeat(12) {
                start(countdown = 1 + random.nextInt(150))
                repeat(30) {
                    if (kill.isDead) return@repeat
                    try {
                        rig?.let { rig -> step(rig).also { endInstallations(rig) } }
                    } catch (_: Killed) {
                        // The next one starts where this one ended.
                    }
                }
                kill.kill()
            }
            // From now on it is left in peace, but for the reboot it was asked for.
            repeat(3) {
                start(Int.MAX_VALUE)
                val last = checkNotNull(rig)
                repeat(2) {
                    sent.forEach { command -> if (!kill.isDead) last.receive(command.signedAfter(told)) }
                    last.advance(70_000)
                    if (!kill.isDead) {
                        endInstallations(last)
                        repeat(10) { deliver(last, isAnswerLost = false) }
                    }
                }
                if (!kill.isDead) assertEquals(0, last.outbox.size())
                assertEquals(emptyList<Throwable>(), last.crashes.filterNot { it is Killed })
                kill.kill()
            }
            rig?.stop()
        }

        fun check() {
            assertTrue(performed.values.all { it == 1 }, "$performed")
            assertTrue(executed.values.all { it == 1 }, "$executed")
            for (command in sent) {
                val outcomes = told[command.requestId]
                assertEquals(1, outcomes?.size, "${command.action}: $outcomes")
                if (command.action == "launch_app" && outcomes == setOf("success null")) {
                    val name = Params.read(command.params).text("package")
                    assertEquals(1, performed[PlatformAction.LaunchApp(name, null)], command.params)
                }
            }
        }

        private inner class KillingSecrets(private val inner: SecretStore) : SecretStore by inner {
            override fun write(document: String) {
                kill.point()
                inner.write(document)
                kill.point()
            }
        }
    }

    @Property(tries = 150)
    fun `kills and reboots between any two steps run nothing twice and lose no result`(@ForAll seed: Long) {
        inFolder { folder -> World(folder, seed).apply { live() }.check() }
    }
}
