package com.nexmdm.core.agent

import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.warn
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.withTimeoutOrNull

/** How long the platform may take to be read, ms. */
private const val READ_TIMEOUT_MS = 10_000L

/** The device's readings, or null when the platform does not answer in time or breaks off: a heartbeat must not depend on it. */
internal suspend fun Ports.readings(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings? = try {
    withTimeoutOrNull(READ_TIMEOUT_MS) { facts.read(monitoredApp, deployedApps) }.also { if (it == null) log.warn("facts.timeout") }
} catch (e: CancellationException) {
    throw e
} catch (@Suppress("TooGenericExceptionCaught") e: RuntimeException) {
    // Makers' Androids throw what the documentation does not name.
    log.warn("facts.fail", "error" to e::class.simpleName)
    null
}
