package com.nexmdm.platform

import android.app.AppOpsManager
import android.app.usage.UsageEvents
import android.app.usage.UsageStatsManager
import android.content.Context
import android.content.pm.ApplicationInfo
import android.content.pm.PackageManager
import android.os.Build
import android.os.Process

/** What usage events say about an app. */
internal data class Usage(
    /** Seconds since it was in the foreground, 0 = it is now, -1 = unknown. */
    val foregroundRecentS: Long,
    /** Whether it has a foreground service, which shows a notification; null = unknown. */
    val hasForegroundService: Boolean?,
)

/** Use of other apps, by the usage access that the enrollment script or a person allows. */
internal class AppUsage(private val context: Context) {
    /** Whether usage access is allowed. */
    fun isAllowed(): Boolean {
        val mode = mode()
        if (mode != AppOpsManager.MODE_DEFAULT) return mode == AppOpsManager.MODE_ALLOWED
        val permission = android.Manifest.permission.PACKAGE_USAGE_STATS
        return context.checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED
    }

    /** Use of an app over the last day. Nothing is known without usage access, or before the device is unlocked. */
    fun of(packageName: String, nowMs: Long): Usage {
        if (!isAllowed()) return UNKNOWN
        val events = context.service<UsageStatsManager>().queryEvents(nowMs - WINDOW_MS, nowMs) ?: return UNKNOWN
        val activities = mutableSetOf<String>()
        val services = mutableSetOf<String>()
        var lastSeenMs: Long? = null
        val event = UsageEvents.Event()
        while (events.getNextEvent(event)) {
            if (event.eventType == DEVICE_SHUTDOWN) {
                activities.clear()
                services.clear()
            }
            if (event.packageName != packageName) continue
            val component = event.className.orEmpty()
            when (event.eventType) {
                ACTIVITY_RESUMED -> {
                    activities += component
                    lastSeenMs = event.timeStamp
                }
                ACTIVITY_PAUSED, ACTIVITY_STOPPED -> if (activities.remove(component)) lastSeenMs = event.timeStamp
                FOREGROUND_SERVICE_START -> services += component
                FOREGROUND_SERVICE_STOP -> services -= component
            }
        }
        val recentS = when {
            activities.isNotEmpty() -> 0
            else -> lastSeenMs?.let { ((nowMs - it) / 1_000).coerceAtLeast(0) } ?: -1
        }
        // Services are among the events from Android 10 on.
        return Usage(recentS, if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) services.isNotEmpty() else null)
    }

    /**
     * Whether an app runs, as far as Android tells another app: the processes of others are hidden. Not installed or stopped
     * means no; an activity in the foreground or a foreground service means yes; anything else is unknown (null), since a process
     * may live on in the background.
     */
    fun isRunning(packageName: String, usage: Usage): Boolean? {
        val app = try {
            context.packageManager.getApplicationInfo(packageName, 0)
        } catch (_: PackageManager.NameNotFoundException) {
            return false
        }
        return when {
            app.flags and ApplicationInfo.FLAG_STOPPED != 0 -> false
            usage.foregroundRecentS == 0L || usage.hasForegroundService == true -> true
            else -> null
        }
    }

    private fun mode(): Int {
        val operations = context.service<AppOpsManager>()
        return if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) modeSince29(operations) else modeBefore29(operations)
    }

    @GuardedBySdk
    private fun modeSince29(operations: AppOpsManager) =
        operations.unsafeCheckOpNoThrow(AppOpsManager.OPSTR_GET_USAGE_STATS, Process.myUid(), context.packageName)

    @Suppress("DEPRECATION")
    private fun modeBefore29(operations: AppOpsManager) =
        operations.checkOpNoThrow(AppOpsManager.OPSTR_GET_USAGE_STATS, Process.myUid(), context.packageName)

    private companion object {
        val UNKNOWN = Usage(-1, null)
        const val WINDOW_MS = 24L * 3_600_000

        // Constants of UsageEvents.Event; those after API 26 are not in its signature. Below API 29 the first two are named
        // MOVE_TO_FOREGROUND and MOVE_TO_BACKGROUND.
        const val ACTIVITY_RESUMED = 1
        const val ACTIVITY_PAUSED = 2
        const val FOREGROUND_SERVICE_START = 19
        const val FOREGROUND_SERVICE_STOP = 20
        const val ACTIVITY_STOPPED = 23
        const val DEVICE_SHUTDOWN = 26
    }
}
