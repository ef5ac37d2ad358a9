package com.nexmdm.host.device

import com.nexmdm.core.port.AppReading
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import com.nexmdm.host.platform.InstalledApps
import com.nexmdm.host.storage.AtomicFile
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import java.io.File
import java.util.UUID

/** The device's facts, as profile and installed apps say. */
internal class SimulatedDevice(
    private val profile: ProfileFile,
    private val boot: Boot,
    private val apps: InstalledApps,
    private val platformFolder: File,
) : DeviceFacts, DeviceMonitor {
    // The agent that runs is the one that was installed when its process began.
    private val agent: AppProfile = apps.find(AGENT_PACKAGE) ?: profile.current.agent

    /** Identifies the device to the server. */
    val hardwareId: String by lazy { profile.current.hardwareId ?: ownHardwareId() }
    private val networkState = MutableStateFlow(profile.current.network)
    private val powerState = MutableStateFlow(profile.current.power)

    override val network: StateFlow<NetworkState> get() = networkState
    override val power: StateFlow<PowerState> get() = powerState

    /** Follows changes of the profile. */
    fun start() {
        profile.watch { changed ->
            networkState.value = changed.network
            powerState.value = changed.power
        }
    }

    override suspend fun read(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings {
        val now = profile.refresh()
        val installed = apps.all()
        val isMonitoredInstalled = monitoredApp != null && monitoredApp in installed
        val isWifi = now.transport.port == Transport.WIFI
        return DeviceReadings(
            agentVersionName = agent.versionName ?: agent.versionCode.toString(),
            agentVersionCode = agent.versionCode,
            bootId = boot.id,
            isDeviceOwner = now.isDeviceOwner,
            batteryPct = now.batteryPct,
            charging = now.charging,
            batteryTemperatureC = now.batteryTemperatureC,
            uptimeSeconds = boot.sinceMs() / MS_PER_S,
            androidVersion = now.androidVersion,
            sdkInt = now.sdkInt,
            patchLevel = now.patchLevel,
            buildId = now.buildId,
            model = now.model,
            manufacturer = now.manufacturer,
            supportedAbis = now.supportedAbis,
            hardwareId = hardwareId,
            totalRamMb = now.totalRamMb,
            availRamMb = now.availRamMb,
            memoryPressurePct = pressurePct(now),
            transport = now.transport.port,
            ssid = if (isWifi) joinedSsid() ?: now.ssid else null,
            carrier = now.carrier,
            netValidated = now.network.validated,
            metered = now.metered,
            inCall = now.inCall,
            storageFreeMb = now.storageFreeMb,
            powerOk = now.isDeviceOwner && now.dozeWhitelisted,
            dozeWhitelisted = now.dozeWhitelisted,
            monitoredAppRunning = monitoredApp?.let { now.monitoredAppRunning ?: isMonitoredInstalled },
            apps = readings(installed, deployedApps + listOfNotNull(monitoredApp)),
        )
    }

    override fun bootId(): String = boot.id

    override fun agentVersionCode(): Long = agent.versionCode

    override fun agentPackage(): String = AGENT_PACKAGE

    private fun readings(installed: Map<String, AppProfile>, watched: Set<String>): Map<String, AppReading> =
        watched.associateWith { name ->
            installed[name]?.let { AppReading(true, it.versionName, it.versionCode) } ?: AppReading(false, null, null)
        }

    private fun pressurePct(now: DeviceProfile): Int? {
        val total = now.totalRamMb?.takeIf { it > 0 } ?: return null
        val available = now.availRamMb ?: return null
        return ((total - available) * PCT / total).toInt()
    }

    private fun joinedSsid(): String? = AtomicFile.read(platformFolder.resolve(JOINED_WIFI))

    private fun ownHardwareId(): String {
        val file = platformFolder.resolve("hardware_id")
        AtomicFile.read(file)?.trim()?.ifEmpty { null }?.let { return it }
        return "host-${UUID.randomUUID()}".also { AtomicFile.write(file, it) }
    }

    companion object {
        /** Package of the agent. */
        const val AGENT_PACKAGE: String = "com.nexmdm"

        /** File with the name of the Wi-Fi that a command joined. */
        const val JOINED_WIFI: String = "joined_ssid"
        private const val MS_PER_S = 1_000
        private const val PCT = 100
    }
}
