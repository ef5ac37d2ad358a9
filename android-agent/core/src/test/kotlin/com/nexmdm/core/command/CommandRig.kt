package com.nexmdm.core.command

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.Vault
import com.nexmdm.core.install.InstallationCommands
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.AppInstaller
import com.nexmdm.core.port.ConnectionPolicy
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.DownloadFolder
import com.nexmdm.core.port.DownloadHead
import com.nexmdm.core.port.DownloadRequest
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.Observer
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.SecretStore
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import com.nexmdm.core.port.SqlOpener
import com.nexmdm.core.port.Transport
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.SqlOutbox
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.store.DatabaseTime
import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.RecordingLog
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.testing.TestRandomness
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.ActionResult
import com.nexmdm.core.wire.Command
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.CoroutineExceptionHandler
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.Job
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.test.StandardTestDispatcher
import kotlinx.coroutines.test.TestCoroutineScheduler
import java.io.File
import java.io.OutputStream

/** A process of the agent, as far as commands go, on storage that outlives it. */
@OptIn(ExperimentalCoroutinesApi::class)
internal class CommandRig(
    opener: SqlOpener,
    val secrets: SecretStore = MemorySecretStore(),
    val scheduler: TestCoroutineScheduler = TestCoroutineScheduler(),
    val clock: TestClock = TestClock(scheduler = scheduler),
    val bootId: () -> String = { "boot-1" },
    observer: Observer = Observer.None,
    limits: CommandLimits = CommandLimits(),
    builtAtMs: Long = TestClock.START_MS - 86_400_000,
    val perform: suspend (PlatformAction) -> ActionOutcome = { ActionOutcome.SUCCESS },
) {
    val log = RecordingLog()

    /** What the platform was asked for, in order. */
    val performed = mutableListOf<PlatformAction>()

    /** Heartbeats that were asked for. */
    val reports = mutableListOf<String?>()

    /** What ended a coroutine that should not have. */
    val crashes = mutableListOf<Throwable>()
    val installations = FakeInstallations()
    val database = AgentDatabase(opener, log)
    val time = TrustedTime(clock, bootId(), DatabaseTime(database, log), builtAtMs)
    val vault = Vault(secrets, log)
    val outbox = SqlOutbox(database, clock, time, log)
    private val scope = CoroutineScope(
        StandardTestDispatcher(scheduler) + Job() + CoroutineExceptionHandler { _, e -> crashes += e },
    )
    private val actions = object : Actions {
        override suspend fun perform(action: PlatformAction): ActionOutcome {
            performed += action
            return this@CommandRig.perform(action)
        }
    }
    private val control = object : AgentControl {
        override fun reportNow(pingRequestId: String?) {
            reports += pingRequestId
        }

        override fun deliverNow() = Unit
    }
    private val ports = Ports(
        clock, TestRandomness(1), opener, secrets, log, Unused, Unused, Facts(bootId), actions, Unused, Unused, observer = observer,
    )
    val processor = CommandProcessor(ports, database, outbox, vault, time, { installations }, control, scope, limits)

    /** Enrolls the device, and has the server tell its time. */
    fun enroll(): CommandRig = apply {
        vault.update { it.copy(identity = Identity(DEVICE_ID, "token", KEY, servers = listOf("https://a"))) }
        learn()
    }

    /** Has the server tell its time, which is that of the wall clock. */
    fun learn(serverMs: Long = clock.wallMs()) = time.learn(serverMs, clock.monotonicMs(), clock.monotonicMs())

    fun receive(command: Command): Verdict = processor.receive(command, "socket", EXCHANGE)

    /** Runs what can run now. */
    fun settle() = scheduler.runCurrent()

    fun advance(byMs: Long) {
        scheduler.advanceTimeBy(byMs)
        scheduler.runCurrent()
    }

    /** Results that wait, by command. */
    fun results(): Map<String, ActionResult> = outbox.oldest(setOf(ItemKind.RESULT), 1_000)
        .associate { it.subject to WireJson.decodeFromString(ActionResult.serializer(), it.body) }

    /** Outcome and code of the waiting result of a command. */
    fun outcome(command: Command): String? = results()[command.requestId]?.let { it.outcome + (it.code?.let { code -> "/$code" } ?: "") }

    /** Acknowledges every waiting result. */
    fun acknowledge(status: Int = 200) =
        outbox.oldest(setOf(ItemKind.RESULT), 1_000).forEach { processor.resultAnswered(it, status) }

    /** Ends the process. */
    fun stop() {
        scope.cancel()
        scheduler.runCurrent()
        database.close()
    }

    /** Installations that take over everything. */
    class FakeInstallations : InstallationCommands {
        val taken = mutableListOf<Command?>()
        val owned = mutableSetOf<String>()
        var onTake: (Command?) -> Unit = {}

        override fun deploy(command: Command) = lookForUpdate(command)

        override fun lookForUpdate(command: Command?) {
            onTake(command)
            taken += command
            if (command != null) owned += command.requestId
        }

        override fun owns(requestId: String): Boolean = requestId in owned
    }

    companion object {
        const val DEVICE_ID = "0191a3c8-5f10-7c3e-9a51-2f6d8b7c4e01"
        const val KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        const val OTHER_KEY = "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
        val EXCHANGE = Exchange("https://a", 0, 0)

        /** Number [n] of the server's commands, signed, made at [madeAtMs]. */
        fun command(
            n: Int,
            action: String = "wake",
            params: String = "{}",
            key: String = KEY,
            madeAtMs: Long = TestClock.START_MS,
            lifeMs: Long = 3_600_000,
        ): Command {
            val hex = "%012x".format(madeAtMs)
            val unsigned = Command(
                requestId = "${hex.take(8)}-${hex.drop(8)}-7000-8000-%012x".format(n), deviceId = DEVICE_ID, action = action,
                ts = Rfc3339.format(madeAtMs), expiresAt = Rfc3339.format(madeAtMs + lifeMs), params = params, v = "1",
            )
            return unsigned.signedWith(key)
        }

        fun Command.signedWith(key: String): Command =
            copy(signature = Signature.sign(checkNotNull(DeviceKey.fromHex(key)), this).orEmpty())
    }
}

private class Facts(private val boot: () -> String) : DeviceFacts {
    override suspend fun read(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings = DeviceReadings("1", 1, boot())

    override fun bootId(): String = boot()

    override fun agentVersionCode(): Long = 1

    override fun agentPackage(): String = "com.nexmdm"
}

/** Ports that commands do not use. */
private object Unused : Http, DeviceMonitor, AppInstaller, DownloadFolder {
    override suspend fun call(request: HttpRequest): HttpAnswer = error("unused")

    override suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead = error("unused")

    override suspend fun openSocket(url: String, bearer: String, listener: SocketListener): Socket = error("unused")

    override fun apply(policy: ConnectionPolicy) = Unit

    override val network = MutableStateFlow(NetworkState(Transport.WIFI, validated = true, metered = false))
    override val power = MutableStateFlow(PowerState(100, charging = true))

    override suspend fun installed(packageName: String): InstalledApp? = null

    override suspend fun inspect(apk: File): ApkFacts? = null

    override suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict = error("unused")

    override suspend fun isUndecided(packageName: String): Boolean = false

    override suspend fun abandonStale(packageName: String) = Unit

    override val folder: File get() = error("unused")

    override fun freeBytes(): Long = 0
}
