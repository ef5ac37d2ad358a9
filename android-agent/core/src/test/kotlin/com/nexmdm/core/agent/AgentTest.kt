package com.nexmdm.core.agent

import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import com.nexmdm.core.testing.TestClock
import kotlinx.coroutines.test.TestScope
import kotlinx.coroutines.test.runTest
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.EnumSource
import org.junit.jupiter.params.provider.ValueSource
import java.io.File
import java.util.Random
import kotlin.time.Duration.Companion.minutes

/** The whole core against a simulated server in virtual time. */
class AgentTest {
    @TempDir
    lateinit var folder: File

    private val offline = NetworkState(Transport.NONE, validated = false, metered = false)
    private val wifi = NetworkState(Transport.WIFI, validated = true, metered = false)

    private val requestsOnly = AgentSettings(useSocket = false)

    private fun simulated(settings: AgentSettings = AgentSettings(), test: suspend TestScope.(AgentRig) -> Unit) =
        runTest(timeout = 2.minutes) { AgentRig(this, folder, 1, settings).let { rig -> test(rig).also { rig.kill() } } }

    private fun launch(app: String) = """{"package":"com.example.$app"}"""

    private fun runsOf(rig: AgentRig, app: String): Int =
        rig.performed.entries.filter { (it.key as? PlatformAction.LaunchApp)?.packageName == "com.example.$app" }.sumOf { it.value }

    private fun heartbeatCalls(rig: AgentRig): List<Long> =
        rig.server.calls.filter { it.second.startsWith("/v1/heartbeat") }.map { it.first }

    @Test
    fun `a token enrolls once, and the first heartbeat follows at once`() = simulated { rig ->
        rig.start()
        rig.run(1_000)
        assertEquals(AgentPhase.UNENROLLED, rig.status.phase)
        assertEquals(EnrollmentAnswer.ACCEPTED, rig.enroll()?.code)
        rig.run(1_000)
        assertEquals(AgentPhase.ENROLLED, rig.status.phase)
        assertEquals(1, rig.server.heartbeats.size)
        assertEquals(1, rig.server.calls.count { it.second == "/v1/register" })
        assertEquals(ConnectionKind.SOCKET, rig.status.connection)
        assertEquals(EnrollmentAnswer.ENROLLED_HERE, rig.enroll()?.code)
        assertEquals(EnrollmentAnswer.ENROLLED_ELSEWHERE, rig.enroll("https://c.example")?.code)
        val shown = listOf(rig.status.server, rig.status.alias, rig.status.lastError)
        assertEquals(listOf("https://a.example", "kiosk-1", null), shown)
        assertEquals(1, rig.log.of("register.ok").size)
        assertTrue(rig.log.entries.none { "enroll-1" in it.toString() || "device-token" in it.toString() })
    }

    @Test
    fun `a registration goes on through every trouble of the network, at either server`() = simulated { rig ->
        val troubles = ArrayDeque(Fault.entries - setOf(Fault.NONE, Fault.UNAUTHORIZED, Fault.DELETED, Fault.UNPROCESSABLE))
        rig.server.fault = { path -> if (path == "/v1/register") troubles.removeFirstOrNull() ?: Fault.NONE else Fault.NONE }
        rig.start()
        rig.enroll()
        rig.run(3_600_000)
        assertEquals(AgentPhase.ENROLLED, rig.status.phase)
        assertEquals(setOf("https://a.example", "https://b.example"), rig.server.servers.toSet())
        assertTrue(rig.log.of("register.fail").size >= 10)
    }

    @ParameterizedTest
    @EnumSource(Fault::class, names = ["UNAUTHORIZED", "DELETED", "UNPROCESSABLE"])
    fun `a refused registration ends, and the token is gone`(fault: Fault) = simulated { rig ->
        rig.server.fault = { fault }
        rig.start()
        rig.enroll()
        rig.run(600_000)
        assertEquals(AgentPhase.REGISTRATION_REFUSED, rig.status.phase)
        assertEquals(1, rig.server.calls.size)
        assertFalse("enroll-1" in rig.secrets.document.orEmpty())
        rig.server.fault = { Fault.NONE }
        assertEquals(EnrollmentAnswer.ACCEPTED, rig.enroll()?.code)
        rig.run(2_000)
        assertEquals(AgentPhase.ENROLLED, rig.status.phase)
    }

