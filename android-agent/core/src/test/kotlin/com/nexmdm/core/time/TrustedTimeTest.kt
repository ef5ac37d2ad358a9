package com.nexmdm.core.time

import com.nexmdm.core.testing.MemoryTimePersistence
import com.nexmdm.core.testing.TestClock
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class TrustedTimeTest {
    private val builtAtMs = TestClock.START_MS - 10 * DAY_MS
    private val saved = MemoryTimePersistence()
    private val clock = TestClock()

    private fun time(bootId: String = "boot-1") = TrustedTime(clock, bootId, saved, builtAtMs)

    private fun TrustedTime.learnNow(serverMs: Long, roundTripMs: Long = 0) =
        learn(serverMs, clock.monotonicMs() - roundTripMs, clock.monotonicMs())

    @Test
    fun `a wall clock wrong by a year does not matter once the server told its time`() {
        clock.setWall(TestClock.START_MS - YEAR_MS)
        val time = time()
        assertEquals(TimeSource.NONE, time.source)
        assertNull(time.reliableNowMs())
        time.learnNow(TestClock.START_MS)
        assertEquals(TestClock.START_MS, time.nowMs())
        assertEquals(YEAR_MS, time.skewMs())
        clock.setWall(TestClock.START_MS + YEAR_MS)
        clock.advance(5_000)
        assertTrue(time.isKnown)
        assertEquals(TestClock.START_MS + 5_000, time.reliableNowMs())
        assertEquals(-YEAR_MS, time.skewMs())
    }

    @Test
    fun `a restart in the same boot keeps the time, whatever became of the wall clock`() {
        time().learnNow(TestClock.START_MS + 60_000)
        clock.setWall(0)
        val again = time()
        assertEquals(TimeSource.SERVER, again.source)
        assertEquals(TestClock.START_MS + 60_000, again.nowMs())
    }

    @Test
    fun `after a reboot the wall clock with its last skew serves`() {
        time().learnNow(TestClock.START_MS + 60_000)
        clock.reboot()
        clock.advance(1_000)
        val rebooted = time("boot-2")
        assertEquals(TimeSource.LAST_SKEW, rebooted.source)
        assertFalse(rebooted.isKnown)
        assertEquals(TestClock.START_MS + 61_000, rebooted.reliableNowMs())
    }

    @Test
    fun `a wall clock that lost its time in a reboot is not believed`() {
        time().learnNow(TestClock.START_MS)
        clock.reboot()
        clock.setWall(builtAtMs + DAY_MS)
        val rebooted = time("boot-2")
        assertEquals(TimeSource.NONE, rebooted.source)
        assertNull(rebooted.reliableNowMs())
        rebooted.learnNow(TestClock.START_MS + 5)
        assertEquals(TestClock.START_MS + 5, rebooted.reliableNowMs())
    }

    @Test
    fun `the wall clock alone serves while it is not before the build`() {
        assertEquals(TimeSource.WALL_CLOCK, time().source)
        assertEquals(TestClock.START_MS, time().reliableNowMs())
        clock.setWall(builtAtMs - 1)
        assertEquals(TimeSource.NONE, time().source)
    }

    @Test
    fun `an answer that agrees does not move the estimate and one that does not does`() {
        val time = time()
        time.learnNow(TestClock.START_MS)
        time.learnNow(TestClock.START_MS - 400, roundTripMs = 1_000)
        assertEquals(TestClock.START_MS, time.nowMs())
        time.learnNow(TestClock.START_MS + 10_000, roundTripMs = 100)
        assertEquals(TestClock.START_MS + 10_050, time.nowMs())
    }

    @Test
    fun `a time cut off to seconds is taken as such`() {
        val time = time()
        time.learnNow(TestClock.START_MS + 700)
        time.learn(TestClock.START_MS, clock.monotonicMs(), clock.monotonicMs(), resolutionMs = 1_000)
        assertEquals(TestClock.START_MS + 700, time.nowMs())
    }

    @Test
    fun `answers without sense teach nothing`() {
        val time = time()
        time.learn(TestClock.START_MS, clock.monotonicMs(), clock.monotonicMs() - 1)
        time.learn(TestClock.START_MS, clock.monotonicMs() - 60_001, clock.monotonicMs())
        time.learn(Long.MAX_VALUE, clock.monotonicMs(), clock.monotonicMs())
        time.learn(-1, clock.monotonicMs(), clock.monotonicMs())
        assertFalse(time.isKnown)
    }

    @Test
    fun `an unreadable record counts as none`() {
        saved.document = """{"boot_id":"""
        assertEquals(TimeSource.WALL_CLOCK, time().source)
    }

    private companion object {
        const val DAY_MS = 86_400_000L
        const val YEAR_MS = 365 * DAY_MS
    }
}
