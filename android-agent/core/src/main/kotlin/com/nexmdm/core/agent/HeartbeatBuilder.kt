package com.nexmdm.core.agent

import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.wire.Heartbeat

/** What a heartbeat says beside the device's readings. */
data class HeartbeatContext(
    val deviceId: String,
    val alias: String?,
    /** The device's clock, RFC 3339. */
    val timestampUtc: String,
    /** Push token, if the server does not have it yet. */
    val pushToken: String?,
    /** The ping that it answers. */
    val pingRequestId: String?,
    /** Heartbeats that wait. */
    val queueDepth: Int,
    /** Count within the boot. */
    val seq: Long,
)

/** Makes heartbeats of readings. */
object HeartbeatBuilder {
    /** The heartbeat that reports [readings]. */
    fun build(readings: DeviceReadings, context: HeartbeatContext): Heartbeat = Heartbeat(
        deviceId = context.deviceId,
        alias = context.alias,
        appVersion = readings.agentVersionName,
        timestampUtc = context.timestampUtc,
        appVersions = readings.apps.mapValues { (_, app) -> Heartbeat.AppVersion(app.installed, app.versionName, app.versionCode) },
        speedtestRunningSignals =
        Heartbeat.SpeedtestSignals(readings.speedtestHasServiceNotification, readings.speedtestForegroundRecentS),
        battery = Heartbeat.Battery(readings.batteryPct, readings.charging, readings.batteryTemperatureC),
        system = system(readings),
        memory = Heartbeat.Memory(readings.totalRamMb, readings.availRamMb, readings.memoryPressurePct),
        network = Heartbeat.Network(readings.transport?.name?.lowercase(), readings.ssid, readings.carrier, readings.ip),
        fcmToken = context.pushToken,
        isPingResponse = context.pingRequestId != null,
        pingRequestId = context.pingRequestId,
        selfHealHints = readings.selfHealHints,
        isDeviceOwner = readings.isDeviceOwner,
        monitoredForegroundRecentS = readings.monitoredForegroundRecentS,
        unityProcessRunning = readings.monitoredAppRunning,
        powerOk = readings.powerOk,
        dozeWhitelisted = readings.dozeWhitelisted,
        netValidated = readings.netValidated,
        queueDepth = context.queueDepth,
        storageFreeMb = readings.storageFreeMb,
        metered = readings.metered,
        inCall = readings.inCall,
        agentVersionCode = readings.agentVersionCode,
        bootId = readings.bootId,
        seq = context.seq,
    )

    private fun system(readings: DeviceReadings) = Heartbeat.System(
        readings.uptimeSeconds, readings.androidVersion, readings.sdkInt, readings.patchLevel, readings.buildId, readings.model,
        readings.manufacturer, readings.supportedAbis,
    )
}
