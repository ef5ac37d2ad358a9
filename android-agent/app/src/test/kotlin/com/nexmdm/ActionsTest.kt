package com.nexmdm

import android.content.ComponentName
import android.content.Intent
import android.content.IntentFilter
import android.content.pm.ActivityInfo
import android.media.AudioManager
import android.net.wifi.WifiManager
import android.os.PowerManager
import android.provider.Settings
import com.nexmdm.action.AndroidActions
import com.nexmdm.action.AppControl
import com.nexmdm.action.ProgramRunner
import com.nexmdm.action.RingStopReceiver
import com.nexmdm.action.Ringer
import com.nexmdm.action.Sound
import com.nexmdm.action.WifiJoiner
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.platform.Notices
import com.nexmdm.platform.service
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.test.currentTime
import kotlinx.coroutines.test.runCurrent
import kotlinx.coroutines.test.runTest
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowPowerManager

@OptIn(kotlinx.coroutines.ExperimentalCoroutinesApi::class)
internal class ActionsTest : FrameworkTest() {
    private class CountingSound : Sound {
        var plays = 0
        var stopped = false

        override fun play() {
            plays++
        }

        override fun stop() {
            stopped = true
        }
    }

    private val sound = CountingSound()
    private val notices = Notices(app)
    private val actions = AndroidActions(app, owner, Ringer(app, notices) { sound }, wifi = WifiJoiner(app, owner, joinTimeoutMs = 3_000))
    private val target = "com.example.target"

    @Before
    fun clear() = RecordingPolicyManager.clear()

    private fun perform(action: PlatformAction): ActionOutcome = runBlocking { actions.perform(action) }

    private fun installWithLauncher(packageName: String) {
        install(packageName)
        val activity = ComponentName(packageName, "$packageName.Main")
        val filter = IntentFilter(Intent.ACTION_MAIN).apply { addCategory(Intent.CATEGORY_LAUNCHER) }
        shadowOf(app.packageManager).addActivityIfNotPresent(activity)
        shadowOf(app.packageManager).addIntentFilterForActivity(activity, filter)
    }

    @Test
    fun `a ring plays loud until its time is over and puts the volume back`() = runTest {
        val audio = app.service<AudioManager>()
        audio.setStreamVolume(AudioManager.STREAM_ALARM, 2, 0)
        val ring = async { actions.perform(PlatformAction.Ring(10)) }
        runCurrent()
        assertEquals(audio.getStreamMaxVolume(AudioManager.STREAM_ALARM), audio.getStreamVolume(AudioManager.STREAM_ALARM))
        assertEquals(1, shadowOf(app.service<android.app.NotificationManager>()).size())
        assertEquals("\"time\"", ring.await().data?.get("stopped_by").toString())
        assertEquals(10_000, currentTime)
        assertTrue(sound.stopped && sound.plays in 9..11)
        assertEquals(2, audio.getStreamVolume(AudioManager.STREAM_ALARM))
        assertEquals(0, shadowOf(app.service<android.app.NotificationManager>()).size())
    }

    @Test
    fun `the button of the notification stops a ring`() = runTest {
        val ring = async { actions.perform(PlatformAction.Ring(300)) }
        runCurrent()
        val notification = shadowOf(app.service<android.app.NotificationManager>()).allNotifications.single()
        assertEquals("Stop", notification.actions.single().title)
        val sent = shadowOf(notification.actions.single().actionIntent).savedIntent
        assertEquals(RingStopReceiver::class.java.name, sent.component?.className)
        RingStopReceiver().onReceive(app, sent)
        assertEquals("\"person\"", ring.await().data?.get("stopped_by").toString())
        assertEquals(0, currentTime)
        assertTrue(sound.stopped)
    }

