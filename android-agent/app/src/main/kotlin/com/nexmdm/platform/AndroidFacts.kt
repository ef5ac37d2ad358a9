package com.nexmdm.platform

import android.annotation.SuppressLint
import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.pm.PackageInfo
import android.content.pm.PackageManager
import android.net.ConnectivityManager
import android.os.BatteryManager
import android.os.Build
import android.os.StatFs
import android.provider.Settings
import com.nexmdm.core.port.AppReading
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.Transport
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.io.File
import java.io.IOException

/** Reads what a heartbeat reports. docs/agent.md says what of it is personal. */
internal class AndroidFacts(
    private val context: Context,
    private val owner: DeviceOwner,
    private val dispatcher: CoroutineDispatcher = Dispatchers.IO,
) : DeviceFacts {
    private val network = NetworkFacts(context)
    private val usage = AppUsage(context)
    private val power = PowerExemption(context)
    private val own: PackageInfo by lazy { context.packageManager.getPackageInfo(context.packageName, 0) }
    private val boot: String by lazy { kernelBootId() ?: "boot-${bootCount()}" }

    override suspend fun read(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings = withContext(dispatcher) {
        val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        val charge = battery?.let(AndroidMonitor::powerOf)
        val memory = ActivityManager.MemoryInfo().also { context.service<ActivityManager>().getMemoryInfo(it) }
        val connectivity = context.service<ConnectivityManager>()
        val capabilities = connectivity.getNetworkCapabilities(connectivity.activeNetwork)
        val transport = capabilities?.let(AndroidMonitor::transportOf) ?: Transport.NONE
        val nowMs = System.currentTimeMillis()
        val monitored = monitoredApp?.let { usage.of(it, nowMs) }
        val speedtest = if (version(SPEEDTEST_PACKAGE) == null) null else usage.of(SPEEDTEST_PACKAGE, nowMs)
        DeviceReadings(
            agentVersionName = own.versionName.orEmpty(),
            agentVersionCode = agentVersionCode(),
            bootId = bootId(),
            isDeviceOwner = owner.isOwner,
            batteryPct = charge?.batteryPct,
            charging = charge?.charging,
            batteryTemperatureC = battery?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Int.MIN_VALUE)
                ?.takeIf { it != Int.MIN_VALUE }?.let { it / 10.0 },
            uptimeSeconds = android.os.SystemClock.elapsedRealtime() / 1_000,
            androidVersion = Build.VERSION.RELEASE,
            sdkInt = Build.VERSION.SDK_INT,
            patchLevel = Build.VERSION.SECURITY_PATCH?.ifBlank { null },
            buildId = Build.ID,
            model = Build.MODEL,
            manufacturer = Build.MANUFACTURER,
            supportedAbis = Build.SUPPORTED_ABIS?.joinToString(",")?.ifBlank { null },
            hardwareId = hardwareId(),
            totalRamMb = memory.totalMem / MIB,
            availRamMb = memory.availMem / MIB,
            memoryPressurePct = if (memory.totalMem > 0) 100 - (memory.availMem * 100 / memory.totalMem).toInt() else null,
            transport = transport,
            ssid = if (transport == Transport.WIFI) network.ssid() else null,
            carrier = network.carrier(),
            ip = network.ip(),
            netValidated = capabilities?.let(AndroidMonitor::isValidated) ?: false,
            metered = capabilities?.let(AndroidMonitor::isMetered),
            inCall = network.inCall(),
            storageFreeMb = StatFs(context.deviceProtected().dataDir.path).availableBytes / MIB,
            powerOk = power.isUnrestricted,
            dozeWhitelisted = power.isDozeExempt,
            monitoredForegroundRecentS = monitored?.foregroundRecentS ?: -1,
            monitoredAppRunning = monitored?.let { usage.isRunning(monitoredApp, it) },
            speedtestHasServiceNotification = speedtest?.hasForegroundService,
            speedtestForegroundRecentS = speedtest?.foregroundRecentS?.takeIf { it >= 0 },
            apps = (deployedApps + listOfNotNull(monitoredApp)).associateWith(::reading),
        )
    }

    override fun bootId(): String = boot

    override fun agentVersionCode(): Long = own.code()

    override fun agentPackage(): String = context.packageName

    /** Version of the agent for people. */
    fun agentVersionName(): String = own.versionName.orEmpty()

    private fun reading(packageName: String): AppReading {
        val info = version(packageName) ?: return AppReading(installed = false, versionName = null, versionCode = null)
        return AppReading(installed = true, info.versionName, info.code())
    }

    private fun version(packageName: String): PackageInfo? = try {
        context.packageManager.getPackageInfo(packageName, 0)
    } catch (_: PackageManager.NameNotFoundException) {
        null
    }

    /**
     * Identifies the device over a factory reset where it can: the serial number, which a device owner may read. Else the id that
     * Android makes for this app and key of signature on this device.
     */
    @SuppressLint("HardwareIds", "MissingPermission")
    private fun hardwareId(): String? {
        val serial = try {
            Build.getSerial().takeIf { it.isNotBlank() && it != Build.UNKNOWN }
        } catch (_: SecurityException) {
            null
        }
        return serial ?: Settings.Secure.getString(context.contentResolver, Settings.Secure.ANDROID_ID)?.let { "android-$it" }
    }

    private fun kernelBootId(): String? = try {
        // Some builds hide it from apps.
        File("/proc/sys/kernel/random/boot_id").readText().trim().ifEmpty { null }
    } catch (_: IOException) {
        null
    }

    private fun bootCount() = Settings.Global.getInt(context.contentResolver, Settings.Global.BOOT_COUNT, 0)

    private companion object {
        const val MIB = 1L shl 20

        /** The speed test app whose state the heartbeat has fields for. */
        const val SPEEDTEST_PACKAGE = "org.zwanoo.android.speedtest"
    }
}

/** The version code in full. */
internal fun PackageInfo.code(): Long = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) {
    longCode()
} else {
    @Suppress("DEPRECATION")
    versionCode.toLong()
}

@GuardedBySdk
private fun PackageInfo.longCode() = longVersionCode
