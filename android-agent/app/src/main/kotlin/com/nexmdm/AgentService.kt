package com.nexmdm

import android.app.Notification
import android.app.PendingIntent
import android.app.Service
import android.app.admin.DevicePolicyManager
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import android.util.Log
import com.nexmdm.core.agent.AgentPhase
import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.platform.GuardedBySdk
import com.nexmdm.platform.Notices
import com.nexmdm.platform.service
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.distinctUntilChanged
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.launch

/**
 * Keeps the process in the foreground, so that Android lets it work: the agent itself runs as long as the process does.
 *
 * From Android 14 on a service needs a type: `systemExempted`, which device owners may use, else `specialUse`. Neither has the six
 * hours a day that Android 15 leaves to `dataSync`.
 */
internal class AgentService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Main)
    private val notices by lazy { Notices(this) }

    override fun onCreate() {
        super.onCreate()
        goToForeground()
        scope.launch {
            agent.status.map(::shownServer).distinctUntilChanged().collect { notices.update(notification(it)) }
        }
    }

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        // Every start has to be followed by this, also that of a service which runs already.
        val isForeground = goToForeground()
        agent.start()
        agent.wake(intent?.getStringExtra(EXTRA_REASON) ?: "restart")
        // Android would repeat a refused start again and again.
        return if (isForeground) START_STICKY else START_NOT_STICKY
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    override fun onBind(intent: Intent?): IBinder? = null

    /** Whether the service is in the foreground now; if not, it stops itself. */
    private fun goToForeground(): Boolean {
        val notification = notification(shownServer(agent.status.value))
        val started = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            startTyped(notification)
        } else {
            startUntyped(notification)
        }
        // The process goes on as long as Android lets it; the next alarm tries again.
        if (!started) stopSelf()
        return started
    }

    private fun startUntyped(notification: Notification): Boolean = try {
        startForeground(Notices.SERVICE_ID, notification)
        true
    } catch (e: IllegalStateException) {
        // ForegroundServiceStartNotAllowedException, from Android 12 on.
        Log.w(TAG, "foreground refused: ${e.message}")
        false
    }

    @GuardedBySdk
    private fun startTyped(notification: Notification): Boolean {
        val isOwner = service<DevicePolicyManager>().isDeviceOwnerApp(packageName)
        val types = buildList {
            if (isOwner) add(ServiceInfo.FOREGROUND_SERVICE_TYPE_SYSTEM_EXEMPTED)
            add(ServiceInfo.FOREGROUND_SERVICE_TYPE_SPECIAL_USE)
        }
        for (type in types) {
            try {
                startForeground(Notices.SERVICE_ID, notification, type)
                return true
            } catch (e: SecurityException) {
                Log.w(TAG, "foreground type $type refused: ${e.message}")
            } catch (e: IllegalStateException) {
                // ForegroundServiceStartNotAllowedException and its kin.
                Log.w(TAG, "foreground type $type refused: ${e.message}")
            }
        }
        return false
    }

    private fun shownServer(status: AgentStatus): String? = status.server.takeIf { status.phase == AgentPhase.ENROLLED }

    private fun notification(server: String?): Notification {
        // The status screen, by its entry in the launcher.
        val screen = Intent(Intent.ACTION_MAIN).addCategory(Intent.CATEGORY_LAUNCHER).setPackage(packageName)
        val tapped = PendingIntent.getActivity(this, 0, screen, PendingIntent.FLAG_IMMUTABLE)
        return notices.service(server, tapped)
    }

    companion object {
        private const val TAG = "nexmdm"
        private const val EXTRA_REASON = "reason"

        /**
         * Starts the service for [reason]. From Android 12 on, Android refuses that from the background but for device owners,
         * apps exempt from Doze, and just after boot or an update: then the alarm that the agent has set anyway tries again.
         */
        fun start(context: Context, reason: String) {
            try {
                context.startForegroundService(Intent(context, AgentService::class.java).putExtra(EXTRA_REASON, reason))
            } catch (e: IllegalStateException) {
                Log.w(TAG, "service not started: ${e.message}")
                context.agent.wake(reason)
            }
        }
    }
}
