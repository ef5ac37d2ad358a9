package com.nexmdm

import android.app.AppOpsManager
import android.app.usage.UsageStatsManager
import android.content.Context
import android.content.Intent
import android.content.pm.ApplicationInfo
import android.media.AudioManager
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Bundle
import android.os.PowerManager
import android.os.Process
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import com.nexmdm.platform.AndroidFacts
import com.nexmdm.platform.AndroidMonitor
import com.nexmdm.platform.AppUsage
import com.nexmdm.platform.service
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowNetwork
import org.robolectric.shadows.ShadowNetworkCapabilities
import org.robolectric.shadows.ShadowUsageStatsManager
import java.util.concurrent.TimeUnit

internal class FactsTest : FrameworkTest() {
    private val facts = AndroidFacts(app, owner)
    private val monitored = "com.example.monitored"

    private fun capabilities(transport: Int, vararg has: Int): NetworkCapabilities = ShadowNetworkCapabilities.newInstance().also {
        shadowOf(it).addTransportType(transport)
        for (capability in has) shadowOf(it).addCapability(capability)
    }

    private fun setUsageAccess(mode: Int) {
        val operations = shadowOf(app.getSystemService(Context.APP_OPS_SERVICE) as AppOpsManager)
        operations.setMode(AppOpsManager.OPSTR_GET_USAGE_STATS, Process.myUid(), app.packageName, mode)
    }

    private fun event(type: Int, agoS: Long, component: String = "Main") = shadowOf(app.service<UsageStatsManager>()).addEvent(
        ShadowUsageStatsManager.EventBuilder.buildEvent().setPackage(monitored).setClass(component).setEventType(type)
            .setTimeStamp(System.currentTimeMillis() - agoS * 1_000).build(),
    )

    private fun battery(level: Int, status: Int) = Intent(Intent.ACTION_BATTERY_CHANGED)
        .putExtra(BatteryManager.EXTRA_LEVEL, level)
        .putExtra(BatteryManager.EXTRA_SCALE, 200)
        .putExtra(BatteryManager.EXTRA_STATUS, status)
        .putExtra(BatteryManager.EXTRA_TEMPERATURE, 315)

    @Test
    fun `readings are the device's`() {
        @Suppress("DEPRECATION")
        app.sendStickyBroadcast(battery(166, BatteryManager.BATTERY_STATUS_CHARGING))
        val connectivity = app.service<ConnectivityManager>()
        val wifi = capabilities(NetworkCapabilities.TRANSPORT_WIFI, NetworkCapabilities.NET_CAPABILITY_VALIDATED)
        shadowOf(connectivity).setNetworkCapabilities(connectivity.activeNetwork, wifi)
        shadowOf(app.service<PowerManager>()).setIgnoringBatteryOptimizations(app.packageName, true)
        install(monitored)
        val read = runBlocking { facts.read(monitored) }
        assertEquals(83, read.batteryPct)
        assertEquals(true, read.charging)
        assertEquals(31.5, read.batteryTemperatureC!!, 0.0)
        assertEquals(sdk, read.sdkInt)
        assertEquals(android.os.Build.SUPPORTED_ABIS.joinToString(","), read.supportedAbis)
        assertEquals(Transport.WIFI, read.transport)
        assertEquals(true, read.netValidated)
        assertEquals(true, read.metered)
        assertEquals(true, read.dozeWhitelisted)
        assertEquals(true, read.powerOk)
        assertEquals(false, read.isDeviceOwner)
        assertEquals("2.0", read.apps.getValue(monitored).versionName)
        assertEquals(-1, read.monitoredForegroundRecentS)
        assertTrue(read.storageFreeMb!! >= 0)
        assertTrue(read.bootId.isNotEmpty() && read.bootId == facts.bootId())
        val deployed = runBlocking { facts.read(null, setOf(monitored, "com.example.absent")) }.apps
        assertEquals(listOf(true, false), listOf(monitored, "com.example.absent").map { deployed.getValue(it).installed })
        assertEquals(false, runBlocking { facts.read("com.example.absent") }.apps.getValue("com.example.absent").installed)
    }

    @Test
    fun `use of the monitored app comes from usage events`() {
        val usage = AppUsage(app)
        install(monitored)
        event(1, agoS = 90)
        setUsageAccess(AppOpsManager.MODE_IGNORED)
        assertEquals("not allowed yet", -1, usage.of(monitored, System.currentTimeMillis()).foregroundRecentS)
        setUsageAccess(AppOpsManager.MODE_DEFAULT)
        assertFalse("by default it takes the permission, which no app is given", usage.isAllowed())
        setUsageAccess(AppOpsManager.MODE_ALLOWED)
        assertEquals(0, usage.of(monitored, System.currentTimeMillis()).foregroundRecentS)
        assertEquals(true, usage.isRunning(monitored, usage.of(monitored, System.currentTimeMillis())))
        event(2, agoS = 30)
        val left = usage.of(monitored, System.currentTimeMillis())
        assertTrue("${left.foregroundRecentS}", left.foregroundRecentS in 30..35)
        assertNull("its process may live on", usage.isRunning(monitored, left))
        event(19, agoS = 20, component = "Service")
        val serving = usage.of(monitored, System.currentTimeMillis())
        assertEquals(if (sdk >= 29) true else null, serving.hasForegroundService)
        event(20, agoS = 10, component = "Service")
        assertEquals(if (sdk >= 29) false else null, usage.of(monitored, System.currentTimeMillis()).hasForegroundService)
        assertEquals(false, usage.isRunning("com.example.absent", left))
        install(monitored) { it.applicationInfo!!.flags = ApplicationInfo.FLAG_STOPPED }
        assertEquals(false, usage.isRunning(monitored, left))
    }

