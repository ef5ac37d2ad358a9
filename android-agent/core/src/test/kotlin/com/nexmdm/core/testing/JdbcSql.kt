package com.nexmdm.core.testing

import com.nexmdm.core.port.Row
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.SqlOpener
import org.sqlite.SQLiteErrorCode
import org.sqlite.SQLiteException
import java.io.File
import java.sql.Connection
import java.sql.DriverManager
import java.sql.PreparedStatement
import java.sql.ResultSet
import java.sql.SQLException

/** SQLite in a file, by JDBC. Without [syncs] nothing waits for the disk, which only a power cut would tell apart. */
class JdbcSqlOpener(val file: File, private val syncs: Boolean = false) : SqlOpener {
    override fun open(): Sql = JdbcSql(translated { DriverManager.getConnection("jdbc:sqlite:$file") }, syncs)

    override fun discard() {
        listOf("", "-wal", "-shm", "-journal").forEach { File("$file$it").delete() }
    }
}

/** A JDBC connection to SQLite as [Sql]. */
class JdbcSql(private val connection: Connection, private val syncs: Boolean) : Sql {
    override fun execute(statement: String, vararg arguments: Any?): Int = translated {
        val text = if (!syncs && statement == "PRAGMA synchronous = FULL") "PRAGMA synchronous = OFF" else statement
        connection.prepareStatement(text).use { bind(it, arguments).executeUpdate() }
    }

    override fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> = translated {
        connection.prepareStatement(statement).use { prepared ->
            bind(prepared, arguments).executeQuery().use { rows ->
                val row = JdbcRow(rows)
                buildList { while (rows.next()) add(map(row)) }
            }
        }
    }

    override fun <T> transaction(block: () -> T): T {
        translated { connection.createStatement().use { it.execute("BEGIN IMMEDIATE") } }
        var committed = false
        try {
            val value = block()
            translated { connection.createStatement().use { it.execute("COMMIT") } }
            committed = true
            return value
        } finally {
            if (!committed) rollback()
        }
    }

    private fun rollback() {
        try {
            connection.createStatement().use { it.execute("ROLLBACK") }
        } catch (_: SQLException) {
            // SQLite had rolled back by itself.
        }
    }

    override fun close(): Unit = translated { connection.close() }

    private fun bind(statement: PreparedStatement, arguments: Array<out Any?>): PreparedStatement {
        arguments.forEachIndexed { index, value ->
            when (value) {
                null -> statement.setObject(index + 1, null)
                is String -> statement.setString(index + 1, value)
                is Long -> statement.setLong(index + 1, value)
                is Int -> statement.setInt(index + 1, value)
                is Boolean -> statement.setBoolean(index + 1, value)
                else -> throw IllegalArgumentException("cannot bind ${value::class}")
            }
        }
        return statement
    }

    private class JdbcRow(private val rows: ResultSet) : Row {
        override fun long(column: Int): Long = translated { rows.getLong(column + 1) }

        override fun text(column: Int): String? = translated { rows.getString(column + 1) }

        override fun isNull(column: Int): Boolean = translated { rows.getObject(column + 1) == null }
    }
}

private fun <T> translated(call: () -> T): T = try {
    call()
} catch (e: SQLException) {
    val primary = (e as? SQLiteException)?.resultCode?.code?.and(0xff)
    val corrupt = primary == SQLiteErrorCode.SQLITE_CORRUPT.code || primary == SQLiteErrorCode.SQLITE_NOTADB.code
    throw SqlException(e.message ?: "SQLite failed", e, corrupt)
}
