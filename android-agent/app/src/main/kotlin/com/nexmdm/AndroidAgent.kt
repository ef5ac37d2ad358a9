package com.nexmdm

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.Build
import android.os.PowerManager
import com.nexmdm.action.AndroidActions
import com.nexmdm.action.AppControl
import com.nexmdm.action.Ringer
import com.nexmdm.core.agent.Agent
import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.core.link.okhttp.OkHttpNetwork
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.install.AndroidInstaller
import com.nexmdm.platform.AlarmWakeUps
import com.nexmdm.platform.AndroidDownloads
import com.nexmdm.platform.AndroidFacts
import com.nexmdm.platform.AndroidMonitor
import com.nexmdm.platform.AndroidSqlOpener
import com.nexmdm.platform.AwakeActions
import com.nexmdm.platform.AwakeHttp
import com.nexmdm.platform.AwakeInstaller
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.KeystoreKeySource
import com.nexmdm.platform.KeystoreSecretStore
import com.nexmdm.platform.Notices
import com.nexmdm.platform.RingFileLog
import com.nexmdm.platform.SecretKeySource
import com.nexmdm.platform.SystemClock
import com.nexmdm.platform.SystemRandomness
import com.nexmdm.platform.WakeLocks
import com.nexmdm.platform.deviceProtected
import com.nexmdm.platform.service
import com.nexmdm.push.PushSources
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.launch
import java.io.File
import java.io.IOException
import java.io.OutputStream
import java.util.concurrent.atomic.AtomicBoolean

/** The core's agent on Android's ports. */
internal class AndroidAgent(
    private val context: Context,
    keys: SecretKeySource = KeystoreKeySource(),
    http: Http = OkHttpNetwork(),
    private val scope: CoroutineScope = CoroutineScope(SupervisorJob() + Dispatchers.Default),
) : AgentHandle {
    private val storage = context.deviceProtected()
    private val log = RingFileLog(File(storage.filesDir, "log"))
    private val owner = DeviceOwner(context, log)
    private val monitor = AndroidMonitor(context, log)
    private val facts = AndroidFacts(context, owner)
    private val managedConfiguration = ManagedConfiguration(context)
    private val started = AtomicBoolean()

    // Keeps the processor on while something that woke the device is dealt with; has a limit, so that no bug drains the battery.
    private val wakeLock = context.service<PowerManager>().newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "nexmdm:agent")
        .apply { setReferenceCounted(false) }
    private val wakeLocks = WakeLocks(context)
    private val agent = Agent(
        Ports(
            clock = SystemClock,
            randomness = SystemRandomness,
            sqlOpener = AndroidSqlOpener(context),
            secrets = KeystoreSecretStore(File(storage.noBackupFilesDir, "identity"), keys, log),
            log = log,
            http = AwakeHttp(http, wakeLocks),
            monitor = monitor,
            facts = facts,
            actions = AwakeActions(AndroidActions(context, owner, Ringer(context, Notices(context))), wakeLocks),
            installer = AwakeInstaller(AndroidInstaller(context, owner, log), wakeLocks),
            downloads = AndroidDownloads(context),
            push = PushSources.of(context, log),
            wakeUps = AlarmWakeUps(context, AlarmReceiver.target(context)),
        ),
    )

    override val status: StateFlow<AgentStatus> = agent.status
    override val versionName: String get() = facts.agentVersionName()

    override fun start() {
        if (!started.compareAndSet(false, true)) return
        log.info("process.start", "sdk" to Build.VERSION.SDK_INT, "version" to versionName, "version_code" to facts.agentVersionCode())
        monitor.start()
        val reconfigured = object : BroadcastReceiver() {
            override fun onReceive(context: Context, intent: Intent) = prepare()
        }
        context.registerReceiver(reconfigured, IntentFilter(Intent.ACTION_APPLICATION_RESTRICTIONS_CHANGED))
        scope.launch { keepRunning() }
        prepare()
    }

    // A fault that the core does not deal with must neither end the process nor leave it without an agent.
    private suspend fun keepRunning(): Nothing {
        while (true) {
            try {
                agent.run()
            } catch (e: Exception) {
                currentCoroutineContext().ensureActive()
                log.log(Level.ERROR, "agent.died", mapOf("error" to e.javaClass.simpleName))
            }
            delay(RESTART_DELAY_MS)
        }
    }

    override suspend fun enroll(request: EnrollmentRequest): EnrollmentAnswer = try {
        agent.enroll(request)
    } catch (e: IOException) {
        log.warn("enroll.failed", "error" to e.javaClass.simpleName)
        EnrollmentAnswer(EnrollmentAnswer.REFUSED, "The device's Keystore does not answer: try again.")
    }

    override fun wake(reason: String) {
        wakeLock.acquire(WAKE_LOCK_MS)
        agent.wake(reason)
    }

    override fun syncNow() {
        wakeLock.acquire(WAKE_LOCK_MS)
        agent.syncNow()
    }

    override fun prepare() {
        scope.launch {
            attempt("grants") { owner.grantItself() }
            attempt("hidden_apps") { AppControl(context, owner).unhideLeftovers() }
            attempt("managed_configuration") { enrollAsConfigured() }
        }
    }

    private suspend fun enrollAsConfigured() {
        val configured = managedConfiguration.read() ?: return
        // Configuration stays for ever: once enrolled, the answer is that nothing has to be done.
        val answer = enroll(configured)
        if (answer.code == EnrollmentAnswer.REFUSED) {
            log.warn("enroll.refused", "source" to "managed_configuration", "reason" to answer.message)
        }
    }

    private inline fun attempt(what: String, block: () -> Unit) = try {
        block()
    } catch (e: CancellationException) {
        throw e
    } catch (e: RuntimeException) {
        log.warn("prepare.failed", "what" to what, "error" to e.javaClass.simpleName)
    }

    override fun exportLog(to: OutputStream) = log.export(to)

    private companion object {
        const val WAKE_LOCK_MS = 30_000L
        const val RESTART_DELAY_MS = 30_000L
    }
}
