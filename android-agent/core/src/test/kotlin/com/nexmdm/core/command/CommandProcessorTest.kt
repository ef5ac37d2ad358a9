package com.nexmdm.core.command

import com.nexmdm.core.command.CommandRig.Companion.EXCHANGE
import com.nexmdm.core.command.CommandRig.Companion.KEY
import com.nexmdm.core.command.CommandRig.Companion.OTHER_KEY
import com.nexmdm.core.command.CommandRig.Companion.command
import com.nexmdm.core.identity.Identity
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.Observer
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.store.SettingKeys
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.wire.Command
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class CommandProcessorTest {
    @TempDir
    lateinit var folder: File

    private val opener by lazy { JdbcSqlOpener(File(folder, "agent.db")) }
    private val secrets = MemorySecretStore()
    private var boot = "boot-1"
    private val rigs = mutableListOf<CommandRig>()

    private fun rig(
        limits: CommandLimits = CommandLimits(),
        observer: Observer = Observer.None,
        perform: suspend (PlatformAction) -> ActionOutcome = { ActionOutcome.SUCCESS },
    ): CommandRig =
        CommandRig(opener, secrets, bootId = { boot }, limits = limits, observer = observer, perform = perform).also { rigs += it }

    private fun restarted(perform: suspend (PlatformAction) -> ActionOutcome = { ActionOutcome.SUCCESS }): CommandRig {
        rigs.last().stop()
        return rig(perform = perform)
    }

    @AfterEach
    fun stop() {
        rigs.forEach { it.stop() }
        rigs.forEach { assertEquals(emptyList<Throwable>(), it.crashes) }
    }

    @Test
    fun `a command runs once and its result waits until it is acknowledged`() {
        val rig = rig().enroll()
        val wake = command(1)
        assertEquals(Verdict.RUN, rig.receive(wake))
        assertEquals(Verdict.SEEN_BEFORE, rig.receive(wake))
        rig.settle()
        assertEquals(listOf<PlatformAction>(PlatformAction.Wake), rig.performed)
        assertEquals("success", rig.outcome(wake))
        rig.acknowledge(503)
        assertEquals("success", rig.outcome(wake))
        rig.acknowledge()
        assertNull(rig.outcome(wake))
        val again = restarted()
        again.recover()
        assertEquals(Verdict.SEEN_BEFORE, again.receive(wake))
        again.settle()
        assertEquals(0, again.performed.size + again.outbox.size())
    }

    private fun CommandRig.recover() = processor.recover()

    @Test
    fun `a command is on record before it runs, and the observer sees it in between`() {
        val events = mutableListOf<String>()
        lateinit var rig: CommandRig
        val observer = object : Observer {
            override fun commandJudged(exchange: Exchange, path: String, verdict: String, command: Command) {
                events += "$path $verdict"
            }

            override fun commandExecuted(exchange: Exchange, command: Command) {
                val onRecord = rig.database.query("SELECT state FROM command WHERE request_id = ?", command.requestId) { it.text(0) }
                events += "executed, on record as $onRecord, ${rig.performed.size} performed"
            }
        }
        rig = rig(observer = observer).enroll()
        rig.receive(command(1))
        rig.receive(command(2).copy(signature = ""))
        rig.settle()
        assertEquals(listOf("socket run", "socket bad_signature", "executed, on record as [started], 0 performed"), events)
        assertEquals(
            listOf("command.received", "command.recorded", "command.received", "command.run", "command.concluded"),
            rig.log.entries.map { it.event }.filter { it.startsWith("command.") },
        )
    }

    @Test
    fun `what was interrupted is told so, a reboot that took place is a success`() {
        val rig = rig { awaitCancellation() }.enroll()
        val (wake, reboot) = command(1) to command(2, "reboot")
        rig.receive(wake)
        rig.receive(reboot)
        rig.settle()
        boot = "boot-2"
        val again = restarted()
        again.recover()
        again.recover()
        assertEquals("failed/interrupted" to "success", again.outcome(wake) to again.outcome(reboot))
        assertEquals(2, again.outbox.size())
        assertEquals(Verdict.SEEN_BEFORE, again.receive(reboot))
    }

    @Test
    fun `a reboot that never comes is no success`() {
        val rig = rig().enroll()
        val reboot = command(1, "reboot")
        rig.receive(reboot)
        rig.advance(60_000)
        assertNull(rig.outcome(reboot))
        rig.advance(61_000)
        assertEquals("timeout/timeout", rig.outcome(reboot))
        val second = command(2, "reboot")
        rig.receive(second)
        rig.settle()
        val again = restarted()
        again.recover()
        assertEquals("failed/interrupted", again.outcome(second))
    }

    @Test
    fun `installations own what they took over`() {
        val rig = rig().enroll()
        val (deploy, update) = command(1, "deploy_apk", """{"deployment_id":"d"}""") to command(2, "update")
        rig.receive(deploy)
        rig.receive(update)
        rig.settle()
        assertEquals(listOf(deploy, update), rig.installations.taken)
        assertEquals("received" to "received", rig.outcome(deploy) to rig.outcome(update))
        val again = restarted()
        again.installations.owned += deploy.requestId
        again.recover()
        assertEquals("received" to "failed/interrupted", again.outcome(deploy) to again.outcome(update))
        again.processor.conclusion.conclude(deploy.requestId, deploy.action, ActionOutcome.failed("low_storage", "x".repeat(2_000)))
        again.processor.conclusion.conclude(deploy.requestId, deploy.action, ActionOutcome.SUCCESS)
        assertEquals("failed/low_storage", again.outcome(deploy))
        assertEquals(1_000, again.results()[deploy.requestId]?.message?.length)
    }

    @Test
    fun `an action that does not end is given up`() {
        val rig = rig { awaitCancellation() }.enroll()
        val (wake, ring) = command(1) to command(2, "ring", """{"duration_s":300}""")
        rig.receive(wake)
        rig.receive(ring)
        rig.advance(30_001)
        assertEquals("timeout/timeout" to "received", rig.outcome(wake) to rig.outcome(ring))
        rig.advance(300_000)
        assertEquals("timeout/timeout", rig.outcome(ring))
    }

    @Test
    fun `an adapter that throws costs the command and its text is not told`() {
        val rig = rig { error("password 12345678") }.enroll()
        val wake = command(1)
        rig.receive(wake)
        rig.settle()
        assertEquals("failed/internal_error", rig.outcome(wake))
        assertFalse("12345678" in rig.log.entries.toString() + rig.results())
    }

    @Test
    fun `bad parameters and unknown actions are told and reach no platform`() {
        val rig = rig().enroll()
        val table = listOf(
            command(1, "ring", """{"duration_s":0}""") to "failed/bad_params",
            command(2, "wipe") to "failed/unknown_action",
            command(3, "rotate_key", "{}") to "failed/bad_params",
            command(4, "rotate_key", """{"device_key":"xyz1"}""") to "failed/bad_params",
            command(5, "rotate_key", """{"device_key":""}""") to "failed/bad_params",
        )
        table.forEach { (command, _) -> rig.receive(command) }
        rig.settle()
        for ((command, outcome) in table) assertEquals(outcome, rig.outcome(command), command.action)
        assertEquals(0, rig.performed.size)
    }

    @Test
    fun `ping and sync report now`() {
        val rig = rig().enroll()
        val (ping, sync) = command(1, "ping") to command(2, "sync")
        rig.receive(ping)
        rig.receive(sync)
        rig.settle()
        assertEquals(listOf(ping.requestId, null), rig.reports)
        assertEquals("success" to "success", rig.outcome(ping) to rig.outcome(sync))
    }

    @Test
    fun `the app to watch is kept`() {
        val rig = rig().enroll()
        rig.receive(command(1, "set_monitored_app", """{"package":"a.b"}"""))
        rig.settle()
        assertEquals("a.b", restarted().database.setting(SettingKeys.MONITORED_APP))
    }

    @Test
    fun `both keys hold from the rotation until its result is acknowledged`() {
        val rig = rig().enroll()
        val rotate = command(1, "rotate_key", """{"device_key":"$OTHER_KEY"}""")
        rig.receive(rotate)
        rig.settle()
        assertEquals("success", rig.outcome(rotate))
        val again = restarted()
        again.recover()
        assertEquals(listOf(KEY, OTHER_KEY), again.vault.identity?.deviceKeys)
        assertEquals(Verdict.RUN, again.receive(command(2)))
        assertEquals(Verdict.RUN, again.receive(command(3, key = OTHER_KEY)))
        again.settle()
        secrets.failing = true
        again.acknowledge()
        assertEquals("success", again.outcome(rotate))
        secrets.failing = false
        again.acknowledge()
        assertEquals(0, again.outbox.size())
        assertEquals(Verdict.BAD_SIGNATURE, again.receive(command(4)))
        assertEquals(Verdict.RUN, again.receive(command(4, key = OTHER_KEY)))
        assertFalse(OTHER_KEY in again.log.entries.toString())
    }

    @Test
    fun `a rotation whose key cannot be kept has failed`() {
        val rig = rig().enroll()
        rig.receive(command(1))
        secrets.failing = true
        val rotate = command(2, "rotate_key", """{"device_key":"$OTHER_KEY"}""")
        rig.receive(rotate)
        rig.settle()
        assertEquals("failed/storage", rig.outcome(rotate))
        assertEquals(listOf(KEY), rig.vault.identity?.deviceKeys)
    }

    @Test
    fun `answers that are final free the queue and others do not`() {
        val rig = rig().enroll()
        val gone = listOf(200, 404, 409, 422).map { it to true }
        val stays = listOf(302, 401, 408, 425, 429, 500, 503).map { it to false }
        for ((status, isGone) in gone + stays) {
            val id = rig.outbox.put(ItemKind.RESULT, "r", """{"request_id":"r","action":"wake","outcome":"success"}""")
            val item = checkNotNull(rig.outbox.get(id))
            assertEquals(isGone, rig.processor.resultAnswered(item, status), "$status")
            assertEquals(isGone, rig.outbox.get(id) == null, "$status")
        }
    }

    @Test
    fun `a wall clock wrong by a year matters only until the server told its time`() {
        for (wrongByMs in listOf(-YEAR_MS, YEAR_MS)) {
            val rig = rig().enroll()
            rig.clock.setWall(TestClock.START_MS + wrongByMs)
            val n = if (wrongByMs < 0) 1 else 2
            assertEquals(Verdict.RUN, rig.receive(command(n)))
            assertEquals(Verdict.EXPIRED, rig.receive(command(n + 10, madeAtMs = TestClock.START_MS - 10_000, lifeMs = 9_999)))
            rig.settle()
            rig.stop()
        }
    }

    @Test
    fun `before anything is known of the time an implausible clock leaves commands for later`() {
        val rig = rig()
        rig.clock.setWall(0)
        rig.vault.update { it.copy(identity = Identity(CommandRig.DEVICE_ID, "t", KEY, servers = listOf())) }
        val wake = command(1)
        assertEquals(Verdict.TIME_UNKNOWN, rig.receive(wake))
        rig.settle()
        assertEquals(0, rig.performed.size)
        rig.learn(TestClock.START_MS)
        assertEquals(Verdict.RUN, rig.receive(wake))
    }

    @Test
    fun `a lost database leaves the identity, and what may have run is not run again`() {
        val rig = rig().enroll()
        val (before, open) = command(1) to command(2, madeAtMs = TestClock.START_MS - 5)
        rig.receive(before)
        rig.settle()
        rig.acknowledge()
        rig.stop()
        opener.file.writeBytes(ByteArray(100_000) { 3 })
        val again = rig()
        again.recover()
        assertEquals(1, again.log.of("store.recreated").size)
        assertEquals(Verdict.TIME_UNKNOWN, again.receive(before))
        assertEquals(0, again.outbox.size())
        again.learn(TestClock.START_MS + 1_000)
        assertEquals(Verdict.MEMORY_LOST, again.receive(before))
        assertEquals(Verdict.MEMORY_LOST, again.receive(open))
        assertEquals("failed/memory_lost" to "failed/memory_lost", again.outcome(before) to again.outcome(open))
        assertEquals(Verdict.SEEN_BEFORE, again.receive(before))
        assertEquals(Verdict.RUN, again.receive(command(3, madeAtMs = TestClock.START_MS + 6_000)))
        again.settle()
        assertEquals(1, again.performed.size)
        val third = restarted()
        assertEquals(Verdict.SEEN_BEFORE, third.receive(before))
        assertEquals(TestClock.START_MS + 6_000, third.vault.replayFloorMs)
    }

    @Test
    fun `a database lost while a command runs does not run it again`() {
        val rig = rig {
            delay(10_000)
            ActionOutcome.SUCCESS
        }.enroll()
        val wake = command(1)
        rig.receive(wake)
        rig.settle()
        rig.database.close()
        opener.discard()
        assertEquals(Verdict.SEEN_BEFORE, rig.receive(wake))
        rig.advance(10_001)
        assertEquals("success", rig.outcome(wake))
        assertEquals(Verdict.SEEN_BEFORE, rig.receive(wake))
        assertEquals(1, rig.performed.size)
    }

    @Test
    fun `what is too much is left for later and not remembered`() {
        val rig = rig(CommandLimits(running = 2, accepted = 4, undelivered = 6)) {
            delay(1_000)
            ActionOutcome.SUCCESS
        }.enroll()
        val verdicts = (1..5).map { rig.receive(command(it)) }
        assertEquals(List(4) { Verdict.RUN } + Verdict.MEMORY_FULL, verdicts)
        rig.settle()
        assertEquals(2, rig.performed.size)
        rig.advance(2_001)
        assertEquals(4, rig.performed.size)
        assertEquals(listOf(Verdict.RUN, Verdict.RUN, Verdict.MEMORY_FULL), (5..7).map { rig.receive(command(it)) })
        rig.advance(2_000)
        rig.acknowledge()
        assertEquals(Verdict.RUN, rig.receive(command(7)))
    }

    @Test
    fun `a command that expires while it waits for its turn is skipped`() {
        val rig = rig(CommandLimits(running = 1)) {
            delay(20_000)
            ActionOutcome.SUCCESS
        }.enroll()
        val late = command(2, lifeMs = 15_000)
        rig.receive(command(1))
        rig.receive(late)
        rig.advance(20_001)
        assertEquals("skipped/expired", rig.outcome(late))
        assertEquals(1, rig.performed.size)
    }

    @Test
    fun `what expired long ago is forgotten, and not because a wrong clock says so`() {
        val rig = rig().enroll()
        rig.receive(command(1))
        rig.settle()
        rig.acknowledge()
        boot = "boot-2"
        val again = restarted()
        again.clock.setWall(TestClock.START_MS + YEAR_MS)
        again.receive(command(2, madeAtMs = TestClock.START_MS + YEAR_MS))
        assertTrue(again.database.query("SELECT request_id FROM command") { it.text(0) }.contains(command(1).requestId))
        again.learn()
        again.receive(command(3, madeAtMs = TestClock.START_MS + YEAR_MS))
        assertFalse(again.database.query("SELECT request_id FROM command") { it.text(0) }.contains(command(1).requestId))
    }

    @Test
    fun `without an identity nothing is believed`() {
        assertEquals(Verdict.BAD_SIGNATURE, rig().receive(command(1)))
        assertEquals(Verdict.UNKNOWN_VERSION, rigs.last().receive(command(1).copy(v = "2")))
    }

    @Test
    fun `a signed push runs, one with hmac alone only makes the agent report`() {
        val rig = rig().enroll()
        val signed = command(1)
        val fields = mapOf(
            "request_id" to signed.requestId, "device_id" to signed.deviceId, "action" to signed.action, "ts" to signed.ts,
            "expires_at" to signed.expiresAt, "params" to signed.params, "signature" to signed.signature, "v" to "1",
        )
        assertEquals(Verdict.RUN, rig.processor.receivePush(fields + ("hmac" to "00"), EXCHANGE))
        val text = "r9|${CommandRig.DEVICE_ID}|reboot|${signed.ts}"
        val hmac = Hex.encode(hmacSha256(KEY.toByteArray(), text.toByteArray()))
        val named = mapOf("request_id" to "r9", "device_id" to CommandRig.DEVICE_ID, "action" to "reboot")
        val legacy = named + mapOf("ts" to signed.ts, "hmac" to hmac)
        assertEquals(Verdict.UNKNOWN_VERSION, rig.processor.receivePush(legacy, EXCHANGE))
        assertEquals(listOf<String?>(null), rig.reports)
        assertEquals(Verdict.BAD_SIGNATURE, rig.processor.receivePush(legacy + ("v" to "1"), EXCHANGE))
        rig.processor.receivePush(legacy + ("action" to "lock"), EXCHANGE)
        rig.settle()
        assertEquals(2, rig.reports.size)
        assertEquals(listOf<PlatformAction>(PlatformAction.Wake), rig.performed)
    }

    @Test
    fun `a result that is too large is told without its data`() {
        val data = JsonObject(mapOf("output" to JsonPrimitive("x".repeat(100_000))))
        val rig = rig { ActionOutcome("success", message = "y".repeat(999) + "🙂", data = data) }.enroll()
        val wake = command(1)
        rig.receive(wake)
        rig.settle()
        val result = checkNotNull(rig.results()[wake.requestId])
        assertEquals("y".repeat(999), result.message)
        assertEquals(JsonObject(mapOf("truncated" to JsonPrimitive(true))), result.data)
    }

    private companion object {
        const val YEAR_MS = 365 * 86_400_000L
    }
}
