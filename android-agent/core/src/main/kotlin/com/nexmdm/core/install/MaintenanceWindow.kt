package com.nexmdm.core.install

import kotlinx.serialization.Serializable
import java.time.DateTimeException
import java.time.Instant
import java.time.LocalTime
import java.time.ZoneId

private val HOUR_MINUTE = Regex("([01][0-9]|2[0-3]):([0-5][0-9])")

/**
 * A maintenance window: hours of the wall clock of one time zone, from [start] until [end] (`HH:MM`), across midnight when
 * [end] is earlier. On days on which clocks change it is as long as the clock makes it.
 */
@Serializable
data class MaintenanceWindow(val start: String = "", val end: String = "", val tz: String = "") {
    /** Whether it is open at [nowMs], ms since 1970; a window that cannot be read never is. */
    fun isOpen(nowMs: Long): Boolean {
        val opens = minuteOfDay(start) ?: return false
        val closes = minuteOfDay(end) ?: return false
        val zone = zone() ?: return false
        val local: LocalTime = Instant.ofEpochMilli(nowMs).atZone(zone).toLocalTime()
        val minute = local.hour * 60 + local.minute
        return if (opens < closes) minute in opens until closes else minute >= opens || minute < closes
    }

    private fun zone(): ZoneId? = try {
        ZoneId.of(tz)
    } catch (_: DateTimeException) {
        null
    }

    private fun minuteOfDay(text: String): Int? {
        val (hour, minute) = HOUR_MINUTE.matchEntire(text)?.destructured ?: return null
        return hour.toInt() * 60 + minute.toInt()
    }
}
