package com.nexmdm.core.time

import com.nexmdm.core.port.Randomness
import com.nexmdm.core.testing.TestRandomness
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.constraints.IntRange
import net.jqwik.api.constraints.LongRange
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class BackoffTest {
    private val backoff = Backoff(baseMs = 2_000, capMs = 300_000)

    /** The longest wait that the rules allow. */
    private val longest = Randomness { it - 1 }

    @Test
    fun `the longest wait doubles from two seconds up to five minutes`() {
        val waits = (0..9).map { backoff.delayMs(it, null, longest) }
        assertEquals(listOf<Long>(2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000), waits)
    }

    @Test
    fun `the jitter is full`() {
        val randomness = TestRandomness(1)
        val waits = List(2_000) { backoff.delayMs(3, null, randomness) }
        assertTrue(waits.min() < 200 && waits.max() > 15_800, "${waits.min()}..${waits.max()}")
        assertTrue(waits.average() in 7_000.0..9_000.0, "${waits.average()}")
    }

    @Property
    fun `no wait is longer than the cap or without length`(@ForAll @IntRange(min = 0) failures: Int, @ForAll seed: Long) {
        assertTrue(backoff.delayMs(failures, null, TestRandomness(seed)) in 1..300_000)
    }

    @Property
    fun `no server is bothered earlier than it asked`(@ForAll @LongRange(min = 0, max = 600_000) askedMs: Long, @ForAll seed: Long) {
        val wait = backoff.delayMs(0, askedMs, TestRandomness(seed))
        assertTrue(wait >= askedMs && wait <= askedMs + askedMs / 10, "$wait")
    }

    @Test
    fun `a server that asks for years is taken to mean ten minutes`() {
        assertTrue(backoff.delayMs(0, Long.MAX_VALUE, longest) <= 660_000)
    }

    private fun Randomness(below: (Long) -> Long): Randomness = object : Randomness {
        override fun below(bound: Long): Long = below(bound)
    }
}
