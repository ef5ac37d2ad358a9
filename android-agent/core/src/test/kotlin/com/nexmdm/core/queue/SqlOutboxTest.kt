package com.nexmdm.core.queue

import com.nexmdm.core.port.SqlException
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.MemoryTimePersistence
import com.nexmdm.core.testing.RecordingLog
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.time.TrustedTime
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class SqlOutboxTest {
    @TempDir
    lateinit var folder: File

    private val log = RecordingLog()
    private val clock = TestClock()
    private val time = TrustedTime(clock, "boot", MemoryTimePersistence(), 0)
    private val database by lazy { AgentDatabase(JdbcSqlOpener(File(folder, "agent.db")), log) }

    private fun outbox(limits: OutboxLimits = OutboxLimits()) = SqlOutbox(database, clock, time, log, limits)

    private fun Outbox.bodies(vararg kinds: ItemKind) = oldest(kinds.toSet(), 1000).map { it.body }

    @AfterEach
    fun close() = database.close()

    @Test
    fun `a heartbeat of the same bucket is replaced under a number of its own`() {
        val outbox = outbox()
        val first = outbox.putHeartbeat("a", 10_000)
        val second = outbox.putHeartbeat("b", 10_000)
        outbox.putHeartbeat("c", 20_000)
        assertTrue(second > first)
        outbox.remove(first)
        assertEquals(listOf("b", "c"), outbox.bodies(ItemKind.HEARTBEAT))
        assertEquals(2, outbox.heartbeats())
    }

    @Test
    fun `items come oldest first, by kind and without those in flight`() {
        val outbox = outbox()
        outbox.putHeartbeat("h", 0)
        val result = outbox.put(ItemKind.RESULT, "r1", "r")
        outbox.put(ItemKind.DEPLOYMENT_STATUS, "d1", "s1")
        outbox.put(ItemKind.DEPLOYMENT_STATUS, "d1", "s2")
        val kinds = setOf(ItemKind.RESULT, ItemKind.DEPLOYMENT_STATUS)
        assertEquals(listOf("r", "s1", "s2"), outbox.oldest(kinds, 10).map { it.body })
        assertEquals(listOf("s1"), outbox.oldest(kinds, 1, setOf(result)).map { it.body })
        assertEquals(emptyList<OutboxItem>(), outbox.oldest(emptySet(), 10))
        assertEquals(OutboxItem(result, ItemKind.RESULT, "r1", "r", clock.wallMs()), outbox.get(result))
        assertNull(outbox.get(-1))
    }

    @Test
    fun `the last word about a command replaces one that waits`() {
        val outbox = outbox()
        outbox.put(ItemKind.RESULT, "r1", "received")
        outbox.put(ItemKind.RESULT, "r2", "received")
        outbox.put(ItemKind.RESULT, "r1", "success")
        assertEquals(listOf("received", "success"), outbox.bodies(ItemKind.RESULT))
    }

    @Test
    fun `beyond 500 items the oldest heartbeats go first`() {
        val outbox = outbox()
        val result = outbox.put(ItemKind.RESULT, "r", "r")
        repeat(600) { outbox.putHeartbeat("h$it", it * 10_000L) }
        assertEquals(500, outbox.size())
        assertEquals("h101", outbox.bodies(ItemKind.HEARTBEAT).first())
        assertNotEquals(null, outbox.get(result))
        repeat(499) { outbox.put(ItemKind.DEPLOYMENT_STATUS, "d", "s$it") }
        assertEquals(500 to 0, outbox.size() to outbox.heartbeats())
        outbox.putHeartbeat("h", 0)
        assertEquals(500 to 0, outbox.size() to outbox.heartbeats())
    }

    @Test
    fun `beyond 10 MB the oldest heartbeats go first`() {
        val outbox = outbox()
        val body = "é".repeat(30_000)
        repeat(200) { outbox.putHeartbeat(body, it * 10_000L) }
        assertEquals(166, outbox.size())
    }

    @Test
    fun `results stay for 24 hours of the server's time and may go then`() {
        val outbox = outbox(OutboxLimits(items = 3))
        time.learn(clock.wallMs(), clock.monotonicMs(), clock.monotonicMs())
        repeat(3) { outbox.put(ItemKind.RESULT, "r$it", "r$it") }
        clock.advance(24 * 3_600_000L)
        clock.setWall(clock.wallMs() + 365 * 86_400_000L)
        assertThrows(SqlException::class.java) { outbox.put(ItemKind.RESULT, "r3", "r3") }
        assertEquals(3, outbox.size())
        clock.advance(1)
        outbox.put(ItemKind.RESULT, "r3", "r3")
        assertEquals(listOf("r1", "r2", "r3"), outbox.bodies(ItemKind.RESULT))
        assertEquals(listOf(mapOf("kind" to "result", "count" to 1)), log.of("queue.prune"))
    }

    @Test
    fun `a body over the limit is refused`() {
        assertThrows(SqlException::class.java) { outbox().put(ItemKind.RESULT, "r", "x".repeat(64 * 1024 + 1)) }
        assertEquals(0, outbox().size())
    }

    @Test
    fun `the end of the queue is told, and numbers never come again`() {
        val outbox = outbox()
        val id = outbox.put(ItemKind.RESULT, "r", "r")
        outbox.remove(id)
        outbox.remove(id)
        assertEquals(1, log.of("queue.drain").size)
        assertTrue(outbox.put(ItemKind.RESULT, "r", "r") > id)
    }
}
