package com.nexmdm.core.port

import kotlinx.coroutines.flow.StateFlow
import kotlinx.serialization.json.JsonElement

/** How the device is connected. Wire names are the lower-case names. */
enum class Transport { WIFI, CELLULAR, ETHERNET, NONE, OTHER }

/** The default network. */
data class NetworkState(
    /** How the device is connected. */
    val transport: Transport,
    /** Whether the system validated that the network reaches the Internet, or a network without Internet is in use on purpose. */
    val validated: Boolean,
    /** Whether the network is metered. */
    val metered: Boolean,
)

/** The battery. */
data class PowerState(
    /** Charge, 0..100; null when unknown. */
    val batteryPct: Int?,
    /** Whether it charges. */
    val charging: Boolean,
)

/** Network and power, as they change. */
interface DeviceMonitor {
    /** The default network. */
    val network: StateFlow<NetworkState>

    /** The battery. */
    val power: StateFlow<PowerState>
}

/** One app as a heartbeat reports it. */
data class AppReading(val installed: Boolean, val versionName: String?, val versionCode: Long?)

/** What a heartbeat reports; null means unknown. Units as in the agent API. */
data class DeviceReadings(
    val agentVersionName: String,
    val agentVersionCode: Long,
    val bootId: String,
    val isDeviceOwner: Boolean? = null,
    val batteryPct: Int? = null,
    val charging: Boolean? = null,
    val batteryTemperatureC: Double? = null,
    val uptimeSeconds: Long? = null,
    val androidVersion: String? = null,
    val sdkInt: Int? = null,
    val patchLevel: String? = null,
    val buildId: String? = null,
    val model: String? = null,
    val manufacturer: String? = null,
    /** ABIs of native code, best first, with commas between. */
    val supportedAbis: String? = null,
    val hardwareId: String? = null,
    val totalRamMb: Long? = null,
    val availRamMb: Long? = null,
    val memoryPressurePct: Int? = null,
    val transport: Transport? = null,
    val ssid: String? = null,
    val carrier: String? = null,
    val ip: String? = null,
    val netValidated: Boolean? = null,
    val metered: Boolean? = null,
    val inCall: Boolean? = null,
    val storageFreeMb: Long? = null,
    val powerOk: Boolean? = null,
    val dozeWhitelisted: Boolean? = null,
    /** Seconds since the monitored app was in the foreground, -1 = unknown. */
    val monitoredForegroundRecentS: Long = -1,
    val monitoredAppRunning: Boolean? = null,
    /** Whether the speed test app shows the notification of its service. */
    val speedtestHasServiceNotification: Boolean? = null,
    /** Seconds since the speed test app was in the foreground. */
    val speedtestForegroundRecentS: Long? = null,
    /** Watched apps by package name. */
    val apps: Map<String, AppReading> = emptyMap(),
    /** Opaque hints of the agent's self-repair. */
    val selfHealHints: JsonElement? = null,
)

/** Reads the device's facts. */
interface DeviceFacts {
    /**
     * Reads everything; [monitoredApp] is the package that the server wants watched, if it named one. Of it and of [deployedApps] the
     * version is read.
     */
    suspend fun read(monitoredApp: String?, deployedApps: Set<String> = emptySet()): DeviceReadings

    /** Identifies this boot; changes with every reboot. */
    fun bootId(): String

    /** Version code of the agent that runs. */
    fun agentVersionCode(): Long

    /** Package name of the agent. */
    fun agentPackage(): String
}
