package com.nexmdm.core.testing

import com.nexmdm.core.port.Clock
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.Randomness
import com.nexmdm.core.port.SecretStore
import com.nexmdm.core.time.TimePersistence
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.test.TestCoroutineScheduler
import java.io.IOException
import java.util.Random

/**
 * Clocks that go with the virtual time of [scheduler], if there is one, and by [advance]. The wall clock may also be set and jump; a
 * reboot starts the monotonic one anew.
 */
@OptIn(ExperimentalCoroutinesApi::class)
class TestClock(private var wallMs: Long = START_MS, private val scheduler: TestCoroutineScheduler? = null) : Clock {
    private var monotonicMs: Long = 1_000_000
    private var advancedMs: Long = 0

    private fun passedMs(): Long = advancedMs + (scheduler?.currentTime ?: 0)

    override fun wallMs(): Long = wallMs + passedMs()

    override fun monotonicMs(): Long = monotonicMs + passedMs()

    /** Lets time pass on both clocks. */
    fun advance(byMs: Long) {
        advancedMs += byMs
    }

    /** Sets the wall clock. */
    fun setWall(toMs: Long) {
        wallMs = toMs - passedMs()
    }

    /** Starts the monotonic clock anew. */
    fun reboot() {
        monotonicMs = 1_000 - passedMs()
    }

    companion object {
        /** 2026-11-21T15:36:17Z, the `now` of the fixtures. */
        const val START_MS: Long = 1_795_275_377_000
    }
}

/** Randomness from a seed. */
class TestRandomness(seed: Long) : Randomness {
    private val random = Random(seed)

    override fun below(bound: Long): Long = Math.floorMod(random.nextLong(), bound)
}

/** A secret document in memory; [failing] makes writes fail as full storage does. */
class MemorySecretStore(var document: String? = null, var failing: Boolean = false) : SecretStore {
    /** Number of writes. */
    var writes: Int = 0
        private set

    override fun read(): String? = document

    override fun write(document: String) {
        if (failing) throw IOException("no space left")
        writes++
        this.document = document
    }

    override fun clear() {
        document = null
    }
}

/** A log that keeps what it is told. */
class RecordingLog : EventLog {
    /** One event. */
    data class Entry(val level: Level, val event: String, val fields: Map<String, Any?>)

    /** All events, oldest first. */
    val entries: MutableList<Entry> = mutableListOf()

    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        entries += Entry(level, event, fields)
    }

    /** Fields of all events of a name. */
    fun of(event: String): List<Map<String, Any?>> = entries.filter { it.event == event }.map { it.fields }
}

/** An estimate of the server's time in memory. */
class MemoryTimePersistence(var document: String? = null) : TimePersistence {
    override fun load(): String? = document

    override fun save(document: String) {
        this.document = document
    }
}
