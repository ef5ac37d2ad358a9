package com.nexmdm.core.agent

import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import kotlinx.coroutines.test.runTest
import net.jqwik.api.Example
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.ShrinkingMode
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import java.nio.file.Files
import java.util.Random
import kotlin.time.Duration.Companion.minutes

/**
 * An agent loses no result and runs nothing twice, whenever its process is killed (P14), whatever network, clock, power and
 * storage do meanwhile; and its queue keeps to its limits.
 */
class AgentPropertyTest {
    @Property(tries = 60, shrinking = ShrinkingMode.OFF)
    fun `nothing runs twice and no result is lost`(@ForAll seed: Long): Unit = ordeal(seed)

    @Example
    fun `seeds that failed once`() {
        // Results were delivered before the first heartbeat after a reboot, so that a socket was opened without the time.
        ordeal(-205)
    }

    private fun ordeal(seed: Long) {
        val folder = Files.createTempDirectory("agent").toFile()
        try {
            runTest(timeout = 5.minutes) { Ordeal(AgentRig(this, folder, seed), Random(seed)).run() }
        } finally {
            folder.deleteRecursively()
        }
    }

    /** Some hours of a device's bad life, and the peace after it. */
    private class Ordeal(private val rig: AgentRig, private val random: Random) {
        private val apps = mutableMapOf<String, String>()

        fun run() {
            rig.startEnrolled()
            rig.server.latencyMs = { random.nextInt(if (random.nextInt(20) == 0) 30_000 else 400).toLong() }
            rig.server.copies = { if (random.nextInt(5) == 0) 2 else 1 }
            repeat(40) {
                disturb()
                if (random.nextInt(3) > 0) issue()
                if (random.nextInt(3) == 0) rig.killAfter(random.nextInt(120).toLong())
                rig.run(random.nextInt(200_000).toLong())
                if (!rig.isAlive || random.nextInt(12) == 0) restart()
                judge()
            }
            calm()
            rig.run(3_600_000)
            judge()
            assertEquals(emptyList<Any>(), rig.server.unfinished()) {
                "commands without a result; " + rig.log.entries.takeLast(40).joinToString("\n") { "${it.event} ${it.fields}" }
            }
            assertEquals(emptyMap<String, Int>(), rig.queued())
            for ((requestId, app) in apps) {
                if (rig.server.outcomes[requestId] == "success") assertEquals(1, runs(app), "$app said success")
            }
            rig.kill()
        }

        private fun issue() {
            if (random.nextInt(6) == 0) {
                rig.server.issue(listOf("ping", "sync", "update").random(kotlin.random.Random(random.nextLong())), lifetimeMs = LONG_MS)
                return
            }
            val app = "app.n${apps.size}"
            apps[rig.server.issue("launch_app", """{"package":"$app"}""", LONG_MS)] = app
        }

        private fun disturb() {
            val faults = List(random.nextInt(5)) { TRANSIENT[random.nextInt(TRANSIENT.size)] }
            val sharePct = random.nextInt(90)
            rig.server.fault = {
                if (faults.isNotEmpty() && random.nextInt(100) < sharePct) faults[random.nextInt(faults.size)] else Fault.NONE
            }
            val storagePct = if (random.nextInt(4) == 0) random.nextInt(40) else 0
            rig.storageFails = { random.nextInt(100) < storagePct }
            val transport = if (random.nextInt(5) == 0) Transport.NONE else listOf(Transport.WIFI, Transport.CELLULAR)[random.nextInt(2)]
            rig.network.value = NetworkState(transport, transport != Transport.NONE && random.nextBoolean(), metered = false)
            rig.power.value = PowerState(random.nextInt(101), random.nextBoolean())
            if (random.nextInt(10) == 0) rig.clock.setWall(rig.trueClock.wallMs() + (random.nextInt(800) - 400) * 86_400_000L)
        }

        private fun restart() {
            rig.restart(reboot = random.nextInt(3) == 0)
        }

        private fun calm() {
            rig.server.fault = { Fault.NONE }
            rig.storageFails = { false }
            rig.server.latencyMs = { 20 }
            rig.network.value = NetworkState(Transport.WIFI, validated = true, metered = false)
            rig.power.value = PowerState(80, charging = false)
            if (!rig.isAlive) rig.restart() else rig.killAfter(Long.MAX_VALUE)
        }

        private fun judge() {
            for (app in apps.values) assertTrue(runs(app) <= 1, "$app ran ${runs(app)} times")
            assertEquals(emptyList<String>(), rig.server.conflicts)
            assertTrue(rig.server.deviceId in rig.secrets.document.orEmpty(), "the identity is gone")
            assertTrue(rig.queued().values.sum() <= 500 && rig.queuedBytes() <= 10_000_000)
        }

        private fun runs(app: String): Int =
            rig.performed.entries.filter { (it.key as? PlatformAction.LaunchApp)?.packageName == app }.sumOf { it.value }
    }

    private companion object {
        /** Faults after which the device is still enrolled. */
        val TRANSIENT = Fault.entries - setOf(Fault.NONE, Fault.UNAUTHORIZED, Fault.DELETED, Fault.UNPROCESSABLE)
        const val LONG_MS = 7 * 86_400_000L
    }
}
