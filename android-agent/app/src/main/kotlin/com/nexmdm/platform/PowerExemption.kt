package com.nexmdm.platform

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.PowerManager

/** Whether Android lets the agent work while the device is idle. A device owner is not exempt from Doze by itself. */
internal class PowerExemption(private val context: Context) {
    private val power = context.service<PowerManager>()

    /** Whether the agent is exempt from battery optimization, and so from Doze and App Standby. */
    val isDozeExempt: Boolean get() = power.isIgnoringBatteryOptimizations(context.packageName)

    /** Whether nothing holds the agent back: it is exempt, and not restricted in the background by a person or the system. */
    val isUnrestricted: Boolean get() = isDozeExempt && !(Build.VERSION.SDK_INT >= Build.VERSION_CODES.P && isRestricted())

    @GuardedBySdk
    private fun isRestricted() = context.service<ActivityManager>().isBackgroundRestricted
}
