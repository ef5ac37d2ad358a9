package com.nexmdm.core.install

import com.nexmdm.core.port.Transport

private const val MIB_BYTES = 1L shl 20

/** State of the device on which an installation depends; null means unknown, which stands in the way of nothing. */
data class DeviceCondition(
    val batteryPct: Int?,
    val charging: Boolean?,
    val transport: Transport,
    val metered: Boolean,
    val storageFreeBytes: Long,
    val inCall: Boolean?,
    val sdkInt: Int?,
    /** Bytes of the download that are on disk already. */
    val downloadedBytes: Long = 0,
) {
    /**
     * Error code of the first constraint of [order] that does not hold at [nowMs] (server time, ms since 1970; null when unknown, and
     * then every window is shut); null when all hold.
     */
    fun obstacle(order: InstallOrder, nowMs: Long?): String? {
        val wanted = order.constraints
        val network = if (wanted.wifiOnly) networkObstacle(transport, metered) else null
        // The download, and what it becomes once it is installed.
        val neededBytes = (wanted.minStorageFreeMb ?: 0.0) * MIB_BYTES + 2.0 * order.apk.sizeBytes - downloadedBytes
        return when {
            wanted.window != null && (nowMs == null || !wanted.window.isOpen(nowMs)) -> ErrorCodes.OUTSIDE_WINDOW
            network != null -> network
            wanted.chargingOnly && charging == false -> ErrorCodes.NOT_CHARGING
            wanted.minBatteryPct != null && batteryPct != null && batteryPct < wanted.minBatteryPct -> ErrorCodes.LOW_BATTERY
            storageFreeBytes < neededBytes -> ErrorCodes.LOW_STORAGE
            inCall == true && !order.mustInstall -> ErrorCodes.IN_CALL
            else -> null
        }
    }
}

/** Why a network is none for `wifi_only`: as the server has it, cable is as good as Wi-Fi. */
internal fun networkObstacle(transport: Transport, metered: Boolean): String? = when {
    transport != Transport.WIFI && transport != Transport.ETHERNET -> ErrorCodes.NO_WIFI
    metered -> ErrorCodes.METERED
    else -> null
}