    @Test
    fun `a call by telephone or by an app is seen`() {
        assertFalse(runBlocking { facts.read(null) }.inCall == true)
        app.service<AudioManager>().mode = AudioManager.MODE_IN_COMMUNICATION
        assertEquals(true, runBlocking { facts.read(null) }.inCall)
    }

    @Test
    fun `the monitor follows network and battery`() {
        val connectivity = app.service<ConnectivityManager>()
        val monitor = AndroidMonitor(app, log)
        monitor.start()
        monitor.start()
        val callback = shadowOf(connectivity).networkCallbacks.single()
        val network = ShadowNetwork.newInstance(7)
        callback.onAvailable(network)
        val unmetered = NetworkCapabilities.NET_CAPABILITY_NOT_METERED
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_WIFI, unmetered))
        assertEquals(NetworkState(Transport.WIFI, validated = false, metered = false), monitor.network.value)
        val validated = NetworkCapabilities.NET_CAPABILITY_VALIDATED
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_WIFI, unmetered, validated))
        assertEquals(NetworkState(Transport.WIFI, validated = true, metered = false), monitor.network.value)
        callback.onLost(network)
        assertEquals(NetworkState(Transport.NONE, validated = false, metered = false), monitor.network.value)
        @Suppress("DEPRECATION")
        app.sendStickyBroadcast(battery(20, BatteryManager.BATTERY_STATUS_DISCHARGING))
        awaitOnMain("battery") { monitor.power.value == PowerState(10, charging = false) }
        monitor.stop()
        assertTrue(shadowOf(connectivity).networkCallbacks.isEmpty())
    }

    @Test
    fun `a network without Internet is used after a while, a captive portal is not`() {
        val monitor = AndroidMonitor(app, log).apply { start() }
        val callback = shadowOf(app.service<ConnectivityManager>()).networkCallbacks.single()
        val network = ShadowNetwork.newInstance(7)
        fun settle() = shadowOf(android.os.Looper.getMainLooper()).idleFor(AndroidMonitor.UNVALIDATED_GRACE_MS, TimeUnit.MILLISECONDS)
        callback.onAvailable(network)
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_ETHERNET))
        settle()
        assertEquals(true, monitor.network.value.validated)
        callback.onLost(network)
        callback.onAvailable(network)
        val portal = NetworkCapabilities.NET_CAPABILITY_CAPTIVE_PORTAL
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_WIFI, portal))
        settle()
        assertEquals(false, monitor.network.value.validated)
        monitor.stop()
    }

    @Test
    fun `a device owner grants itself what it needs, others nothing`() {
        owner.grantItself()
        assertEquals(emptyList<String>(), RecordingPolicyManager.calls)
        becomeOwner()
        RecordingPolicyManager.clear()
        owner.grantItself()
        val wanted = buildList {
            add("ACCESS_FINE_LOCATION")
            add("READ_PHONE_STATE")
            if (sdk >= 33) add("POST_NOTIFICATIONS")
            if (sdk >= 29) add("ACCESS_BACKGROUND_LOCATION")
        }
        for (permission in wanted) {
            assertEquals(permission, 1, policy.getPermissionGrantState(owner.admin, app.packageName, "android.permission.$permission"))
        }
        val stays = "user control [com.nexmdm] com.nexmdm.NexDeviceAdminReceiver"
        assertEquals(if (sdk >= 30) listOf(stays) else emptyList<String>(), RecordingPolicyManager.calls)
        RecordingPolicyManager.clear()
    }

    @Test
    fun `managed configuration is an enrollment when it has server and token`() {
        val configuration = ManagedConfiguration(app)
        val restrictions = shadowOf(app.service<android.content.RestrictionsManager>())
        shadowOf(app.service<android.os.UserManager>()).setUserUnlocked(true)
        assertNull(configuration.read())
        restrictions.setApplicationRestrictions(Bundle().apply { putString("server_url", "https://mdm.example") })
        assertNull(configuration.read())
        restrictions.setApplicationRestrictions(
            Bundle().apply {
                putString("server_url", "https://mdm.example")
                putString("enrollment_token", "tok")
            },
        )
        assertEquals("https://mdm.example", configuration.read()!!.serverUrl)
        shadowOf(app.service<android.os.UserManager>()).setUserUnlocked(false)
        assertNull("before unlocking there is no configuration to read", configuration.read())
    }
}
