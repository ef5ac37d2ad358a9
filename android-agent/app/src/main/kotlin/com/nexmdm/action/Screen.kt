package com.nexmdm.action

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.os.PowerManager
import android.provider.Settings
import android.view.WindowManager
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.GuardedBySdk
import com.nexmdm.platform.service
import kotlinx.coroutines.delay

/** Turns the screen on and sets its brightness. */
internal class Screen(private val context: Context, private val owner: DeviceOwner) {
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

    /**
     * Sets the brightness that the screen keeps, without the automatic one, which would change it again. As device owner from Android 9
     * on; before that it takes an access to the settings that the agent does not ask people for.
     */
    fun setBrightness(levelPct: Int): ActionOutcome {
        if (!owner.isOwner) return AndroidActions.NOT_OWNER
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.P) return ActionOutcome.failed("not_supported", "needs Android 9 or newer")
        val level = (levelPct * BRIGHTNESS_MAX + PERCENT / 2) / PERCENT
        setSystemSetting(Settings.System.SCREEN_BRIGHTNESS_MODE, Settings.System.SCREEN_BRIGHTNESS_MODE_MANUAL)
        setSystemSetting(Settings.System.SCREEN_BRIGHTNESS, level)
        // Some makers take the call and keep their value.
        val kept = Settings.System.getInt(context.contentResolver, Settings.System.SCREEN_BRIGHTNESS, -1)
        return if (kept == level) {
            ActionOutcome.SUCCESS
        } else {
            ActionOutcome.failed("not_permitted", "Android kept the brightness at ${kept * PERCENT / BRIGHTNESS_MAX} %")
        }
    }

    @GuardedBySdk
    private fun setSystemSetting(name: String, value: Int) = owner.policy.setSystemSetting(owner.admin, name, value.toString())

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

        /** Brightest value of the setting. */
        const val BRIGHTNESS_MAX = 255
        const val PERCENT = 100
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
