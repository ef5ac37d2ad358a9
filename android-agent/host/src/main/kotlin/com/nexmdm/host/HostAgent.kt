package com.nexmdm.host

import com.nexmdm.core.agent.Agent
import com.nexmdm.core.agent.AgentPhase
import com.nexmdm.core.agent.AgentSettings
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.core.link.okhttp.OkHttpNetwork
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Observer
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.info
import com.nexmdm.host.device.Boot
import com.nexmdm.host.device.HostClock
import com.nexmdm.host.device.HostRandomness
import com.nexmdm.host.device.ProfileFile
import com.nexmdm.host.device.SimulatedDevice
import com.nexmdm.host.platform.InstallSessions
import com.nexmdm.host.platform.InstalledApps
import com.nexmdm.host.platform.SimulatedActions
import com.nexmdm.host.platform.SimulatedInstaller
import com.nexmdm.host.push.PushListenerSocket
import com.nexmdm.host.record.RecordObserver
import com.nexmdm.host.storage.FileSecretStore
import com.nexmdm.host.storage.JdbcSqlOpener
import com.nexmdm.host.storage.KeyHistory
import com.nexmdm.host.storage.SimulatedDownloads
import com.nexmdm.host.storage.SqliteLibrary
import com.nexmdm.host.storage.StateFolder
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancel
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.mapNotNull
import kotlinx.coroutines.selects.select
import kotlinx.coroutines.withTimeoutOrNull

/** The agent with a simulated device under it, wired together. */
internal class HostAgent(private val options: CommandLine, private val log: EventLog, end: ProcessEnd) : AutoCloseable {
    private val folder = StateFolder(options.stateFolder).also { it.open() }
    private val profile = ProfileFile(options.deviceProfile, log)
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.IO)
    private val boot = Boot(folder.platform)
    private val clock = HostClock(boot) { profile.current.clockOffsetMs }
    private val apps = InstalledApps(folder.platform).also { it.seed(profile.current) }

    // Before the device is looked at: an installation may have come to its end while no process ran.
    private val installer =
        SimulatedInstaller(apps, InstallSessions(folder.platform), profile::refresh, scope, end, log).also { it.start() }
    private val device = SimulatedDevice(profile, boot, apps, folder.platform).also { it.start() }
    private val pushSocket = options.pushPort?.let { PushListenerSocket(it, "sim-${options.alias ?: device.hardwareId}", log) }
    private val agent =
        Agent(
            Ports(
                clock = clock,
                randomness = HostRandomness,
                sqlOpener = JdbcSqlOpener(folder.database).also { SqliteLibrary.unpack(folder.libraries) },
                secrets = FileSecretStore(folder.identity, KeyHistory(folder.keyHistory)),
                log = log,
                http = OkHttpNetwork(),
                monitor = device,
                facts = device,
                actions = SimulatedActions(folder.platform, apps, boot, end, log),
                installer = installer,
                downloads = SimulatedDownloads(folder.downloads) { profile.current.storageFreeMb },
                push = pushSocket ?: PushSource.None,
                observer = observer(),
            ),
            AgentSettings(heartbeatIntervalMs = options.intervalMs),
        )

    /** Runs the agent until its life is over or [stop] completes; the exit status. */
    suspend fun run(stop: Deferred<Unit>): Int {
        enroll()
        return coroutineScope {
            val running = async { agent.run() }
            val over = async { agent.status.mapNotNull { statusOf(it.phase) }.first() }
            val status =
                select {
                    running.onAwait { ExitStatus.CRASHED }
                    over.onAwait { it }
                    stop.onAwait { ExitStatus.STOPPED }
                }
            over.cancel()
            withTimeoutOrNull(STOP_TIMEOUT_MS) { running.cancelAndJoin() }
            status
        }
    }

    override fun close() {
        scope.cancel()
        pushSocket?.close()
        profile.close()
        folder.close()
    }

    /** Hands the token over; an agent that is enrolled with this server leaves it unused. */
    private suspend fun enroll() {
        val answer = agent.enroll(EnrollmentRequest(options.servers.joinToString(","), options.token, options.alias))
        log.info("enroll", "code" to answer.code, "message" to answer.message)
        val isFit = answer.code == EnrollmentAnswer.ACCEPTED || answer.code == EnrollmentAnswer.ENROLLED_HERE
        if (!isFit) throw UsageException(answer.message)
    }

    private fun statusOf(phase: AgentPhase): Int? =
        when (phase) {
            AgentPhase.REGISTRATION_REFUSED -> ExitStatus.REGISTRATION_REFUSED
            AgentPhase.IDENTITY_FORGOTTEN -> ExitStatus.IDENTITY_FORGOTTEN
            AgentPhase.UNENROLLED, AgentPhase.REGISTERING, AgentPhase.ENROLLED -> null
        }

    private fun observer(): Observer =
        options.record?.let { RecordObserver(it, { agent.status.value.deviceId }, { profile.current.clockOffsetMs }, log) } ?: Observer.None

    private companion object {
        const val STOP_TIMEOUT_MS = 1_500L
    }
}