    @Test
    fun `a ring that replaces another puts the person's volume back`() = runTest {
        val audio = app.service<AudioManager>()
        audio.setStreamVolume(AudioManager.STREAM_ALARM, 2, 0)
        val loudest = audio.getStreamMaxVolume(AudioManager.STREAM_ALARM)
        val first = async { actions.perform(PlatformAction.Ring(300)) }
        runCurrent()
        val second = async { actions.perform(PlatformAction.Ring(10)) }
        runCurrent()
        assertTrue(first.isCompleted)
        assertEquals("the second goes on as loud", loudest, audio.getStreamVolume(AudioManager.STREAM_ALARM))
        second.await()
        assertEquals(2, audio.getStreamVolume(AudioManager.STREAM_ALARM))
    }

    @Test
    fun `a ring that is cancelled ends`() = runTest {
        val ring = async { actions.perform(PlatformAction.Ring(300)) }
        runCurrent()
        ring.cancel()
        runCurrent()
        assertTrue(sound.stopped)
    }

    @Test
    fun `reboot, lock and clearing data are the device owner's`() {
        install(target)
        for (action in listOf(PlatformAction.Reboot, PlatformAction.Lock, PlatformAction.RestartApp(target))) {
            assertEquals("$action", "not_permitted", perform(action).code)
        }
        assertEquals(emptyList<String>(), RecordingPolicyManager.calls)
        becomeOwner()
        assertEquals("success", perform(PlatformAction.Reboot).outcome)
        assertEquals("success", perform(PlatformAction.Lock).outcome)
        assertEquals(listOf("reboot com.nexmdm/.NexDeviceAdminReceiver", "lock"), RecordingPolicyManager.calls)
    }

    @Test
    fun `a reboot during a call and a maker's refusal are told`() {
        becomeOwner()
        RecordingPolicyManager.refusal = IllegalStateException("Cannot be called with ongoing call on the device")
        assertEquals("in_call", perform(PlatformAction.Reboot).code)
        RecordingPolicyManager.refusal = SecurityException("no")
        assertEquals("not_permitted", perform(PlatformAction.Reboot).code)
    }

    @Test
    fun `clearing data works from Android 9 on`() {
        becomeOwner()
        assertEquals("not_installed", perform(PlatformAction.ClearAppData(target)).code)
        assertEquals("not_permitted", perform(PlatformAction.ClearAppData(app.packageName)).code)
        install(target)
        install("com.example.stubborn")
        if (sdk < 28) {
            assertEquals("not_supported", perform(PlatformAction.ClearAppData(target)).code)
            return
        }
        assertEquals("success", perform(PlatformAction.ClearAppData(target)).outcome)
        assertEquals(listOf("clear $target com.nexmdm.NexDeviceAdminReceiver"), RecordingPolicyManager.calls)
        assertEquals("not_permitted", perform(PlatformAction.ClearAppData("com.example.stubborn")).code)
    }

    @Test
    fun `launching takes the launcher's entry or the intent that is asked for`() {
        becomeOwner()
        assertEquals("not_installed", perform(PlatformAction.LaunchApp(target, null)).code)
        install(target)
        assertEquals("no_activity", perform(PlatformAction.LaunchApp(target, null)).code)
        assertNull(shadowOf(app).nextStartedActivity)
        installWithLauncher(target)
        assertEquals("success", perform(PlatformAction.LaunchApp(target, null)).outcome)
        val started = shadowOf(app).nextStartedActivity
        assertEquals("$target.Main", started.component?.className)
        assertTrue(started.flags and Intent.FLAG_ACTIVITY_NEW_TASK != 0)
        assertEquals("no_activity", perform(PlatformAction.LaunchApp(target, "com.example.SHOW")).code)
        val show = IntentFilter("com.example.SHOW").apply { addCategory(Intent.CATEGORY_DEFAULT) }
        shadowOf(app.packageManager).addIntentFilterForActivity(ComponentName(target, "$target.Main"), show)
        assertEquals("success", perform(PlatformAction.LaunchApp(target, "com.example.SHOW")).outcome)
        assertEquals("com.example.SHOW", shadowOf(app).nextStartedActivity.action)
    }

    @Test
    fun `without ownership a start from the background is refused where Android drops it`() {
        installWithLauncher(target)
        assertEquals(if (sdk >= 29) "not_permitted" else null, perform(PlatformAction.LaunchApp(target, null)).code)
    }

