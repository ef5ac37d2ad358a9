package com.nexmdm.host.device

import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json

/** An app of the simulated device. */
@Serializable
internal data class AppProfile(
    @SerialName("version_code") val versionCode: Long,
    @SerialName("version_name") val versionName: String? = null,
    /** SHA-256 of the certificates that may sign an update of it, lower-case hex; null: those of the first file of it. */
    val signers: Set<String>? = null,
)

/** How the simulated system decides about installations. */
@Serializable
internal enum class VerdictProfile {
    /** As Android would by the file itself. */
    @SerialName("installed")
    INSTALLED,

    /** A policy or a person forbids it. */
    @SerialName("not_permitted")
    NOT_PERMITTED,

    /** It fails. */
    @SerialName("install_failed")
    INSTALL_FAILED,

    /** It never decides. */
    @SerialName("hang")
    HANG,
}

/** Installations on the simulated device. */
@Serializable
internal data class InstallProfile(
    val verdict: VerdictProfile = VerdictProfile.INSTALLED,
    /** Time from commit to verdict, ms. */
    val ms: Long = 0,
)

/** The simulated device, as a file that may change while the agent runs; what is not named is as a healthy device has it. */
@Serializable
internal data class DeviceProfile(
    val model: String = "Host",
    val manufacturer: String = "NexMDM",
    @SerialName("android_version") val androidVersion: String = "13",
    @SerialName("sdk_int") val sdkInt: Int = 33,
    @SerialName("patch_level") val patchLevel: String? = "2025-08-05",
    @SerialName("build_id") val buildId: String? = "HOST.250805.001",
    /** ABIs of native code, with commas between. */
    @SerialName("supported_abis") val supportedAbis: String? = "arm64-v8a,armeabi-v7a,armeabi",
    /** Null: one that is made with the state folder and stays. */
    @SerialName("hardware_id") val hardwareId: String? = null,
    /** 0..100; null: unknown. */
    @SerialName("battery_pct") val batteryPct: Int? = 80,
    val charging: Boolean = false,
    @SerialName("battery_temperature_c") val batteryTemperatureC: Double? = 25.0,
    /** `wifi`, `cellular`, `ethernet`, `none` or `other`. */
    val transport: TransportProfile = TransportProfile.WIFI,
    val metered: Boolean = false,
    val validated: Boolean = true,
    val ssid: String? = "host",
    val carrier: String? = null,
    /** MiB. */
    @SerialName("total_ram_mb") val totalRamMb: Long? = 4_096,
    /** MiB. */
    @SerialName("avail_ram_mb") val availRamMb: Long? = 2_048,
    /** MiB. */
    @SerialName("storage_free_mb") val storageFreeMb: Long = 5_120,
    @SerialName("in_call") val inCall: Boolean = false,
    @SerialName("is_device_owner") val isDeviceOwner: Boolean = true,
    @SerialName("doze_whitelisted") val dozeWhitelisted: Boolean = true,
    /** What the device's clock says, less the true time, ms. */
    @SerialName("clock_offset_ms") val clockOffsetMs: Long = 0,
    /** Whether the monitored app runs; null: it does if it is installed. */
    @SerialName("monitored_app_running") val monitoredAppRunning: Boolean? = null,
    /** Apps that are installed when the device is new. */
    val apps: Map<String, AppProfile> = emptyMap(),
    val install: InstallProfile = InstallProfile(),
    /** The agent that is installed when the device is new. */
    val agent: AppProfile = AppProfile(versionCode = 1, versionName = "1.0.0"),
) {
    /** The default network. */
    val network: NetworkState get() = NetworkState(transport.port, validated && transport != TransportProfile.NONE, metered)

    /** The battery. */
    val power: PowerState get() = PowerState(batteryPct, charging)

    companion object {
        // A name that is misspelt is refused: silently ignored it would make a test of a healthy device.
        private val json = Json { ignoreUnknownKeys = false }

        /** Reads a profile. Throws [IllegalArgumentException] that names the problem. */
        fun parse(text: String): DeviceProfile {
            val profile = json.decodeFromString(serializer(), text)
            require(profile.batteryPct == null || profile.batteryPct in 0..PCT_MAX) { "battery_pct is not 0..$PCT_MAX" }
            require(profile.storageFreeMb >= 0) { "storage_free_mb is negative" }
            require(profile.install.ms >= 0) { "install.ms is negative" }
            require(profile.agent.versionCode >= 0) { "agent.version_code is negative" }
            return profile
        }

        private const val PCT_MAX = 100
    }
}

/** A transport by its name in profiles. */
@Serializable
internal enum class TransportProfile(val port: Transport) {
    @SerialName("wifi")
    WIFI(Transport.WIFI),

    @SerialName("cellular")
    CELLULAR(Transport.CELLULAR),

    @SerialName("ethernet")
    ETHERNET(Transport.ETHERNET),

    @SerialName("none")
    NONE(Transport.NONE),

    @SerialName("other")
    OTHER(Transport.OTHER),
}
