package com.nexmdm.core.command

import com.nexmdm.core.store.AgentDatabase

/** A command that was started and has not come to an end. */
internal class StartedCommand(val requestId: String, val action: String, val bootId: String)

/**
 * The replay memory: every command that was run, in the database, so that it is run once over restarts and reboots.
 *
 * A command is forgotten some time after it expired; from then on its expiry alone keeps it from running. Every function throws
 * [com.nexmdm.core.port.SqlException] when storage refuses.
 */
internal class CommandLog(private val database: AgentDatabase, private val limit: Int = LIMIT) {
    /** Whether a command was started at any time. */
    fun knows(requestId: String): Boolean =
        database.query("SELECT 1 FROM command WHERE request_id = ?", requestId) { it.long(0) }.isNotEmpty()

    /** Number of commands that have not come to an end. */
    fun open(): Int = count("SELECT count(*) FROM command WHERE state = ?", STARTED)

    /** Whether another one can be remembered. */
    fun hasRoom(): Boolean = count("SELECT count(*) FROM command") < limit

    /** Forgets what had ended and expired well before [serverNowMs], which must be certain. */
    fun prune(serverNowMs: Long) {
        database.execute("DELETE FROM command WHERE state = ? AND expires_at_ms < ?", CONCLUDED, serverNowMs - KEEP_AFTER_EXPIRY_MS)
    }

    /** Puts a command on record before it runs. */
    fun start(requestId: String, action: String, expiresAtMs: Long, bootId: String) {
        database.execute(
            "INSERT INTO command (request_id, action, expires_at_ms, state, boot_id) VALUES (?, ?, ?, ?, ?)",
            requestId, action, expiresAtMs, STARTED, bootId,
        )
    }

    /**
     * Puts its end on record; false when that was there. One that is unknown, since the database was made anew, is remembered for a
     * while.
     */
    fun conclude(requestId: String, action: String, bootId: String, serverNowMs: Long): Boolean {
        val update = "UPDATE command SET state = ? WHERE request_id = ? AND state = ?"
        if (database.execute(update, CONCLUDED, requestId, STARTED) > 0) return true
        return database.execute(
            "INSERT OR IGNORE INTO command (request_id, action, expires_at_ms, state, boot_id) VALUES (?, ?, ?, ?, ?)",
            requestId, action, serverNowMs + UNKNOWN_EXPIRY_MS, CONCLUDED, bootId,
        ) > 0
    }

    /** What was started and has not come to an end. */
    fun started(): List<StartedCommand> =
        database.query("SELECT request_id, action, boot_id FROM command WHERE state = ?", STARTED) { row ->
            StartedCommand(row.text(0).orEmpty(), row.text(1).orEmpty(), row.text(2).orEmpty())
        }

    private fun count(statement: String, vararg arguments: Any?): Int = database.query(statement, *arguments) { it.long(0) }.first().toInt()

    private companion object {
        /** Commands remembered at the same time, as many as the simulator's devices do. */
        const val LIMIT = 10_000
        const val STARTED = "started"
        const val CONCLUDED = "concluded"

        /** More than the clocks of nodes differ. */
        const val KEEP_AFTER_EXPIRY_MS = 24 * 3_600_000L

        /** The longest that the server lets a command live. */
        const val UNKNOWN_EXPIRY_MS = 28 * 24 * 3_600_000L
    }
}