    @Test
    fun `restarting hides the app, shows it and starts it`() {
        becomeOwner()
        installWithLauncher(target)
        assertEquals("success", perform(PlatformAction.RestartApp(target)).outcome)
        assertTrue(shadowOf(policy).wasPackageEverHidden(target))
        assertFalse(policy.isApplicationHidden(owner.admin, target))
        assertEquals("$target.Main", shadowOf(app).nextStartedActivity.component?.className)
    }

    @Test
    fun `an app that stayed hidden because the agent died comes back`() {
        becomeOwner()
        installWithLauncher(target)
        app.createDeviceProtectedStorageContext().getSharedPreferences("hidden_apps", 0).edit().putBoolean(target, true).commit()
        policy.setApplicationHidden(owner.admin, target, true)
        AppControl(app, owner).unhideLeftovers()
        assertFalse(policy.isApplicationHidden(owner.admin, target))
    }

    @Test
    @Suppress("DEPRECATION")
    fun `wake turns the screen on by a wake lock with a limit`() = runTest {
        shadowOf(app.service<PowerManager>()).turnScreenOn(true)
        assertEquals("success", actions.perform(PlatformAction.Wake).outcome)
        assertTrue(ShadowPowerManager.getLatestWakeLock().isHeld)
        assertNull(shadowOf(app).nextStartedActivity)
    }

    @Test
    @Suppress("DEPRECATION")
    fun `wake falls back to an activity and says when the screen stays off`() = runTest {
        shadowOf(app.service<PowerManager>()).turnScreenOn(false)
        assertEquals("not_permitted", actions.perform(PlatformAction.Wake).code)
        assertEquals("com.nexmdm.action.WakeActivity", shadowOf(app).nextStartedActivity.component?.className)
    }

    @Test
    fun `a device owner sets the brightness and turns the automatic one off`() {
        assertEquals("not_permitted", perform(PlatformAction.SetBrightness(50)).code)
        becomeOwner()
        val brightness = { Settings.System.getInt(app.contentResolver, Settings.System.SCREEN_BRIGHTNESS, -1) }
        if (sdk < 28) {
            assertEquals("not_supported", perform(PlatformAction.SetBrightness(50)).code)
            return
        }
        for ((percent, level) in mapOf(0 to 0, 50 to 128, 100 to 255)) {
            assertEquals("success", perform(PlatformAction.SetBrightness(percent)).outcome)
            assertEquals(level, brightness())
        }
        assertEquals(0, Settings.System.getInt(app.contentResolver, Settings.System.SCREEN_BRIGHTNESS_MODE, -1))
        assertEquals("setting screen_brightness_mode 0 ${owner.admin.className}", RecordingPolicyManager.calls[0])
        RecordingPolicyManager.keepsSettings = true
        val kept = perform(PlatformAction.SetBrightness(20))
        assertEquals("not_permitted", kept.code)
        assertTrue(kept.message.orEmpty(), "100 %" in kept.message.orEmpty())
    }

    @Test
    fun `a monitored app is described whether or not it is there`() {
        assertEquals("false", perform(PlatformAction.SetMonitoredApp(target)).data?.get("installed").toString())
        install(target)
        val outcome = perform(PlatformAction.SetMonitoredApp(target))
        assertEquals("true", outcome.data?.get("installed").toString())
        assertEquals("20", outcome.data?.get("version_code").toString())
    }

