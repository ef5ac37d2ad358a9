package com.nexmdm.core.agent

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.Vault
import com.nexmdm.core.link.okhttp.OkHttpNetwork
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.Clock
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.DownloadFolder
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import com.nexmdm.core.queue.SqlOutbox
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.MemoryTimePersistence
import com.nexmdm.core.testing.RecordingLog
import com.nexmdm.core.testing.TestRandomness
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.Heartbeat
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.test.runTest
import kotlinx.coroutines.withTimeout
import kotlinx.serialization.json.JsonArray
import okhttp3.mockwebserver.Dispatcher
import okhttp3.mockwebserver.MockResponse
import okhttp3.mockwebserver.MockWebServer
import okhttp3.mockwebserver.RecordedRequest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.util.concurrent.atomic.AtomicInteger

/** Prints how fast and how thrifty the core is; what is asserted is only that it works. */
class AgentSpeedTest {
    @TempDir
    lateinit var folder: File

    private val readings = DeviceReadings(
        "1.4.0", 140, "boot-1", batteryPct = 80, charging = false, uptimeSeconds = 5, androidVersion = "13", sdkInt = 33,
        patchLevel = "2025-08-05", buildId = "TQ3A", model = "Orbic Joy 2", manufacturer = "Orbic", hardwareId = "HW",
        totalRamMb = 3_891, availRamMb = 1_210,
        transport = Transport.WIFI, ssid = "shop", ip = "192.0.2.7", netValidated = true, metered = false, storageFreeMb = 5_120,
    )

    private object RealClock : Clock {
        override fun wallMs(): Long = System.currentTimeMillis()

        override fun monotonicMs(): Long = System.nanoTime() / 1_000_000
    }

    private fun body(seq: Long): String {
        val context = HeartbeatContext("d-1", "kiosk-17", Rfc3339.format(RealClock.wallMs()), null, null, 0, seq)
        return WireJson.encodeToString(Heartbeat.serializer(), HeartbeatBuilder.build(readings, context))
    }

    private fun outbox(syncs: Boolean): SqlOutbox {
        val log = RecordingLog()
        val database = AgentDatabase(JdbcSqlOpener(File(folder, "agent.db"), syncs), log)
        return SqlOutbox(database, RealClock, TrustedTime(RealClock, "boot-1", MemoryTimePersistence(), 0), log)
    }

    @Test
    fun `a heartbeat is built and queued`() {
        val outbox = outbox(syncs = true)
        val tookUs = List(400) { n ->
            val startedNs = System.nanoTime()
            outbox.putHeartbeat(body(n.toLong()), n * 10_000L)
            (System.nanoTime() - startedNs) / 1_000
        }.drop(100).sorted()
        println("heartbeat built and queued on disk: median ${tookUs[150] / 1_000.0} ms, slowest of 300 ${tookUs.last() / 1_000.0} ms")
        assertEquals(400, outbox.heartbeats())
    }

    @Test
    fun `a queue of 500 is drained over localhost`() {
        val outbox = outbox(syncs = true)
        repeat(500) { outbox.putHeartbeat(body(it.toLong()), it * 10_000L) }
        val stored = AtomicInteger()
        val server = MockWebServer().apply { dispatcher = node(stored) }
        val address = "http://${server.hostName}:${server.port}"
        val secrets = MemorySecretStore()
        Vault(secrets, RecordingLog()).update {
            val hosts = setOf(address.removePrefix("http://"))
            it.copy(identity = Identity("d-1", "t", "11".repeat(32), servers = listOf(address), cleartextHosts = hosts))
        }
        runBlocking(Dispatchers.Default) {
            val agent = Agent(ports(secrets), AgentSettings(useSocket = false))
            val startedNs = System.nanoTime()
            val job = launch { agent.run() }
            withTimeout(60_000) { agent.status.first { it.lastContactMs != null && it.queueSize == 0 } }
            val tookMs = (System.nanoTime() - startedNs) / 1_000_000
            println("queue of 500 heartbeats drained over localhost: $tookMs ms, ${server.requestCount} requests")
            job.cancel()
            job.join()
        }
        server.shutdown()
        assertTrue(stored.get() >= 500, "${stored.get()}")
    }

    private fun node(stored: AtomicInteger) = object : Dispatcher() {
        override fun dispatch(request: RecordedRequest): MockResponse {
            val now = Rfc3339.format(RealClock.wallMs())
            val answer = when (request.path) {
                "/v1/agent/session" -> """{"session_token":"s","expires_at":"${Rfc3339.format(RealClock.wallMs() + 86_400_000)}"}"""
                "/v1/heartbeats" -> {
                    val count = (WireJson.parseToJsonElement(request.body.readUtf8()) as JsonArray).size
                    stored.addAndGet(count)
                    val results = List(count) { """{"index":$it,"status":200}""" }
                    """{"results":$results,"next_heartbeat_seconds":300,"commands":[],"server_time":"$now"}"""
                }
                "/v1/heartbeat" -> {
                    stored.incrementAndGet()
                    """{"ok":true,"next_heartbeat_seconds":300,"commands":[],"server_time":"$now"}"""
                }
                else -> return MockResponse().setResponseCode(304).setHeader("X-Update-Reason", "no_current_build")
            }
            return MockResponse().setBody(answer)
        }
    }

    private fun ports(secrets: MemorySecretStore) = Ports(
        clock = RealClock,
        randomness = TestRandomness(1),
        sqlOpener = JdbcSqlOpener(File(folder, "agent.db"), syncs = true),
        secrets = secrets,
        log = RecordingLog(),
        http = OkHttpNetwork(),
        monitor = object : DeviceMonitor {
            override val network = MutableStateFlow(NetworkState(Transport.WIFI, validated = true, metered = false))
            override val power = MutableStateFlow(PowerState(80, charging = false))
        },
        facts = object : DeviceFacts {
            override suspend fun read(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings = readings

            override fun bootId(): String = "boot-1"

            override fun agentVersionCode(): Long = 140

            override fun agentPackage(): String = "com.nexmdm"
        },
        actions = object : Actions {
            override suspend fun perform(action: PlatformAction): ActionOutcome = ActionOutcome.SUCCESS
        },
        installer = AgentRig.NoInstaller,
        downloads = object : DownloadFolder {
            override val folder: File = this@AgentSpeedTest.folder

            override fun freeBytes(): Long = 1L shl 30
        },
    )

    @Test
    fun `an idle day costs little`() {
        for (useSocket in listOf(true, false)) {
            val dayFolder = File(folder, "day-$useSocket").apply { mkdirs() }
            runTest {
                val rig = AgentRig(this, dayFolder, 1, AgentSettings(useSocket = useSocket))
                rig.startEnrolled()
                val (calls, bytes) = rig.server.calls.size to rig.server.bytesUp + rig.server.bytesDown
                rig.run(DAY_MS)
                // On a socket each end pings every 30 s, and each ping is answered; 60 bytes with TCP and TLS.
                val pings = if (useSocket) 2 * DAY_MS / 30_000 else 0
                val total = rig.server.bytesUp + rig.server.bytesDown - bytes + pings * 2 * 60
                val exchanges = rig.server.calls.size - calls
                println(
                    "idle day, socket=$useSocket: $exchanges exchanges, ${(exchanges + pings) / 24.0} wake-ups of the radio an hour " +
                        "(${exchanges / 24.0} of the agent), ${total / 1_024} KiB a day",
                )
                assertTrue(rig.server.heartbeats.size in 280..295, "${rig.server.heartbeats.size}")
                rig.kill()
            }
        }
    }

    private companion object {
        const val DAY_MS = 86_400_000L
    }
}
