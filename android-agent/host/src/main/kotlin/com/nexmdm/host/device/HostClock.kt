package com.nexmdm.host.device

import com.nexmdm.core.port.Clock
import com.nexmdm.core.port.Randomness
import java.util.concurrent.ThreadLocalRandom

/** The device's clocks: the machine's time of day, wrong by as much as the profile says, and the time since the simulated boot. */
internal class HostClock(private val boot: Boot, private val offsetMs: () -> Long) : Clock {
    override fun wallMs(): Long = System.currentTimeMillis() + offsetMs()

    override fun monotonicMs(): Long = boot.sinceMs()
}

/** Randomness of the JVM. */
internal object HostRandomness : Randomness {
    override fun below(bound: Long): Long = ThreadLocalRandom.current().nextLong(bound)
}
