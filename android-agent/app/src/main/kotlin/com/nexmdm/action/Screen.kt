package com.nexmdm.action

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.os.PowerManager
import android.view.WindowManager
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.platform.GuardedBySdk
import com.nexmdm.platform.service
import kotlinx.coroutines.delay

/** Turns the screen on. */
internal class Screen(private val context: Context) {
    private val power = context.service<PowerManager>()

    /**
     * Turns the screen on by a wake lock; where Android ignores that (from 13 on it takes a special access), by an activity that
     * shows nothing, which a device owner may start from the background.
     */
    suspend fun turnOn(): ActionOutcome {
        @Suppress("DEPRECATION")
        val flags = PowerManager.SCREEN_BRIGHT_WAKE_LOCK or PowerManager.ACQUIRE_CAUSES_WAKEUP or PowerManager.ON_AFTER_RELEASE
        // Released by its time: the screen goes out again by the person's own setting.
        power.newWakeLock(flags, "nexmdm:wake").acquire(HOLD_MS)
        if (becameInteractive()) return ActionOutcome.SUCCESS
        context.startActivity(Intent(context, WakeActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK))
        if (becameInteractive()) return ActionOutcome.SUCCESS
        return ActionOutcome.failed("not_permitted", "Android kept the screen off")
    }

    private suspend fun becameInteractive(): Boolean {
        repeat(CHECKS) {
            if (power.isInteractive) return true
            delay(CHECK_MS)
        }
        return power.isInteractive
    }

    private companion object {
        const val HOLD_MS = 10_000L
        const val CHECKS = 20
        const val CHECK_MS = 100L
    }
}

/** Turns the screen on by being started, and goes. */
internal class WakeActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        // The manifest's showWhenLocked and turnScreenOn hold from API 27 on.
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.O_MR1) {
            turnOn()
        } else {
            @Suppress("DEPRECATION")
            window.addFlags(WindowManager.LayoutParams.FLAG_TURN_SCREEN_ON or WindowManager.LayoutParams.FLAG_SHOW_WHEN_LOCKED)
        }
    }

    override fun onAttachedToWindow() {
        super.onAttachedToWindow()
        window.decorView.post(::finish)
    }

    @GuardedBySdk
    private fun turnOn() {
        setShowWhenLocked(true)
        setTurnScreenOn(true)
    }
}
