package com.nexmdm.platform

import android.app.AlarmManager
import android.app.PendingIntent
import android.content.Context
import android.os.Build
import com.nexmdm.core.port.WakeUps

/**
 * One alarm that also fires in Doze, where Android lets an app have one in about nine minutes. Exact where that is permitted
 * without asking for it: below Android 12, and for apps exempt from Doze.
 */
internal class AlarmWakeUps(context: Context, private val target: PendingIntent) : WakeUps {
    private val alarms = context.service<AlarmManager>()

    override fun schedule(delayMs: Long) {
        val at = android.os.SystemClock.elapsedRealtime() + delayMs.coerceAtLeast(0)
        // The same target: the alarm before is replaced.
        if (isExactPermitted()) {
            try {
                alarms.setExactAndAllowWhileIdle(AlarmManager.ELAPSED_REALTIME_WAKEUP, at, target)
                return
            } catch (_: SecurityException) {
                // The exemption went between the check and the call.
            }
        }
        alarms.setAndAllowWhileIdle(AlarmManager.ELAPSED_REALTIME_WAKEUP, at, target)
    }

    private fun isExactPermitted() = Build.VERSION.SDK_INT < Build.VERSION_CODES.S || canScheduleExact()

    @GuardedBySdk
    private fun canScheduleExact() = alarms.canScheduleExactAlarms()
}
