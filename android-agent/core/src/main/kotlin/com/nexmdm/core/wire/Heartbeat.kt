package com.nexmdm.core.wire

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonElement

/** Body of `POST /v1/heartbeat`; an element of `POST /v1/heartbeats`. What is unknown is left out. */
@Serializable
data class Heartbeat(
    @SerialName("device_id") val deviceId: String? = null,
    val alias: String? = null,
    @SerialName("app_version") val appVersion: String? = null,
    /** The device's clock. */
    @SerialName("timestamp_utc") val timestampUtc: String? = null,
    /** Watched packages by name. */
    @SerialName("app_versions") val appVersions: Map<String, AppVersion>? = null,
    @SerialName("speedtest_running_signals") val speedtestRunningSignals: SpeedtestSignals? = null,
    val battery: Battery? = null,
    val system: System? = null,
    val memory: Memory? = null,
    val network: Network? = null,
    /** Push token, when it changed. */
    @SerialName("fcm_token") val fcmToken: String? = null,
    @SerialName("is_ping_response") val isPingResponse: Boolean? = null,
    @SerialName("ping_request_id") val pingRequestId: String? = null,
    @SerialName("self_heal_hints") val selfHealHints: JsonElement? = null,
    @SerialName("is_device_owner") val isDeviceOwner: Boolean? = null,
    /** -1 = unknown. */
    @SerialName("monitored_foreground_recent_s") val monitoredForegroundRecentS: Long? = null,
    @SerialName("unity_process_running") val unityProcessRunning: Boolean? = null,
    @SerialName("power_ok") val powerOk: Boolean? = null,
    @SerialName("doze_whitelisted") val dozeWhitelisted: Boolean? = null,
    @SerialName("net_validated") val netValidated: Boolean? = null,
    /** Heartbeats that wait on the device. */
    @SerialName("queue_depth") val queueDepth: Int? = null,
    @SerialName("storage_free_mb") val storageFreeMb: Long? = null,
    val metered: Boolean? = null,
    @SerialName("in_call") val inCall: Boolean? = null,
    @SerialName("agent_version_code") val agentVersionCode: Long? = null,
    @SerialName("boot_id") val bootId: String? = null,
    /** Counts heartbeats within a boot. */
    val seq: Long? = null,
) {
    /** One watched package. */
    @Serializable
    data class AppVersion(
        val installed: Boolean? = null,
        @SerialName("version_name") val versionName: String? = null,
        @SerialName("version_code") val versionCode: Long? = null,
    )

    /** Signals of the speed test app. */
    @Serializable
    data class SpeedtestSignals(
        @SerialName("has_service_notification") val hasServiceNotification: Boolean? = null,
        @SerialName("foreground_recent_seconds") val foregroundRecentSeconds: Long? = null,
    )

    /** The battery; percent and degrees Celsius. */
    @Serializable
    data class Battery(
        val pct: Int? = null,
        val charging: Boolean? = null,
        @SerialName("temperature_c") val temperatureC: Double? = null,
    )

    /** Operating system and hardware. */
    @Serializable
    data class System(
        @SerialName("uptime_seconds") val uptimeSeconds: Long? = null,
        @SerialName("android_version") val androidVersion: String? = null,
        @SerialName("sdk_int") val sdkInt: Int? = null,
        @SerialName("patch_level") val patchLevel: String? = null,
        @SerialName("build_id") val buildId: String? = null,
        val model: String? = null,
        val manufacturer: String? = null,
        @SerialName("supported_abis") val supportedAbis: String? = null,
    )

    /** Memory in MiB. */
    @Serializable
    data class Memory(
        @SerialName("total_ram_mb") val totalRamMb: Long? = null,
        @SerialName("avail_ram_mb") val availRamMb: Long? = null,
        @SerialName("pressure_pct") val pressurePct: Int? = null,
    )

    /** The default network. */
    @Serializable
    data class Network(
        /** `wifi`, `cellular`, `ethernet`, `none` or `other`. */
        val transport: String? = null,
        val ssid: String? = null,
        val carrier: String? = null,
        val ip: String? = null,
    )
}
