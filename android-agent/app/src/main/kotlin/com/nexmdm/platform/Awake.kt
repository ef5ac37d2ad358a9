package com.nexmdm.platform

import android.content.Context
import android.os.PowerManager
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.AppInstaller
import com.nexmdm.core.port.DownloadHead
import com.nexmdm.core.port.DownloadRequest
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.PlatformAction
import java.io.File
import java.io.OutputStream

/** Partial wake locks, one for each piece of work: without one the processor may sleep in the middle of it. */
internal class WakeLocks(context: Context) {
    private val power = context.service<PowerManager>()

    /** Keeps the processor on during [work], at most for [limitMs], so that work that hangs does not drain the battery. */
    suspend fun <T> hold(limitMs: Long, work: suspend () -> T): T {
        val lock = power.newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "nexmdm:work").apply { setReferenceCounted(false) }
        lock.acquire(limitMs)
        try {
            return work()
        } finally {
            lock.release()
        }
    }
}

/** The network, with the processor kept on during calls and downloads. An open socket lets it sleep. */
internal class AwakeHttp(private val http: Http, private val wakeLocks: WakeLocks) : Http by http {
    override suspend fun call(request: HttpRequest): HttpAnswer = wakeLocks.hold(CALL_MAX_MS) { http.call(request) }

    override suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead =
        wakeLocks.hold(DOWNLOAD_MAX_MS) { http.download(request, onHead) }

    private companion object {
        // A call's deadline is 20 s.
        const val CALL_MAX_MS = 25_000L
        const val DOWNLOAD_MAX_MS = 600_000L
    }
}

/** Actions, with the processor kept on while one is performed. */
internal class AwakeActions(private val actions: Actions, private val wakeLocks: WakeLocks) : Actions {
    override suspend fun perform(action: PlatformAction): ActionOutcome = wakeLocks.hold(ACTION_MAX_MS) { actions.perform(action) }

    private companion object {
        // The longest ring takes 300 s.
        const val ACTION_MAX_MS = 330_000L
    }
}

/** The installer, with the processor kept on during an installation. */
internal class AwakeInstaller(private val installer: AppInstaller, private val wakeLocks: WakeLocks) : AppInstaller by installer {
    override suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict =
        wakeLocks.hold(INSTALL_MAX_MS) { installer.install(apk, packageName, sizeBytes) }

    private companion object {
        const val INSTALL_MAX_MS = 660_000L
    }
}
