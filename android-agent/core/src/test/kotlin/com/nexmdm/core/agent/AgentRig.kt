package com.nexmdm.core.agent

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.AppInstaller
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.DownloadFolder
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.PushListener
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.Row
import com.nexmdm.core.port.SecretStore
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.SqlOpener
import com.nexmdm.core.port.Transport
import com.nexmdm.core.port.WakeUps
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.RecordingLog
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.testing.TestRandomness
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.Job
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.test.StandardTestDispatcher
import kotlinx.coroutines.test.TestScope
import kotlinx.coroutines.test.advanceTimeBy
import kotlinx.coroutines.test.runCurrent
import java.io.File
import java.io.IOException

/** The process was killed. */
class Killed : Error("killed")

/**
 * A device in virtual time with a whole agent on a real SQLite file. Its process can be killed before any effect on the world:
 * a statement, a write of secrets, a call, an action, a line of the log.
 */
@OptIn(ExperimentalCoroutinesApi::class)
class AgentRig(private val test: TestScope, folder: File, seed: Long, private val settings: AgentSettings = AgentSettings()) {
    /** The true time; the device's own clock is [clock]. */
    val trueClock = TestClock(scheduler = test.testScheduler)
    val server = SimulatedServer(test.backgroundScope, trueClock)
    val clock = TestClock(scheduler = test.testScheduler)
    val network = MutableStateFlow(NetworkState(Transport.WIFI, validated = true, metered = false))
    val power = MutableStateFlow(PowerState(80, charging = false))
    val secrets = MemorySecretStore()
    val log = RecordingLog()

    /** How often each action was performed. */
    val performed = mutableMapOf<PlatformAction, Int>()
    var bootId = "boot-1"
    var wakeUpCount = 0

    /** Whether storage refuses this statement, as when it is full. */
    var storageFails: (statement: String) -> Boolean = { false }
    private var stepsToKill = Long.MAX_VALUE
    private var process: Process? = null
    private val randomness = TestRandomness(seed)
    private val databaseFile = File(folder, "agent.db")
    private val downloadFolder = File(folder, "downloads").apply { mkdirs() }

    private class Process(val agent: Agent, val job: Job, val killed: CompletableDeferred<Unit>, val life: Life)

    val agent: Agent get() = checkNotNull(process).agent
    val status: AgentStatus get() = agent.status.value

    /** Whether the process runs. */
    val isAlive: Boolean get() = process?.life?.isDead == false

    /** Starts the process. */
    fun start() {
        val life = Life()
        val agent = Agent(ports(life), settings, StandardTestDispatcher(test.testScheduler), StandardTestDispatcher(test.testScheduler))
        val killed = CompletableDeferred<Unit>()
        val job = test.backgroundScope.launch {
            try {
                agent.run()
            } catch (_: Killed) {
                killed.complete(Unit)
            }
        }
        process = Process(agent, job, killed, life)
    }

    /** Kills the process before its effect number [steps] from now on. */
    fun killAfter(steps: Long) {
        stepsToKill = steps
    }

    /** Ends what is left of the process, as a kill would. */
    fun kill() {
        val ended = process ?: return
        ended.life.isDead = true
        ended.job.cancel()
        test.runCurrent()
        ended.life.sql?.close()
        server.openSockets.toList().forEach { it.end(null) }
        stepsToKill = Long.MAX_VALUE
    }

    /** Kills and starts; [reboot]: with another boot. */
    fun restart(reboot: Boolean = false) {
        kill()
        if (reboot) {
            clock.reboot()
            bootId = "boot-${bootId.removePrefix("boot-").toInt() + 1}"
        }
        start()
    }

    /** Starts and enrolls, until the first heartbeat is acknowledged. */
    fun startEnrolled() {
        start()
        enroll()
        run(2_000)
        check(server.heartbeats.isNotEmpty()) { "no heartbeat: ${log.entries.takeLast(20)}" }
    }

    fun enroll(serverUrl: String = "https://a.example,https://b.example", token: String? = "enroll-1"): EnrollmentAnswer? {
        var answer: EnrollmentAnswer? = null
        test.backgroundScope.launch { answer = agent.enroll(EnrollmentRequest(serverUrl, token, "kiosk-1")) }
        test.runCurrent()
        return answer
    }

    /** Lets virtual time pass. */
    fun run(ms: Long) {
        test.advanceTimeBy(ms)
        test.runCurrent()
    }

    /** Items in the queue on disk, by kind. */
    fun queued(): Map<String, Int> = JdbcSqlOpener(databaseFile).open().use { sql ->
        sql.query("SELECT kind, count(*) FROM outbox GROUP BY kind") { it.text(0).orEmpty() to it.long(1).toInt() }.toMap()
    }

