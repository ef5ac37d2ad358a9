package com.nexmdm.core.install

import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.constraints.IntRange
import net.jqwik.api.constraints.LongRange
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.time.Instant
import java.time.ZoneId

class MaintenanceWindowTest {
    private fun isOpen(start: String, end: String, tz: String, at: String) =
        MaintenanceWindow(start, end, tz).isOpen(Instant.parse(at).toEpochMilli())

    @Test
    fun `it opens and closes by the clock on the wall, as the server has it`() {
        // The table of the server's own test.
        val table = listOf(
            listOf("09:00", "17:00", "UTC", "2026-11-22T08:59:59Z", false),
            listOf("09:00", "17:00", "UTC", "2026-11-22T09:00:00Z", true),
            listOf("09:00", "17:00", "UTC", "2026-11-22T16:59:59Z", true),
            listOf("09:00", "17:00", "UTC", "2026-11-22T17:00:00Z", false),
            listOf("22:00", "05:00", "Europe/Berlin", "2026-11-22T20:59:59Z", false),
            listOf("22:00", "05:00", "Europe/Berlin", "2026-11-22T21:00:00Z", true),
            listOf("22:00", "05:00", "Europe/Berlin", "2026-11-23T03:59:59Z", true),
            listOf("22:00", "05:00", "Europe/Berlin", "2026-11-23T04:00:00Z", false),
            listOf("22:00", "05:00", "Europe/Berlin", "2026-07-01T20:00:00Z", true),
            // The night in which 02:00 becomes 03:00.
            listOf("02:15", "02:45", "Europe/Berlin", "2026-03-29T01:30:00Z", false),
            listOf("01:30", "03:30", "Europe/Berlin", "2026-03-29T00:59:00Z", true),
            listOf("01:30", "03:30", "Europe/Berlin", "2026-03-29T01:29:00Z", true),
            listOf("01:30", "03:30", "Europe/Berlin", "2026-03-29T01:30:00Z", false),
            // The night in which 03:00 becomes 02:00.
            listOf("02:15", "02:45", "Europe/Berlin", "2026-10-25T00:30:00Z", true),
            listOf("02:15", "02:45", "Europe/Berlin", "2026-10-25T01:30:00Z", true),
            listOf("02:15", "02:45", "Europe/Berlin", "2026-10-25T00:50:00Z", false),
            listOf("00:00", "00:30", "Asia/Kolkata", "2026-11-22T18:45:00Z", true),
        )
        for ((start, end, tz, at, open) in table) {
            assertEquals(open, isOpen(start as String, end as String, tz as String, at as String), "$start-$end $tz at $at")
        }
    }

    @Test
    fun `one that cannot be read is shut`() {
        val wrong = listOf(
            listOf("25:00", "05:00", "UTC"), listOf("22:00", "x", "UTC"), listOf("9:00", "17:00", "UTC"), listOf("00:00", "23:60", "UTC"),
            listOf("00:00", "23:59", "Mars/Olympus"), listOf("00:00", "23:59", ""), listOf("", "", "UTC"),
        )
        for ((start, end, tz) in wrong) assertFalse(isOpen(start, end, tz, "2026-01-10T12:00:00Z"), "$start $end $tz")
    }

    @Property(tries = 300)
    fun `it is open exactly while the wall shows a time of it`(
        @ForAll @IntRange(max = 1439) start: Int,
        @ForAll @IntRange(max = 1439) end: Int,
        @ForAll @LongRange(min = 1_767_000_000, max = 1_830_000_000) second: Long,
        @ForAll @IntRange(max = 4) zone: Int,
    ) {
        val tz = listOf("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu")[zone]
        val clock = { minute: Int -> "%02d:%02d".format(minute / 60, minute % 60) }
        val wall = clock(Instant.ofEpochSecond(second).atZone(ZoneId.of(tz)).let { it.hour * 60 + it.minute })
        // Text of one width sorts as time does.
        val within = if (clock(start) < clock(end)) wall >= clock(start) && wall < clock(end) else wall >= clock(start) || wall < clock(end)
        assertEquals(within, MaintenanceWindow(clock(start), clock(end), tz).isOpen(second * 1_000))
    }

    @Test
    fun `without a known time every window is shut`() {
        val order = checkNotNull(InstallOrder.ofDeployment(DEPLOY_PARAMS))
        val device = FIT_DEVICE
        assertTrue(order.constraints.window != null)
        assertEquals(ErrorCodes.OUTSIDE_WINDOW, device.obstacle(order, null))
    }
}
