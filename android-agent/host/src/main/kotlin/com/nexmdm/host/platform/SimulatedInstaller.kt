package com.nexmdm.host.platform

import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.AppInstaller
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.info
import com.nexmdm.host.ExitStatus
import com.nexmdm.host.ProcessEnd
import com.nexmdm.host.device.AppProfile
import com.nexmdm.host.device.DeviceProfile
import com.nexmdm.host.device.SimulatedDevice
import com.nexmdm.host.device.VerdictProfile
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.File
import java.io.IOException
import java.util.concurrent.ConcurrentHashMap

/**
 * The package installer of the simulated device. It decides by the file itself, as Android does, unless the profile has another
 * verdict. A session that was committed is decided when it is due, whether or not the process that committed it still runs; when
 * the agent itself is replaced, its process ends.
 */
internal class SimulatedInstaller(
    private val apps: InstalledApps,
    private val sessions: InstallSessions,
    private val profile: () -> DeviceProfile,
    private val scope: CoroutineScope,
    private val end: ProcessEnd,
    private val log: EventLog,
    private val nowMs: () -> Long = System::currentTimeMillis,
) : AppInstaller {
    private val verdicts = ConcurrentHashMap<String, CompletableDeferred<InstallVerdict>>()

    /** Decides what became due while no process ran, and waits for the rest; before anything reads which apps are installed. */
    fun start() {
        for (session in sessions.undecided()) {
            // This process is the one that runs after an update: there is none to end.
            if (session.isDue()) decide(session) else await(session)
        }
    }

    override suspend fun installed(packageName: String): InstalledApp? =
        apps.find(packageName)?.let { InstalledApp(it.versionCode, it.versionName, it.signers.orEmpty()) }

    override suspend fun inspect(apk: File): ApkFacts? =
        withContext(Dispatchers.IO) { ApkReader.read(apk, profile().sdkInt)?.facts?.also(::adoptSigners) }

    override suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict {
        val session =
            try {
                withContext(Dispatchers.IO) { commit(apk, packageName, sizeBytes) }
            } catch (e: IOException) {
                return InstallVerdict.Failed(INSTALL_FAILED, "the session could not be written: ${e.message}")
            }
        return await(session).await()
    }

    override suspend fun isUndecided(packageName: String): Boolean = verdicts[packageName]?.isCompleted == false

    override suspend fun abandonStale(packageName: String) = sessions.abandonStaged(packageName)

    /** An installed app whose signers the profile leaves open is taken for signed by the first file of it that is looked at. */
    private fun adoptSigners(apk: ApkFacts) {
        val app = apps.find(apk.packageName) ?: return
        if (app.signers == null && apk.signerSha256.isNotEmpty()) apps.put(apk.packageName, app.copy(signers = apk.lineageSha256))
    }

    private fun commit(apk: File, packageName: String, sizeBytes: Long): CommittedSession {
        val staged = sessions.stage(packageName, apk)
        val now = profile()
        val details = ApkReader.read(staged, now.sdkInt)
        val objection = if (staged.length() == sizeBytes) objection(details?.facts, packageName, now) else "it is not as long as was said"
        val app = AppProfile(details?.facts?.versionCode ?: 0, details?.versionName, details?.facts?.lineageSha256)
        val isRefused = now.install.verdict == VerdictProfile.INSTALLED && objection != null
        val verdict = if (isRefused) VerdictProfile.INSTALL_FAILED else now.install.verdict
        val session = CommittedSession(packageName, app, verdict, objection, nowMs() + now.install.ms)
        sessions.commit(session)
        return session
    }

    /** Why Android would not install it, by the name of its status; null when it would. */
    private fun objection(apk: ApkFacts?, packageName: String, now: DeviceProfile): String? {
        val present = apps.find(packageName)
        return when {
            apk == null -> "INSTALL_PARSE_FAILED_NOT_APK"
            apk.packageName != packageName -> "INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME"
            apk.signerSha256.isEmpty() -> "INSTALL_PARSE_FAILED_NO_CERTIFICATES"
            apk.minSdk > now.sdkInt -> "INSTALL_FAILED_OLDER_SDK"
            present == null -> null
            apk.versionCode < present.versionCode -> "INSTALL_FAILED_VERSION_DOWNGRADE"
            present.signers != null && apk.lineageSha256.none { it in present.signers } -> "INSTALL_FAILED_UPDATE_INCOMPATIBLE"
            else -> null
        }
    }

    private fun await(session: CommittedSession): Deferred<InstallVerdict> {
        val verdict = CompletableDeferred<InstallVerdict>()
        verdicts[session.packageName] = verdict
        if (session.verdict != VerdictProfile.HANG) {
            scope.launch {
                delay(session.dueAtMs - nowMs())
                val decided = decide(session)
                if (session.packageName == SimulatedDevice.AGENT_PACKAGE && decided == InstallVerdict.Installed) {
                    log.info("platform.restart", "reason" to "update", "version_code" to session.app.versionCode)
                    end.now(ExitStatus.RESTART)
                }
                verdict.complete(decided)
            }
        }
        return verdict
    }

    private fun decide(session: CommittedSession): InstallVerdict {
        val isInstalled = session.verdict == VerdictProfile.INSTALLED
        // The app first: a kill in between decides the same once more.
        if (isInstalled) apps.put(session.packageName, session.app)
        sessions.remove(session.packageName)
        return when (session.verdict) {
            VerdictProfile.INSTALLED -> InstallVerdict.Installed
            VerdictProfile.NOT_PERMITTED -> InstallVerdict.Failed("not_permitted", "STATUS_PENDING_USER_ACTION")
            else -> InstallVerdict.Failed(INSTALL_FAILED, session.message ?: "STATUS_FAILURE")
        }
    }

    private fun CommittedSession.isDue(): Boolean = verdict != VerdictProfile.HANG && dueAtMs <= nowMs()

    private companion object {
        const val INSTALL_FAILED = "install_failed"
    }
}
