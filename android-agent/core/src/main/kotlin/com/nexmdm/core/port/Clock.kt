package com.nexmdm.core.port

/** The two clocks of a device. */
interface Clock {
    /** The device's idea of the time of day, in ms since 1970; may be wrong by years and jump. */
    fun wallMs(): Long

    /** Time since boot in ms, sleep included (`elapsedRealtime`, `CLOCK_BOOTTIME`); never steps back within a boot. */
    fun monotonicMs(): Long
}

/** Randomness for jitter and identifiers. */
interface Randomness {
    /** Uniform in `[0, bound)`; `bound` is at least 1. */
    fun below(bound: Long): Long
}
