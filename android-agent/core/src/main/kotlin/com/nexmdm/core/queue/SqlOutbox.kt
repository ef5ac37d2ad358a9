package com.nexmdm.core.queue

import com.nexmdm.core.port.Clock
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.Row
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.time.TimeSource
import com.nexmdm.core.time.TrustedTime

/** Limits of the queue. */
data class OutboxLimits(
    /** Items. */
    val items: Int = 500,
    /** Bodies together, bytes. */
    val bytes: Long = 10_000_000,
    /** One body, bytes. */
    val bodyBytes: Int = 64 * 1024,
    /** How long results are kept whatever happens, ms. */
    val resultKeepMs: Long = 24 * 3_600_000L,
)

/**
 * The queue as a table of the agent's database.
 *
 * Beyond the limits the oldest heartbeats go first, then results that are older than [OutboxLimits.resultKeepMs] by the server's time;
 * when that is not enough, what was to be queued is refused with [SqlException].
 */
class SqlOutbox(
    private val database: AgentDatabase,
    private val clock: Clock,
    private val time: TrustedTime,
    private val log: EventLog,
    private val limits: OutboxLimits = OutboxLimits(),
) : Outbox {
    override fun putHeartbeat(body: String, bucketStartMs: Long): Long = database.inTransaction {
        // A number of its own: an acknowledgement of the one before must not remove this one.
        database.execute("DELETE FROM outbox WHERE bucket_start_ms = ?", bucketStartMs)
        insert(ItemKind.HEARTBEAT, "", body, bucketStartMs)
    }

    /** As [Outbox.put]; a result takes the place of one of the same command that waits, since the last word counts. */
    override fun put(kind: ItemKind, subject: String, body: String): Long = database.inTransaction {
        if (kind == ItemKind.RESULT) {
            database.execute("DELETE FROM outbox WHERE subject = ? AND kind = ?", subject, kind.name)
        }
        insert(kind, subject, body, null)
    }

    private fun insert(kind: ItemKind, subject: String, body: String, bucketStartMs: Long?): Long {
        val bodyBytes = body.toByteArray().size
        if (bodyBytes > limits.bodyBytes) throw SqlException("body of ${kind.name} has $bodyBytes bytes", null)
        database.execute(
            """INSERT INTO outbox (kind, subject, bucket_start_ms, body, body_bytes, queued_at_ms, queued_server_ms)
                VALUES (?, ?, ?, ?, ?, ?, ?)""",
            kind.name, subject, bucketStartMs, body, bodyBytes, clock.wallMs(), serverTimeMs(),
        )
        val id = database.query("SELECT last_insert_rowid()") { it.long(0) }.first()
        prune()
        log.log(Level.DEBUG, "queue.enqueue", mapOf("kind" to kind.name.lowercase(), "id" to id, "bytes" to bodyBytes))
        return id
    }

    private fun prune() {
        val totals = "SELECT count(*), coalesce(sum(body_bytes), 0) FROM outbox"
        var (items, bytes) = database.query(totals) { it.long(0) to it.long(1) }.first()
        val gone = mutableMapOf<ItemKind, Int>()
        while (items > limits.items || bytes > limits.bytes) {
            val victim = victim() ?: throw SqlException("queue is full", null)
            database.execute("DELETE FROM outbox WHERE id = ?", victim.id)
            items -= 1
            bytes -= victim.bodyBytes
            gone.merge(victim.kind, 1, Int::plus)
        }
        for ((kind, count) in gone) log.warn("queue.prune", "kind" to kind.name.lowercase(), "count" to count)
    }

    private class Victim(val id: Long, val kind: ItemKind, val bodyBytes: Long)

    private fun victim(): Victim? {
        val oldest = "SELECT id, body_bytes FROM outbox WHERE kind = ?"
        val heartbeat = database.query("$oldest ORDER BY id LIMIT 1", ItemKind.HEARTBEAT.name) { row ->
            Victim(row.long(0), ItemKind.HEARTBEAT, row.long(1))
        }.firstOrNull()
        if (heartbeat != null) return heartbeat
        val keptSinceMs = (serverTimeMs() ?: return null) - limits.resultKeepMs
        return database.query("$oldest AND queued_server_ms < ? ORDER BY id LIMIT 1", ItemKind.RESULT.name, keptSinceMs) { row ->
            Victim(row.long(0), ItemKind.RESULT, row.long(1))
        }.firstOrNull()
    }

    /** The server's time where it does not rest on the wall clock alone, ms since 1970. */
    private fun serverTimeMs(): Long? = when (time.source) {
        TimeSource.SERVER, TimeSource.LAST_SKEW -> time.nowMs()
        TimeSource.WALL_CLOCK, TimeSource.NONE -> null
    }

    override fun oldest(kinds: Set<ItemKind>, limit: Int, except: Set<Long>): List<OutboxItem> {
        if (kinds.isEmpty() || limit <= 0) return emptyList()
        val marks = kinds.joinToString { "?" }
        val arguments = kinds.map { it.name }.toTypedArray<Any?>()
        return database.query("$SELECT WHERE kind IN ($marks) ORDER BY id LIMIT ?", *arguments, limit + except.size, map = ::item)
            .filterNot { it.id in except }
            .take(limit)
    }

    override fun get(id: Long): OutboxItem? = database.query("$SELECT WHERE id = ?", id, map = ::item).firstOrNull()

    override fun remove(id: Long) {
        val isDrained = database.inTransaction { database.execute("DELETE FROM outbox WHERE id = ?", id) > 0 && size() == 0 }
        if (isDrained) log.info("queue.drain")
    }

    override fun size(): Int = database.query("SELECT count(*) FROM outbox") { it.long(0) }.first().toInt()

    override fun heartbeats(): Int =
        database.query("SELECT count(*) FROM outbox WHERE kind = ?", ItemKind.HEARTBEAT.name) { it.long(0) }.first().toInt()

    private fun item(row: Row): OutboxItem = OutboxItem(
        id = row.long(0),
        kind = ItemKind.valueOf(row.text(1).orEmpty()),
        subject = row.text(2).orEmpty(),
        body = row.text(3).orEmpty(),
        queuedAtMs = row.long(4),
    )

    private companion object {
        const val SELECT = "SELECT id, kind, subject, body, queued_at_ms FROM outbox"
    }
}
