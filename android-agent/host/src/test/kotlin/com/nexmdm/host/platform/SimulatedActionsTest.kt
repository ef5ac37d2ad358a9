package com.nexmdm.host.platform

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.host.ExitStatus
import com.nexmdm.host.RecordingEnd
import com.nexmdm.host.RecordingLog
import com.nexmdm.host.device.AppProfile
import com.nexmdm.host.device.Boot
import com.nexmdm.host.device.DeviceProfile
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class SimulatedActionsTest {
    @TempDir
    lateinit var folder: File

    private val end = RecordingEnd()

    private fun actions(): SimulatedActions {
        val apps = InstalledApps(folder).also { it.seed(DeviceProfile(apps = mapOf("com.example.till" to AppProfile(1)))) }
        return SimulatedActions(folder, apps, Boot(folder), end, RecordingLog())
    }

    private fun perform(action: PlatformAction): ActionOutcome = runBlocking { actions().perform(action) }

    private fun names() = folder.resolve("actions.jsonl").readLines().map { it.substringAfter("\"action\":\"").substringBefore('"') }

    @Test
    fun `every action is put down with its name and without secrets`() {
        val all =
            listOf(
                PlatformAction.Ring(5),
                PlatformAction.LaunchApp("com.example.till", null),
                PlatformAction.RestartApp("com.example.till"),
                PlatformAction.ClearAppData("com.example.till"),
                PlatformAction.Wake,
                PlatformAction.Lock,
                PlatformAction.SetBrightness(60),
                PlatformAction.SetMonitoredApp("com.example.till"),
                PlatformAction.WifiConnect("shop", "wpa2", "secret"),
                PlatformAction.Exec("logs", listOf("/system/bin/logcat")),
            )
        assertEquals(setOf("success"), all.map { perform(it).outcome }.toSet())
        assertEquals(
            listOf(
                "ring",
                "launch_app",
                "restart_app",
                "clear_app_data",
                "wake",
                "lock",
                "set_brightness",
                "set_monitored_app",
                "wifi_connect",
                "exec",
            ),
            names(),
        )
        assertTrue("\"level_pct\":60" in folder.resolve("actions.jsonl").readText())
        assertFalse("secret" in folder.resolve("actions.jsonl").readText())
    }

    @Test
    fun `an app that is not installed cannot be launched`() {
        assertEquals("not_installed", perform(PlatformAction.LaunchApp("com.example.other", null)).code)
    }

    @Test
    fun `a reboot ends the process and begins another boot`() {
        val before = Boot(folder).id
        assertThrows(CancellationException::class.java) { perform(PlatformAction.Reboot) }
        assertEquals(listOf(ExitStatus.RESTART), end.statuses)
        assertEquals(listOf("reboot"), names())
        assertNotEquals(before, Boot(folder).id)
    }
}