    @Test
    fun `an enrollment that cannot be stored is refused, and an identity is kept until it can`() = simulated { rig ->
        rig.start()
        rig.storageFails = { it == "secrets" }
        assertEquals(EnrollmentAnswer.REFUSED, rig.enroll()?.code)
        rig.storageFails = { false }
        assertEquals(EnrollmentAnswer.ACCEPTED, rig.enroll()?.code)
        rig.storageFails = { it == "secrets" }
        rig.run(60_000)
        assertEquals(AgentPhase.REGISTERING, rig.status.phase)
        rig.storageFails = { false }
        rig.run(10_000)
        assertEquals(AgentPhase.ENROLLED, rig.status.phase)
        assertEquals(1, rig.server.calls.count { it.second == "/v1/register" })
    }

    @Test
    fun `what waits at a start is delivered within five seconds`() = simulated { rig ->
        rig.startEnrolled()
        rig.network.value = offline
        rig.run(20 * 3_600_000)
        assertTrue(rig.queued().getValue("HEARTBEAT") >= 240, "${rig.queued()}")
        rig.kill()
        rig.network.value = wifi
        rig.restart(reboot = true)
        rig.run(5_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
        assertTrue(rig.log.of("queue.drain").isNotEmpty())
    }

    @Test
    fun `a regained network is used at once, whatever was waited for`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.fault = { Fault.CONNECT }
        rig.network.value = wifi.copy(validated = false)
        rig.run(4 * 3_600_000)
        assertTrue(rig.queued().getValue("HEARTBEAT") > 40)
        rig.server.fault = { Fault.NONE }
        rig.network.value = wifi
        rig.run(1_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
        assertEquals(1, rig.log.of("net.regain").size)
    }

    @ParameterizedTest
    @EnumSource(
        Fault::class,
        names = [
            "CONNECT", "LOST_REQUEST", "LOST_ANSWER", "TLS", "TOO_LARGE", "PORTAL", "REDIRECT", "PORTAL_401", "BUSY", "BAD_GATEWAY",
            "EMPTY",
        ],
    )
    fun `an hour of trouble loses nothing and is no storm`(fault: Fault) = simulated { rig ->
        rig.startEnrolled()
        val ids = List(3) { rig.server.issue("launch_app", launch("app$it")) }
        rig.server.fault = { fault }
        rig.server.openSockets.toList().forEach { it.end(null) }
        val callsBefore = rig.server.calls.size
        rig.run(3_600_000)
        val calls = rig.server.calls.size - callsBefore
        assertTrue(calls in 10..700, "$calls calls")
        rig.server.fault = { Fault.NONE }
        rig.run(700_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
        assertEquals(ids.toSet(), rig.server.outcomes.keys)
        repeat(3) { assertEquals(1, runsOf(rig, "app$it")) }
        val seqs = rig.server.heartbeats.values.map { (it.getValue("seq") as JsonPrimitive).long }.toSet()
        assertEquals((1L..seqs.max()).toSet(), seqs, "a heartbeat is missing")
    }

    @Test
    fun `answers that come after the deadline are no answers`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.openSockets.toList().forEach { it.end(null) }
        rig.server.latencyMs = { 30_000 }
        rig.run(1_800_000)
        assertTrue(rig.log.of("deliver.fail").any { it["error"] == "timeout" })
        rig.server.latencyMs = { 20 }
        rig.run(700_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
    }

    @Test
    fun `frames that arrive twice and overtake each other run nothing twice`() = simulated { rig ->
        rig.startEnrolled()
        val random = Random(7)
        rig.server.latencyMs = { random.nextInt(3_000).toLong() }
        rig.server.copies = { 1 + random.nextInt(3) }
        val ids = List(30) { rig.server.issue("launch_app", launch("app$it")).also { rig.run(random.nextInt(2_000).toLong()) } }
        rig.run(1_200_000)
        assertEquals(ids.toSet(), rig.server.outcomes.keys)
        assertEquals(List(30) { 1 }, List(30) { runsOf(rig, "app$it") })
        assertEquals(emptyList<String>(), rig.server.conflicts)
    }

    @ParameterizedTest
    @ValueSource(longs = [-365L * 86_400_000, 365L * 86_400_000])
    fun `a clock that is wrong by a year changes nothing`(offMs: Long) = simulated { rig ->
        rig.clock.setWall(TestClock.START_MS + offMs)
        rig.startEnrolled()
        val good = rig.server.issue("launch_app", launch("good"), lifetimeMs = 60_000)
        rig.run(10_000)
        assertEquals("success", rig.server.outcomes[good])
        rig.network.value = offline
        rig.server.issue("launch_app", launch("expired"), lifetimeMs = 60_000)
        rig.run(120_000)
        rig.network.value = wifi
        rig.restart(reboot = true)
        rig.run(600_000)
        assertEquals(1 to 0, runsOf(rig, "good") to runsOf(rig, "expired"))
    }

    @Test
    fun `the time is asked for before a socket is opened`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.fault = { path -> if ("result" in path) Fault.LOST_REQUEST else Fault.NONE }
        rig.server.issue("launch_app", launch("before"))
        rig.run(5_000)
        rig.kill()
        // Results go first, by requests whose answers name no time here, and the session is still good.
        rig.server.fault = { Fault.NONE }
        rig.server.sendsDate = false
        rig.clock.setWall(TestClock.START_MS - 365L * 86_400_000)
        rig.restart(reboot = true)
        rig.run(5_000)
        val id = rig.server.issue("launch_app", launch("after"))
        rig.run(5_000)
        assertEquals("success", rig.server.outcomes[id])
    }

    @Test
    fun `a clock that jumps does not hold heartbeats up`() = simulated { rig ->
        rig.startEnrolled()
        rig.clock.setWall(TestClock.START_MS - 365L * 86_400_000)
        rig.run(900_000)
        rig.clock.setWall(TestClock.START_MS + 365L * 86_400_000)
        rig.run(900_000)
        assertEquals(7, rig.server.heartbeats.size)
    }

    @Test
    fun `full storage costs no heartbeat and no command, and nothing runs twice`() = simulated { rig ->
        rig.startEnrolled()
        rig.storageFails = { true }
        val id = rig.server.issue("launch_app", launch("app"))
        val before = rig.server.heartbeats.size
        rig.run(3_600_000)
        assertTrue(rig.server.heartbeats.size >= before + 10, "${rig.server.heartbeats.size - before} heartbeats in an hour")
        assertEquals(0, runsOf(rig, "app"))
        rig.storageFails = { false }
        rig.run(700_000)
        assertEquals("success" to 1, rig.server.outcomes[id] to runsOf(rig, "app"))
        assertEquals(emptyMap<String, Int>(), rig.queued())
    }

    @Test
    fun `storage that fails at any single write is got over`() = simulated { rig ->
        rig.startEnrolled()
        for (failing in 0..40) {
            var writes = 0
            rig.storageFails = { writes++ == failing }
            rig.server.issue("launch_app", launch("app$failing"))
            rig.run(400_000)
            rig.storageFails = { false }
        }
        rig.run(700_000)
        assertEquals(List(41) { 1 }, List(41) { runsOf(rig, "app$it") })
        assertEquals(emptyList<String>(), rig.server.unfinished())
        assertEquals(emptyMap<String, Int>(), rig.queued())
    }

    @Test
    fun `five refusals in a row end the identity`() = simulated { rig ->
        rig.startEnrolled()
        val before = rig.server.calls.size
        rig.server.revoke()
        rig.server.openSockets.toList().forEach { it.end(null) }
        rig.run(600_000)
        assertEquals(AgentPhase.IDENTITY_FORGOTTEN, rig.status.phase)
        assertEquals(1, rig.log.of("identity.forgotten").size)
        assertEquals(4, rig.server.calls.drop(before).count { it.second == "/v1/agent/session" }, "the first refusal is the socket's")
        assertFalse("device-token" in rig.secrets.document.orEmpty())
        val calls = rig.server.calls.size
        rig.run(3_600_000)
        assertEquals(calls, rig.server.calls.size)
        rig.server.tokens["enroll-2"] = ""
        assertEquals(EnrollmentAnswer.ACCEPTED, rig.enroll(token = "enroll-2")?.code)
        rig.run(5_000)
        assertEquals(AgentPhase.ENROLLED, rig.status.phase)
    }

    @Test
    fun `one refused session is replaced at once`() = simulated(AgentSettings(useSocket = false)) { rig ->
        rig.startEnrolled()
        var refusals = 1
        rig.server.fault = { path -> if (path == "/v1/heartbeat" && refusals-- > 0) Fault.UNAUTHORIZED else Fault.NONE }
        rig.run(301_000)
        assertEquals(2, rig.server.heartbeats.size)
        assertEquals(2, rig.log.of("session.ok").size)
    }

    @Test
    fun `a deleted device forgets itself, by request or by frame`() {
        for (useSocket in listOf(true, false)) {
            simulated(AgentSettings(useSocket = useSocket)) { rig ->
                File(folder, "agent.db").delete()
                rig.startEnrolled()
                rig.server.fault = { path -> if ("heartbeat" in path) Fault.DELETED else Fault.NONE }
                rig.run(400_000)
                assertEquals(AgentPhase.IDENTITY_FORGOTTEN, rig.status.phase)
                assertEquals(emptyMap<String, Int>(), rig.queued())
                assertEquals(0, rig.server.openSockets.size)
            }
        }
    }

    @Test
    fun `reconnect is followed to another server after the time that was asked for`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.openSockets.single().down("""{"type":"reconnect","after_ms":5000}""")
        rig.run(4_900)
        assertEquals(0, rig.server.openSockets.size)
        rig.run(2_000)
        assertEquals(1, rig.server.openSockets.size)
        assertEquals("https://b.example", rig.server.servers.last())
    }

