package com.nexmdm.core.time

import java.time.DateTimeException
import java.time.Instant
import java.time.OffsetDateTime
import java.time.ZoneOffset
import java.time.format.DateTimeFormatter

/** Times as the agent API writes them (RFC 3339), and as HTTP does (RFC 9110, section 5.6.7). */
object Rfc3339 {
    private val SHAPE = Regex("""\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})""")
    private val BEYOND_NANOSECONDS = Regex("""(?<=\.\d{9})\d+""")
    private val OUTPUT: DateTimeFormatter = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC)

    /** The moment that [text] names, or null when it is no RFC 3339 time. */
    fun parse(text: String): Instant? {
        if (text.length > MAX_CHARS || !SHAPE.matches(text)) return null
        return try {
            OffsetDateTime.parse(text.uppercase().replace(' ', 'T').replace(BEYOND_NANOSECONDS, "")).toInstant()
        } catch (_: DateTimeException) {
            null
        }
    }

    /** The same in ms since 1970, fractions cut off. */
    fun parseMs(text: String): Long? = parse(text)?.toEpochMilli()

    /** A moment in ms since 1970 as UTC with milliseconds; moments beyond the years 0..9999 become the nearest of those. */
    fun format(epochMs: Long): String = OUTPUT.format(Instant.ofEpochMilli(epochMs.coerceIn(YEAR_0_MS, YEAR_9999_MS)))

    /** The moment of an HTTP `Date` header in ms since 1970 (whole seconds), or null. */
    fun parseHttpDateMs(text: String): Long? = try {
        Instant.from(DateTimeFormatter.RFC_1123_DATE_TIME.parse(text)).toEpochMilli()
    } catch (_: DateTimeException) {
        null
    }

    private const val MAX_CHARS = 64
    private const val YEAR_0_MS = -62_167_219_200_000
    private const val YEAR_9999_MS = 253_402_300_799_999
}
