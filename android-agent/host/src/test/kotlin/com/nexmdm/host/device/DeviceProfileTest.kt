package com.nexmdm.host.device

import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import com.nexmdm.host.RecordingLog
import com.nexmdm.host.UsageException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

class DeviceProfileTest {
    @TempDir
    lateinit var folder: File

    private val file get() = folder.resolve("profile.json")

    @Test
    fun `everything may be said, and nothing has to be`() {
        val full =
            """{"model":"Orbic Joy 2","manufacturer":"Orbic","android_version":"13","sdk_int":31,"hardware_id":"h1","battery_pct":9,
                "charging":true,"transport":"cellular","metered":true,"validated":false,"ssid":null,"storage_free_mb":7,"in_call":true,
                "clock_offset_ms":-31536000000,"apps":{"com.example.till":{"version_code":2,"version_name":"2.0","signers":["ab"]}},
                "install":{"verdict":"hang","ms":50},"agent":{"version_code":140,"version_name":"1.4.0"}}"""
        val profile = DeviceProfile.parse(full)
        assertEquals(NetworkState(Transport.CELLULAR, validated = false, metered = true), profile.network)
        assertEquals(PowerState(9, charging = true), profile.power)
        assertEquals(InstallProfile(VerdictProfile.HANG, 50), profile.install)
        assertEquals(AppProfile(2, "2.0", setOf("ab")), profile.apps["com.example.till"])
        assertEquals(AppProfile(140, "1.4.0"), profile.agent)
        assertEquals(listOf<Any>(31, 7L, -31_536_000_000L), listOf<Any>(profile.sdkInt, profile.storageFreeMb, profile.clockOffsetMs))
        assertEquals(DeviceProfile(), DeviceProfile.parse("{}"))
    }

    @Test
    fun `without a network none is validated`() {
        val none = NetworkState(Transport.NONE, validated = false, metered = false)
        assertEquals(none, DeviceProfile.parse("""{"transport":"none"}""").network)
    }

    @Test
    fun `what cannot be meant is refused`() {
        val wrong =
            listOf(
                """{"batery_pct":5}""",
                """{"battery_pct":101}""",
                """{"transport":"pigeon"}""",
                """{"install":{"verdict":"maybe"}}""",
                """{"install":{"ms":-1}}""",
                """{"storage_free_mb":-1}""",
                "[",
            )
        for (text in wrong) assertThrows(IllegalArgumentException::class.java, { DeviceProfile.parse(text) }, text)
    }

    @Test
    fun `a file that cannot be used ends the start`() {
        assertThrows(UsageException::class.java) { ProfileFile(file, RecordingLog()) }
        file.writeText("{")
        assertThrows(UsageException::class.java) { ProfileFile(file, RecordingLog()) }
    }

    @Test
    fun `a change is seen at the next reading, a half written one is passed over`() {
        file.writeText("""{"battery_pct":50}""")
        val log = RecordingLog()
        val profile = ProfileFile(file, log)
        assertEquals(50, profile.refresh().batteryPct)
        file.writeText("""{"battery_pct":""")
        assertEquals(50, profile.refresh().batteryPct)
        file.writeText("""{"battery_pct":null}""")
        assertNull(profile.refresh().batteryPct)
        assertEquals(listOf("profile.unreadable", "profile.changed"), log.events)
    }

    @Test
    fun `a change is told while nobody reads`() {
        file.writeText("""{"transport":"none"}""")
        val changes = LinkedBlockingQueue<DeviceProfile>()
        ProfileFile(file, RecordingLog()).use { profile ->
            profile.watch(changes::add)
            val replacement = folder.resolve("profile.json.new").also { it.writeText("""{"transport":"wifi"}""") }
            assertTrue(replacement.renameTo(file))
            assertEquals(TransportProfile.WIFI, changes.poll(10, TimeUnit.SECONDS)?.transport)
        }
    }
}