    @Test
    @Suppress("DEPRECATION")
    fun `a device owner joins a Wi-Fi by a saved network`() = runTest {
        becomeOwner()
        val wifi = app.service<WifiManager>()
        shadowOf(wifi).setWifiState(WifiManager.WIFI_STATE_ENABLED)
        val connected = org.robolectric.shadow.api.Shadow.newInstanceOf(android.net.wifi.WifiInfo::class.java)
        shadowOf(connected).setSSID("shop")
        shadowOf(wifi).setConnectionInfo(connected)
        assertEquals("success", actions.perform(PlatformAction.WifiConnect("shop", "wpa2", "open sesame")).outcome)
        val id = checkNotNull(shadowOf(wifi).lastEnabledNetwork).first
        val saved = shadowOf(wifi).getWifiConfiguration(id)
        assertEquals("\"shop\"", saved.SSID)
        assertEquals("\"open sesame\"", saved.preSharedKey)
        // It is not the one that the device is in: nothing is claimed.
        val elsewhere = WifiJoiner(app, owner, joinTimeoutMs = 3_000) { "elsewhere" }
        assertEquals("not_connected", elsewhere.join(PlatformAction.WifiConnect("shop", "wpa2", "open sesame")).code)
        val wpa3 = actions.perform(PlatformAction.WifiConnect("shop", "wpa3", "open sesame"))
        assertEquals(if (sdk >= 29) null else "not_supported", wpa3.code)
    }

    @Test
    fun `without ownership a Wi-Fi is suggested from Android 10 on`() = runTest {
        if (sdk < 29) return@runTest
        val outcome = actions.perform(PlatformAction.WifiConnect("shop", "wpa2", "open sesame"))
        assertEquals("not_permitted", outcome.code)
        assertEquals("shop", app.service<WifiManager>().networkSuggestions.single().ssid)
        assertFalse("sesame" in outcome.message.orEmpty())
    }

    @Test
    fun `exec runs a program with its arguments and no shell`() {
        val outcome = perform(PlatformAction.Exec("echo", listOf("/bin/echo", "a b", "\$HOME; id")))
        assertEquals("success", outcome.outcome)
        assertEquals("\"a b \$HOME; id\\n\"", outcome.data?.get("output").toString())
        assertEquals("0", outcome.data?.get("exit_code").toString())
        val failed = perform(PlatformAction.Exec("false", listOf("/bin/false")))
        assertEquals("exit_code", failed.code)
        assertEquals("not_started", perform(PlatformAction.Exec("none", listOf("/no/such/program"))).code)
        val shells = listOf(listOf("/bin/sh", "-c", "id"), listOf("/usr/bin/env", "id"))
        val refused = shells + listOf(listOf("echo"), emptyList(), List(33) { "/bin/echo" })
        for (argv in refused) {
            assertEquals("$argv", "bad_params", perform(PlatformAction.Exec("x", argv)).code)
        }
    }

    @Test
    fun `exec is stopped at its time and its output at its size`() {
        val slow = runBlocking { ProgramRunner(timeoutMs = 50).run(listOf("/bin/sleep", "60")) }
        assertEquals("timeout", slow.outcome)
        val loud = runBlocking { ProgramRunner(outputMaxBytes = 1_000).run(listOf("/usr/bin/seq", "1", "100000")) }
        assertEquals("true", loud.data?.get("truncated").toString())
        assertEquals(1_000, (loud.data?.get("output") as JsonPrimitive).content.length)
        assertEquals("success", loud.outcome)
    }

    @Test
    fun `the intent after an installation reaches the app's receivers by name`() {
        val extras = JsonObject(mapOf("mode" to JsonPrimitive("quiet"), "tries" to JsonPrimitive(3)))
        val wanted = PlatformAction.RestartIntent(target, "com.example.RESTART", extras)
        assertEquals("not_installed", perform(wanted).code)
        install(target)
        assertEquals("no_component", perform(wanted).code)
        val receiver = ComponentName(target, "$target.Restart")
        val info = ActivityInfo().apply {
            packageName = target
            name = receiver.className
            exported = true
        }
        shadowOf(app.packageManager).addOrUpdateReceiver(info)
        shadowOf(app.packageManager).addIntentFilterForReceiver(receiver, IntentFilter("com.example.RESTART"))
        assertEquals("success", perform(wanted).outcome)
        val sent = shadowOf(app).broadcastIntents.last()
        assertEquals(receiver, sent.component)
        assertEquals("quiet", sent.getStringExtra("mode"))
        assertEquals(3L, sent.getLongExtra("tries", 0))
        val own = PlatformAction.RestartIntent(app.packageName, "com.nexmdm.RESTART", JsonObject(emptyMap()))
        assertEquals("success", perform(own).outcome)
    }
}