    @Test
    fun `without web sockets requests go on, and a socket is opened once it can be`() = simulated { rig ->
        rig.server.fault = { path -> if (path == "/v1/agent/socket") Fault.BAD_GATEWAY else Fault.NONE }
        rig.startEnrolled()
        val id = rig.server.issue("launch_app", launch("app"))
        rig.run(1_500_000)
        assertEquals(6, rig.server.heartbeats.size)
        assertEquals("success", rig.server.outcomes[id])
        assertEquals(ConnectionKind.HTTP, rig.status.connection)
        rig.server.fault = { Fault.NONE }
        rig.run(310_000)
        assertEquals(ConnectionKind.SOCKET, rig.status.connection)
    }

    @Test
    fun `a socket that does not acknowledge is given up, and nothing on it is lost`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.fault = { path -> if (path == "heartbeat") Fault.LOST_REQUEST else Fault.NONE }
        rig.run(330_000)
        assertEquals(2, rig.server.heartbeats.size)
        assertTrue(rig.log.of("deliver.fail").any { it["error"] == "ack_timeout" })
    }

    @Test
    fun `a low battery stops repetitions of heartbeats, not results`() = simulated { rig ->
        rig.startEnrolled()
        rig.power.value = PowerState(9, charging = false)
        val id = rig.server.issue("launch_app", launch("app"))
        rig.server.fault = { path -> if ("heartbeat" in path || "socket" in path) Fault.CONNECT else Fault.NONE }
        rig.run(1_000)
        rig.server.openSockets.toList().forEach { it.end(null) }
        val before = heartbeatCalls(rig).size
        rig.run(3_600_000)
        assertEquals("success", rig.server.outcomes[id])
        val tries = heartbeatCalls(rig).size - before
        assertTrue(tries in 11..13, "$tries tries in an hour of twelve heartbeats")
        rig.power.value = PowerState(9, charging = true)
        rig.server.fault = { Fault.NONE }
        rig.run(310_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
    }

    @Test
    fun `a server that asks for patience is given it`() = simulated(AgentSettings(useSocket = false)) { rig ->
        rig.startEnrolled()
        rig.server.fault = { path -> if (path.startsWith("/v1/heartbeat")) Fault.BUSY else Fault.NONE }
        rig.run(600_000)
        val gaps = heartbeatCalls(rig).drop(2).zipWithNext { a, b -> b - a }
        assertTrue(gaps.isNotEmpty() && gaps.all { it >= 7_000 }, "$gaps")
    }

    @Test
    fun `heartbeats of a refused list go one by one, and one refused alone is dropped`() = simulated(requestsOnly) { rig ->
        rig.startEnrolled()
        rig.network.value = offline
        rig.run(1_500_000)
        rig.server.fault = { path -> if (path == "/v1/heartbeats") Fault.UNPROCESSABLE else Fault.NONE }
        var refusals = 1
        val lists = rig.server.fault
        rig.server.fault = { path -> if (path == "/v1/heartbeat" && refusals-- > 0) Fault.UNPROCESSABLE else lists(path) }
        rig.network.value = wifi
        rig.run(5_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
        assertEquals(5, rig.server.heartbeats.size)
        assertTrue(rig.log.of("deliver.fail").any { it["status"] == 422 && it["kind"] == "heartbeat" })
    }

    @Test
    fun `days without a network stay within the limits, and results outlive heartbeats`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.issue("launch_app", launch("app"))
        rig.server.fault = { path -> if (path == "action_result") Fault.LOST_REQUEST else Fault.NONE }
        rig.run(1_000)
        rig.network.value = offline
        rig.run(3 * 86_400_000)
        assertEquals(500, rig.queued().values.sum())
        assertEquals(1, rig.queued()["RESULT"])
        rig.server.fault = { Fault.NONE }
        rig.network.value = wifi
        rig.run(5_000)
        assertEquals(emptyMap<String, Int>(), rig.queued())
        assertEquals(1, rig.server.outcomes.size)
    }

    @Test
    fun `commands come by push as well, and a new push address is told once`() = simulated(AgentSettings(useSocket = false)) { rig ->
        rig.startEnrolled()
        val listener = checkNotNull(rig.pushes.listener)
        listener.onToken("push-1")
        rig.run(1_000)
        rig.server.issue("launch_app", launch("app"))
        val fields = rig.server.unfinished().single().mapValues { (it.value as JsonPrimitive).content }
        repeat(2) { listener.onMessage(fields) }
        rig.run(10_000)
        assertEquals(1, rig.server.outcomes.size)
        assertEquals(1, runsOf(rig, "app"))
        rig.run(900_000)
        assertEquals(1, rig.server.heartbeats.values.count { "fcm_token" in it })
    }

    @Test
    fun `a ping is answered by a heartbeat, and sync by one at once`() = simulated { rig ->
        rig.startEnrolled()
        val ping = rig.server.issue("ping")
        rig.run(12_000)
        assertEquals("success", rig.server.outcomes[ping])
        assertTrue(rig.server.heartbeats.values.any { it["ping_request_id"] == JsonPrimitive(ping) })
        val before = rig.server.heartbeats.size
        rig.agent.syncNow()
        rig.run(1_000)
        assertEquals(before + 1, rig.server.heartbeats.size)
    }

    @Test
    fun `heartbeats are counted on over a restart and anew after a reboot`() = simulated { rig ->
        rig.startEnrolled()
        rig.restart()
        rig.run(12_000)
        rig.restart(reboot = true)
        rig.run(12_000)
        assertEquals(setOf("boot-1/1", "boot-1/2", "boot-2/1"), rig.server.heartbeats.keys)
    }

    @Test
    fun `a damaged database costs neither the identity nor a second run`() = simulated { rig ->
        rig.startEnrolled()
        rig.server.fault = { path -> if ("result" in path) Fault.LOST_REQUEST else Fault.NONE }
        val id = rig.server.issue("launch_app", launch("app"))
        rig.run(5_000)
        assertEquals(1, runsOf(rig, "app"))
        rig.kill()
        File(folder, "agent.db").writeBytes(ByteArray(8_192) { 7 })
        listOf("-wal", "-shm").forEach { File(folder, "agent.db$it").delete() }
        rig.server.fault = { Fault.NONE }
        rig.restart()
        rig.run(700_000)
        assertEquals(1, rig.log.of("store.recreated").size)
        assertEquals(AgentPhase.ENROLLED, rig.status.phase)
        assertEquals("failed" to 1, rig.server.outcomes[id] to runsOf(rig, "app"))
        assertNotEquals(0, rig.server.heartbeats.size)
        assertNull(rig.status.lastError)
    }
}
