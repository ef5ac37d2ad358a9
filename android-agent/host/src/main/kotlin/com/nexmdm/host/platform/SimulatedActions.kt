package com.nexmdm.host.platform

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.info
import com.nexmdm.host.ExitStatus
import com.nexmdm.host.ProcessEnd
import com.nexmdm.host.device.Boot
import com.nexmdm.host.device.SimulatedDevice
import com.nexmdm.host.storage.AtomicFile
import com.nexmdm.host.storage.appendLine
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import java.io.File
import java.io.IOException
import java.time.Instant
import java.time.temporal.ChronoUnit

/** The platform's calls behind commands: each is put down in `actions.jsonl` when it is performed, so that tests can count. */
internal class SimulatedActions(
    private val platformFolder: File,
    private val apps: InstalledApps,
    private val boot: Boot,
    private val end: ProcessEnd,
    private val log: EventLog,
) : Actions {
    private val journal = AtomicFile.append(platformFolder.resolve("actions.jsonl"))

    override suspend fun perform(action: PlatformAction): ActionOutcome =
        try {
            note(action)
            carryOut(action)
        } catch (e: IOException) {
            ActionOutcome.failed("storage", "the simulated device cannot write: ${e.message}")
        }

    private fun carryOut(action: PlatformAction): ActionOutcome =
        when (action) {
            is PlatformAction.LaunchApp -> ofInstalled(action.packageName)
            is PlatformAction.RestartApp -> ofInstalled(action.packageName)
            is PlatformAction.ClearAppData -> ofInstalled(action.packageName)
            is PlatformAction.RestartIntent -> ofInstalled(action.packageName)
            is PlatformAction.WifiConnect -> {
                AtomicFile.write(platformFolder.resolve(SimulatedDevice.JOINED_WIFI), action.ssid)
                ActionOutcome.SUCCESS
            }
            is PlatformAction.Exec -> ActionOutcome("success", data = buildJsonObject { put("exit_code", 0) })
            PlatformAction.Reboot -> {
                boot.reboot()
                log.info("platform.restart", "reason" to "reboot")
                end.now(ExitStatus.RESTART)
            }
            // Nothing to hear or to see on a simulated device; the noise of a ring goes on beside its result.
            is PlatformAction.Ring, PlatformAction.Wake, PlatformAction.Lock,
            is PlatformAction.SetBrightness, is PlatformAction.SetMonitoredApp,
            -> ActionOutcome.SUCCESS
        }

    private fun ofInstalled(packageName: String): ActionOutcome =
        when (apps.find(packageName)) {
            null -> ActionOutcome.failed("not_installed", "$packageName is not installed")
            else -> ActionOutcome.SUCCESS
        }

    @Synchronized
    private fun note(action: PlatformAction) {
        val line =
            buildJsonObject {
                put("ts", Instant.now().truncatedTo(ChronoUnit.MILLIS).toString())
                put("action", nameOf(action))
                packageOf(action)?.let { put("package", it) }
                if (action is PlatformAction.Exec) put("name", action.name)
                if (action is PlatformAction.Ring) put("duration_s", action.durationS)
                if (action is PlatformAction.SetBrightness) put("level_pct", action.levelPct)
            }
        journal.appendLine(line.toString())
    }

    private fun nameOf(action: PlatformAction): String =
        when (action) {
            is PlatformAction.Ring -> "ring"
            PlatformAction.Reboot -> "reboot"
            is PlatformAction.LaunchApp -> "launch_app"
            is PlatformAction.RestartApp -> "restart_app"
            is PlatformAction.ClearAppData -> "clear_app_data"
            PlatformAction.Wake -> "wake"
            PlatformAction.Lock -> "lock"
            is PlatformAction.SetBrightness -> "set_brightness"
            is PlatformAction.SetMonitoredApp -> "set_monitored_app"
            is PlatformAction.WifiConnect -> "wifi_connect"
            is PlatformAction.Exec -> "exec"
            is PlatformAction.RestartIntent -> "restart_intent"
        }

    private fun packageOf(action: PlatformAction): String? =
        when (action) {
            is PlatformAction.LaunchApp -> action.packageName
            is PlatformAction.RestartApp -> action.packageName
            is PlatformAction.ClearAppData -> action.packageName
            is PlatformAction.SetMonitoredApp -> action.packageName
            is PlatformAction.RestartIntent -> action.packageName
            else -> null
        }
}