    /** Bytes of the bodies in the queue on disk. */
    fun queuedBytes(): Long = JdbcSqlOpener(databaseFile).open().use { sql ->
        sql.query("SELECT coalesce(sum(body_bytes), 0) FROM outbox") { it.long(0) }.first()
    }

    /** One life of the process. */
    private inner class Life {
        var isDead = false
        var sql: Sql? = null

        /** Before an effect. */
        fun step() {
            if (!isDead && --stepsToKill < 0) isDead = true
            if (isDead) throw Killed()
        }
    }

    private fun ports(life: Life) = Ports(
        clock = clock,
        randomness = randomness,
        sqlOpener = MortalSql(life),
        secrets = object : SecretStore {
            override fun read(): String? = secrets.read()

            override fun write(document: String) {
                life.step()
                if (storageFails("secrets")) throw IOException("no space left")
                secrets.write(document)
            }

            override fun clear(): Unit = secrets.clear()
        },
        log = object : EventLog {
            override fun log(level: Level, event: String, fields: Map<String, Any?>) {
                life.step()
                log.log(level, event, fields)
            }
        },
        http = MortalHttp(life),
        monitor = object : DeviceMonitor {
            override val network = this@AgentRig.network
            override val power = this@AgentRig.power
        },
        facts = object : DeviceFacts {
            override suspend fun read(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings = DeviceReadings(
                agentVersionName = "1.0", agentVersionCode = 10, bootId = bootId, hardwareId = "HW-1", model = "Test",
                batteryPct = power.value.batteryPct, transport = network.value.transport, uptimeSeconds = clock.monotonicMs() / 1_000,
            )

            override fun bootId(): String = this@AgentRig.bootId

            override fun agentVersionCode(): Long = 10

            override fun agentPackage(): String = "com.nexmdm"
        },
        actions = object : Actions {
            override suspend fun perform(action: PlatformAction): ActionOutcome {
                life.step()
                performed.merge(action, 1, Int::plus)
                delay(1 + randomness.below(800))
                life.step()
                return ActionOutcome.SUCCESS
            }
        },
        installer = NoInstaller,
        downloads = object : DownloadFolder {
            override val folder: File = downloadFolder

            override fun freeBytes(): Long = 1L shl 30
        },
        push = pushes,
        wakeUps = object : WakeUps {
            override fun schedule(delayMs: Long) {
                wakeUpCount++
            }
        },
    )

    /** A source of push messages. */
    val pushes = Pushes()

    /** Push messages of the test's making. */
    class Pushes : PushSource {
        var listener: PushListener? = null
            private set

        override fun start(listener: PushListener) {
            this.listener = listener
        }

        override fun stop() {
            listener = null
        }
    }

    private inner class MortalHttp(private val life: Life) : Http by server {
        override suspend fun call(request: HttpRequest): HttpAnswer {
            life.step()
            offline()
            return server.call(request).also { life.step() }
        }

        override suspend fun openSocket(
            url: String,
            bearer: String,
            listener: SocketListener,
        ): Socket {
            life.step()
            offline()
            val socket = server.openSocket(url, bearer, listener)
            return object : Socket by socket {
                override fun send(text: String): Boolean {
                    life.step()
                    return socket.send(text)
                }
            }
        }

        private fun offline() {
            if (network.value.transport == Transport.NONE) {
                throw NetworkException(NetworkFailure.CONNECT, "offline")
            }
        }
    }

    private inner class MortalSql(private val life: Life) : SqlOpener {
        private val opener = JdbcSqlOpener(databaseFile)

        override fun open(): Sql {
            life.step()
            val sql = opener.open()
            life.sql = sql
            return object : Sql by sql {
                override fun execute(statement: String, vararg arguments: Any?): Int {
                    before(statement)
                    return sql.execute(statement, *arguments)
                }

                override fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> =
                    sql.query(statement, *arguments, map = map)

                override fun <T> transaction(block: () -> T): T = sql.transaction {
                    block().also { before("COMMIT") }
                }

                private fun before(statement: String) {
                    life.step()
                    if (storageFails(statement)) throw SqlException("database or disk is full", null)
                }
            }
        }

        override fun discard(): Unit = opener.discard()
    }

    /** Installs nothing. */
    object NoInstaller : AppInstaller {
        override suspend fun installed(packageName: String): InstalledApp? = null

        override suspend fun inspect(apk: File): ApkFacts? = null

        override suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict =
            InstallVerdict.Failed("not_permitted", null)

        override suspend fun isUndecided(packageName: String): Boolean = false

        override suspend fun abandonStale(packageName: String) = Unit
    }
}
