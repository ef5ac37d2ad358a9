package com.nexmdm.core.store

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Row
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.SqlOpener
import com.nexmdm.core.port.warn

/**
 * The agent's database: queue, replay memory, installations, settings.
 *
 * Opened when it is first used, and again after a failure to open, so that a full storage costs calls and not the process. A damaged
 * file is discarded and made anew; the call that found the damage throws [SqlException] with `corrupt`, the next one works on the new
 * file. Who must know that everything is gone compares [id].
 */
class AgentDatabase(private val opener: SqlOpener, private val log: EventLog) : AutoCloseable {
    private var connection: Sql? = null
    private var depth = 0
    private var failedInside = false
    private var damaged = false

    /** Identity of the file: another one once it was made anew. Throws [SqlException]. */
    val id: String
        get() = setting(DATABASE_ID) ?: throw SqlException("database without identity", null, corrupt = true).also { damaged = true }

    /** Runs a statement; the number of rows that it changed. Throws [SqlException]. */
    fun execute(statement: String, vararg arguments: Any?): Int = guarded { it.execute(statement, *arguments) }

    /** Runs a query. Throws [SqlException]. */
    fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> =
        guarded { it.query(statement, *arguments, map = map) }

    /**
     * Runs [block] in a transaction that is durable once this returns, and rolled back when it throws. Within another one it is a part
     * of that; when it throws, the outer one is rolled back too.
     */
    fun <T> inTransaction(block: () -> T): T {
        if (depth > 0) {
            return nested(block)
        }
        failedInside = false
        return guarded { sql ->
            sql.transaction {
                depth++
                try {
                    block().also { if (failedInside) throw SqlException("a part of the transaction failed", null) }
                } finally {
                    depth--
                }
            }
        }
    }

    private fun <T> nested(block: () -> T): T {
        depth++
        var ended = false
        try {
            return block().also { ended = true }
        } finally {
            depth--
            if (!ended) failedInside = true
        }
    }

    /** A small value that is kept, or null. Throws [SqlException]. */
    fun setting(key: String): String? = query("SELECT value FROM setting WHERE key = ?", key) { it.text(0) }.firstOrNull()

    /** Keeps a small value; null removes it. Throws [SqlException]. */
    fun putSetting(key: String, value: String?) {
        if (value == null) {
            execute("DELETE FROM setting WHERE key = ?", key)
        } else {
            execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?, ?)", key, value)
        }
    }

    /** Closes the file; the next use opens it again. */
    override fun close() {
        val open = connection ?: return
        connection = null
        try {
            open.close()
        } catch (e: SqlException) {
            log.warn("store.fail", "error" to e.message)
        }
    }

    private fun <T> guarded(use: (Sql) -> T): T {
        val sql = if (depth > 0) connection ?: throw SqlException("database is closed", null) else opened()
        try {
            return use(sql)
        } catch (e: SqlException) {
            if (depth > 0) failedInside = true
            if (e.corrupt) damaged = true
            throw e
        } finally {
            if (damaged && depth == 0) recreate("damaged")
        }
    }

    private fun opened(): Sql {
        if (damaged) recreate("damaged")
        connection?.let { return it }
        val reason = try {
            return prepared().also { connection = it }
        } catch (e: SqlException) {
            if (!e.corrupt) throw e
            e.message
        }
        recreate(reason)
        return prepared().also { connection = it }
    }

    /** Opens the file, checks it and brings its tables up to date. */
    private fun prepared(): Sql {
        val sql = opener.open()
        var isReady = false
        try {
            sql.query("PRAGMA journal_mode = WAL") { it.text(0) }
            // FULL: a power cut must not undo a commit, or a command would run twice.
            sql.execute("PRAGMA synchronous = FULL")
            val version = sql.query("PRAGMA user_version") { it.long(0) }.firstOrNull()?.toInt() ?: 0
            val check = sql.query("PRAGMA quick_check(1)") { it.text(0) }.firstOrNull()
            if (check != "ok") throw SqlException("check failed", null, corrupt = true)
            if (version > Schema.version) throw SqlException("made by a newer agent", null, corrupt = true)
            if (version < Schema.version) {
                sql.transaction {
                    Schema.stepsFrom(version).forEach { sql.execute(it) }
                    sql.execute("PRAGMA user_version = ${Schema.version}")
                }
            }
            isReady = true
            return sql
        } finally {
            if (!isReady) closeQuietly(sql)
        }
    }

    private fun recreate(reason: String?) {
        connection?.let(::closeQuietly)
        connection = null
        opener.discard()
        damaged = false
        log.warn("store.recreated", "reason" to reason)
    }

    private fun closeQuietly(sql: Sql) {
        try {
            sql.close()
        } catch (_: SqlException) {
            // It is thrown away.
        }
    }

    private companion object {
        const val DATABASE_ID = "database_id"
    }
}
