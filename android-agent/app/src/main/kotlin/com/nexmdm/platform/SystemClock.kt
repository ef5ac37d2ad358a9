package com.nexmdm.platform

import com.nexmdm.core.port.Clock
import com.nexmdm.core.port.Randomness
import java.security.SecureRandom

/** The clocks of the device. */
internal object SystemClock : Clock {
    override fun wallMs(): Long = System.currentTimeMillis()

    override fun monotonicMs(): Long = android.os.SystemClock.elapsedRealtime()
}

/** Randomness of the system. */
internal object SystemRandomness : Randomness {
    private val random = SecureRandom()

    override fun below(bound: Long): Long {
        require(bound >= 1) { "bound $bound" }
        // Values beyond the last whole multiple of the bound would favour small results.
        while (true) {
            val bits = random.nextLong() and Long.MAX_VALUE
            val value = bits % bound
            if (bits - value <= Long.MAX_VALUE - (bound - 1)) return value
        }
    }
}
