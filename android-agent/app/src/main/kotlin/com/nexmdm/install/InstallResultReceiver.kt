package com.nexmdm.install

import android.app.PendingIntent
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.pm.PackageInstaller
import android.os.Build
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.platform.GuardedBySdk
import com.nexmdm.platform.Notices

/** Takes the system's word about a session that was committed. */
internal class InstallResultReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        val session = intent.getIntExtra(PackageInstaller.EXTRA_SESSION_ID, -1)
        // Without a status it is no word of the system.
        val status = intent.getIntExtra(PackageInstaller.EXTRA_STATUS, Int.MIN_VALUE)
        if (session < 0 || status == Int.MIN_VALUE) return
        val message = intent.getStringExtra(PackageInstaller.EXTRA_STATUS_MESSAGE)
        if (status == PackageInstaller.STATUS_PENDING_USER_ACTION) {
            prompt(context, session, intent)
            val failed = InstallVerdict.Failed("not_permitted", "a person has to confirm the installation on the device")
            InstallVerdicts.decide(session, failed)
            return
        }
        Notices(context).installDecided(session)
        CommittedSessions(context).forget(session)
        InstallVerdicts.decide(session, InstallVerdicts.of(status, message))
    }

    private fun prompt(context: Context, session: Int, intent: Intent) {
        val confirm = confirmation(intent) ?: return
        val app = intent.getStringExtra(PackageInstaller.EXTRA_PACKAGE_NAME)
            ?: context.packageManager.packageInstaller.getSessionInfo(session)?.getAppPackageName().orEmpty()
        // Immutable: the system's own activity, which only the system's session id leads to.
        val tapped = PendingIntent.getActivity(
            context,
            session,
            confirm.addFlags(Intent.FLAG_ACTIVITY_NEW_TASK),
            PendingIntent.FLAG_UPDATE_CURRENT or PendingIntent.FLAG_IMMUTABLE,
        )
        Notices(context).askToInstall(session, app, tapped)
    }

    private fun confirmation(intent: Intent): Intent? = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
        typedConfirmation(intent)
    } else {
        @Suppress("DEPRECATION")
        intent.getParcelableExtra(Intent.EXTRA_INTENT)
    }

    @GuardedBySdk
    private fun typedConfirmation(intent: Intent) = intent.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java)
}
