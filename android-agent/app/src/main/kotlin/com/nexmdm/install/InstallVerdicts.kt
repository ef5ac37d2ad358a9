package com.nexmdm.install

import android.content.pm.PackageInstaller
import com.nexmdm.core.port.InstallVerdict
import kotlinx.coroutines.CompletableDeferred
import java.util.concurrent.ConcurrentHashMap

/** Sessions whose verdict a coroutine of this process waits for. */
internal object InstallVerdicts {
    private val waiting = ConcurrentHashMap<Int, CompletableDeferred<InstallVerdict>>()

    /** Announces that the verdict of a session will be waited for. */
    fun expect(sessionId: Int): CompletableDeferred<InstallVerdict> =
        CompletableDeferred<InstallVerdict>().also { waiting[sessionId] = it }

    /** Hands a verdict over; false when nobody waits, as after the end of the process that asked. */
    fun decide(sessionId: Int, verdict: InstallVerdict): Boolean = waiting.remove(sessionId)?.complete(verdict) ?: false

    /** Nobody waits any more. */
    fun forget(sessionId: Int) {
        waiting.remove(sessionId)
    }

    /** A final status of `PackageInstaller` with its message as codes of the deployment API. */
    fun of(status: Int, message: String?): InstallVerdict {
        val text = message.orEmpty()
        val code = when {
            status == PackageInstaller.STATUS_SUCCESS -> return InstallVerdict.Installed
            "INSTALL_FAILED_VERSION_DOWNGRADE" in text -> "downgrade_refused"
            // Another key than that of the installed app.
            "INSTALL_FAILED_UPDATE_INCOMPATIBLE" in text || "signatures do not match" in text -> "signer_mismatch"
            "INSUFFICIENT_STORAGE" in text || status == PackageInstaller.STATUS_FAILURE_STORAGE -> "low_storage"
            status == PackageInstaller.STATUS_FAILURE_BLOCKED || status == PackageInstaller.STATUS_FAILURE_ABORTED -> "not_permitted"
            status == STATUS_FAILURE_TIMEOUT -> "timeout"
            else -> "install_failed"
        }
        return InstallVerdict.Failed(code, message?.take(MESSAGE_MAX_CHARS) ?: "status $status")
    }

    /** `PackageInstaller.STATUS_FAILURE_TIMEOUT`, API 34. */
    private const val STATUS_FAILURE_TIMEOUT = 8
    private const val MESSAGE_MAX_CHARS = 500
}
