package com.nexmdm.core.port

/** One row of a result; columns count from 0. */
interface Row {
    /** The column as an integer, 0 when it is NULL. */
    fun long(column: Int): Long

    /** The column as text, or null. */
    fun text(column: Int): String?

    /** Whether the column is NULL. */
    fun isNull(column: Int): Boolean
}

/** An SQLite database could not do what was asked. */
class SqlException(
    message: String,
    cause: Throwable?,
    /** Whether the file itself is damaged. */
    val corrupt: Boolean = false,
) : Exception(message, cause)

/**
 * An open SQLite database: `android.database.sqlite` on a device, JDBC on a JVM. Statements keep to SQLite 3.18, which Android 8
 * has: no `ON CONFLICT ... DO`, no `RETURNING`, no window functions.
 *
 * Arguments are `String`, `Long`, `Int`, `Boolean` or null, bound by their type. Every function throws [SqlException] when the
 * database refuses, storage that is full included. Calls come from one thread at a time.
 */
interface Sql : AutoCloseable {
    /** Runs a statement; the number of rows that it changed. */
    fun execute(statement: String, vararg arguments: Any?): Int

    /** Runs a query and maps each row. */
    fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T>

    /** Runs [block] in one transaction, rolled back when it throws. Durable once this returns. */
    fun <T> transaction(block: () -> T): T
}

/** Opens the agent's database. */
interface SqlOpener {
    /** Opens the database, made if there is none. Throws [SqlException]. */
    fun open(): Sql

    /** Removes the database with all its side files, so that [open] makes a new one. */
    fun discard()
}
