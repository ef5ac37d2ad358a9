package com.nexmdm.core.agent

import com.nexmdm.core.port.AppReading
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.Transport
import com.nexmdm.core.wire.Heartbeat
import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File

class HeartbeatTest {
    /** The server's own fixture. */
    private val fixture = File("../../actors/wire/fixtures/heartbeat.json").readText()

    private val readings = DeviceReadings(
        agentVersionName = "1.4.0", agentVersionCode = 140, bootId = "b-1", isDeviceOwner = true, batteryPct = 83, charging = true,
        batteryTemperatureC = 31.5, uptimeSeconds = 86_400, androidVersion = "13", sdkInt = 33, patchLevel = "2025-08-05", buildId = "TQ3A",
        model = "Orbic Joy 2", manufacturer = "Orbic", supportedAbis = "arm64-v8a,armeabi-v7a", hardwareId = "never told",
        totalRamMb = 3_891, availRamMb = 1_210,
        memoryPressurePct = 69, transport = Transport.WIFI, ssid = "shop", ip = "192.0.2.7", netValidated = true, metered = false,
        inCall = false, storageFreeMb = 5_120, powerOk = true, dozeWhitelisted = true, monitoredForegroundRecentS = 12,
        monitoredAppRunning = true, speedtestHasServiceNotification = false,
        apps = mapOf("io.unitynodes.unityapp" to AppReading(true, "3.2.1", 321)),
    )
    private val context = HeartbeatContext(
        deviceId = "00000000-0000-0000-0000-000000000007", alias = "kiosk-17", timestampUtc = "2026-11-21T15:36:17Z", pushToken = "fcm-1",
        pingRequestId = null, queueDepth = 0, seq = 4_711,
    )

    @Test
    fun `what is read from the fixture is what the readings make`() {
        assertEquals(WireJson.decodeFromString(Heartbeat.serializer(), fixture), HeartbeatBuilder.build(readings, context))
    }

    @Test
    fun `what is written is the fixture, but for nulls and what only tomorrow's agents say`() {
        val expected = JsonObject((WireJson.parseToJsonElement(fixture) as JsonObject) - "a_field_of_tomorrow")
        val written = WireJson.encodeToJsonElement(Heartbeat.serializer(), HeartbeatBuilder.build(readings, context))
        assertEquals(withoutNulls(expected), written)
    }

    @Test
    fun `a heartbeat that answers a ping says which`() {
        val heartbeat = HeartbeatBuilder.build(readings, context.copy(pingRequestId = "r-9"))
        assertEquals(true to "r-9", heartbeat.isPingResponse to heartbeat.pingRequestId)
    }

    @Test
    fun `unknown readings are left out`() {
        val text = WireJson.encodeToString(Heartbeat.serializer(), HeartbeatBuilder.build(DeviceReadings("1", 1, "b"), context))
        assertTrue("null" !in text && "hardware" !in text, text)
    }

    @Test
    fun `the first heartbeat is due at once, later ones when the server says`() {
        val start = HeartbeatSchedule.startingAt(1_000, null)
        assertEquals(1_000, start.nextAtMs)
        assertEquals(301_000, start.made(1_000).nextAtMs)
        val told = start.made(1_000).answered(60, 2_000)
        assertEquals(62_000 to 122_000, told.nextAtMs.toInt() to told.made(62_000).nextAtMs.toInt())
    }

    @Test
    fun `an interval that is set on the device stands`() {
        assertEquals(11_000, HeartbeatSchedule.startingAt(1_000, 10_000).made(1_000).answered(300, 2_000).nextAtMs)
    }

    @Property
    fun `no answer silences a device for more than a day or makes it spin`(@ForAll seconds: Long) {
        val next = HeartbeatSchedule.startingAt(0, null).answered(seconds, 0).nextAtMs
        assertTrue(next in 1_000..86_400_000, "$next")
    }

    private fun withoutNulls(element: JsonElement): JsonElement = when (element) {
        is JsonObject -> JsonObject(element.filterValues { it !is JsonNull }.mapValues { withoutNulls(it.value) })
        else -> element
    }
}
