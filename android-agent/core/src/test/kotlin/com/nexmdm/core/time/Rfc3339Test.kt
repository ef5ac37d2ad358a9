package com.nexmdm.core.time

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test
import java.time.Instant

class Rfc3339Test {
    private val moment = Instant.parse("2026-11-21T15:36:17.123456Z")

    @Test
    fun `every form of a moment is read`() {
        val forms = listOf(
            "2026-11-21T15:36:17.123456Z", "2026-11-21t15:36:17.123456z", "2026-11-21 15:36:17.123456000000+00:00",
            "2026-11-21T16:36:17.123456+01:00", "2026-11-21T10:06:17.123456-05:30",
        )
        for (form in forms) assertEquals(moment, Rfc3339.parse(form), form)
        assertEquals(1_795_275_377_123, Rfc3339.parseMs(forms[0]))
    }

    @Test
    fun `what is no moment is none`() {
        val texts = listOf(
            "", "soon", "2026-11-21", "2026-11-21T15:36:17", "2026-11-21T15:36Z", "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z",
            "2026-11-21T15:36:175Z", "2026-11-21T15:36:17.Z", "+12026-11-21T15:36:17Z", "2026-11-21T15:36:17Z ",
            "2026-11-21T15:36:17+99:00", "٢٠٢٦-11-21T15:36:17Z", "2026-11-21T15:36:17." + "1".repeat(60) + "Z",
        )
        for (text in texts) assertNull(Rfc3339.parse(text), text)
    }

    @Test
    fun `moments are written in UTC with milliseconds, also impossible ones`() {
        assertEquals("2026-11-21T15:36:17.123Z", Rfc3339.format(1_795_275_377_123))
        assertEquals("1969-12-31T23:59:59.999Z", Rfc3339.format(-1))
        assertEquals("9999-12-31T23:59:59.999Z", Rfc3339.format(Long.MAX_VALUE))
        assertEquals("0000-01-01T00:00:00.000Z", Rfc3339.format(Long.MIN_VALUE))
    }

    @Test
    fun `the date of an HTTP answer is read`() {
        assertEquals(1_795_275_377_000, Rfc3339.parseHttpDateMs("Sat, 21 Nov 2026 15:36:17 GMT"))
        assertNull(Rfc3339.parseHttpDateMs("yesterday"))
    }
}
