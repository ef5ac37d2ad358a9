package com.nexmdm.install

import android.app.PendingIntent
import android.content.Context
import android.content.Intent
import android.content.pm.PackageInstaller
import android.content.pm.PackageManager
import android.os.Build
import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.AppInstaller
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.GuardedBySdk
import com.nexmdm.platform.code
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runInterruptible
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import java.io.File
import java.io.IOException

/**
 * Installs by sessions of the system's `PackageInstaller`. Silent for a device owner, and from Android 12 on for updates of what the
 * agent itself installed; else the system wants a person to confirm: that is prompted for by a notification and reported as
 * `not_permitted` at once.
 */
internal class AndroidInstaller(
    private val context: Context,
    private val owner: DeviceOwner,
    private val log: EventLog,
    private val verdictTimeoutMs: Long = 10 * 60_000,
    private val dispatcher: CoroutineDispatcher = Dispatchers.IO,
) : AppInstaller {
    private val packages = context.packageManager
    private val sessions get() = packages.packageInstaller
    private val committed = CommittedSessions(context)

    override suspend fun installed(packageName: String): InstalledApp? = withContext(dispatcher) {
        try {
            val info = packages.getPackageInfo(packageName, Signers.FLAGS)
            InstalledApp(info.code(), info.versionName, Signers.of(info)?.lineage.orEmpty())
        } catch (_: PackageManager.NameNotFoundException) {
            null
        }
    }

    override suspend fun inspect(apk: File): ApkFacts? = withContext(dispatcher) {
        val info = packages.getPackageArchiveInfo(apk.path, Signers.FLAGS) ?: return@withContext null
        val signers = Signers.of(info)
        ApkFacts(
            packageName = info.packageName,
            versionCode = info.code(),
            minSdk = info.applicationInfo?.minSdkVersion ?: 1,
            signerSha256 = signers?.current.orEmpty(),
            lineageSha256 = signers?.lineage.orEmpty(),
        )
    }

    override suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict {
        if (!owner.isOwner && !packages.canRequestPackageInstalls()) {
            return InstallVerdict.Failed("not_permitted", "the agent may not install apps: it is not device owner and nobody allowed it")
        }
        val session = try {
            withContext(dispatcher) { runInterruptible { write(apk, packageName, sizeBytes) } }
        } catch (e: IOException) {
            val lowStorage = e.message.orEmpty().let { "ENOSPC" in it || "space" in it || "allocate" in it }
            return InstallVerdict.Failed(if (lowStorage) "low_storage" else "install_failed", e.message?.take(MESSAGE_MAX_CHARS))
        } catch (e: SecurityException) {
            return InstallVerdict.Failed("not_permitted", e.message?.take(MESSAGE_MAX_CHARS))
        }
        val verdict = InstallVerdicts.expect(session)
        try {
            try {
                withContext(dispatcher) { commit(session) }
            } catch (e: IOException) {
                return InstallVerdict.Failed("low_storage", e.message)
            } catch (e: SecurityException) {
                return InstallVerdict.Failed("not_permitted", e.message?.take(MESSAGE_MAX_CHARS))
            }
            return withTimeoutOrNull(verdictTimeoutMs) { verdict.await() }
                ?: InstallVerdict.Failed("timeout", "Android did not decide within ${verdictTimeoutMs / 60_000} min")
        } finally {
            InstallVerdicts.forget(session)
        }
    }

    override suspend fun isUndecided(packageName: String): Boolean = withContext(dispatcher) {
        val mine = sessions.mySessions
        committed.retain(mine.mapTo(mutableSetOf()) { it.getSessionId() })
        mine.any { it.getAppPackageName() == packageName && committed.contains(it.getSessionId()) }
    }

    override suspend fun abandonStale(packageName: String) = withContext(dispatcher) {
        for (session in sessions.mySessions) {
            // By its getters: the fields of the same names are hidden from apps.
            val id = session.getSessionId()
            if (session.getAppPackageName() == packageName && !committed.contains(id)) abandon(id)
        }
    }

    /** Writes the file into a new session; the session's id. */
    private fun write(apk: File, packageName: String, sizeBytes: Long): Int {
        val id = sessions.createSession(parameters(packageName, sizeBytes))
        try {
            sessions.openSession(id).use { stream(apk, it, sizeBytes) }
        } catch (e: IOException) {
            abandon(id)
            throw e
        } catch (e: RuntimeException) {
            abandon(id)
            throw e
        }
        log.info("install.session", "package" to packageName, "session" to id, "bytes" to sizeBytes)
        return id
    }

    private fun stream(apk: File, session: PackageInstaller.Session, sizeBytes: Long) =
        session.openWrite("base.apk", 0, sizeBytes).use { out ->
            apk.inputStream().use { it.copyTo(out, BUFFER_BYTES) }
            session.fsync(out)
        }

    private fun parameters(packageName: String, sizeBytes: Long) =
        PackageInstaller.SessionParams(PackageInstaller.SessionParams.MODE_FULL_INSTALL).apply {
            setAppPackageName(packageName)
            setSize(sizeBytes)
            setInstallReason(PackageManager.INSTALL_REASON_POLICY)
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) withoutUserAction(this)
        }

    @GuardedBySdk
    private fun withoutUserAction(parameters: PackageInstaller.SessionParams) =
        parameters.setRequireUserAction(PackageInstaller.SessionParams.USER_ACTION_NOT_REQUIRED)

    private fun commit(id: Int) {
        if (!committed.add(id)) throw IOException("nothing can be written")
        try {
            sessions.openSession(id).use { it.commit(callback(id).intentSender) }
        } catch (e: RuntimeException) {
            committed.forget(id)
            abandon(id)
            throw e
        }
    }

    /** The system writes its verdict into the intent: from Android 12 on it has to be said that it may. */
    private fun callback(id: Int): PendingIntent {
        val mutable = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) FLAG_MUTABLE else 0
        val intent = Intent(context, InstallResultReceiver::class.java)
        return PendingIntent.getBroadcast(context, id, intent, PendingIntent.FLAG_UPDATE_CURRENT or mutable)
    }

    private fun abandon(id: Int) = try {
        sessions.abandonSession(id)
    } catch (e: SecurityException) {
        // It is gone by itself.
        log.warn("install.abandon", "session" to id, "error" to e.message)
    }

    private companion object {
        const val BUFFER_BYTES = 128 shl 10
        const val MESSAGE_MAX_CHARS = 500

        /** `PendingIntent.FLAG_MUTABLE`, API 31. */
        const val FLAG_MUTABLE = 1 shl 25
    }
}
