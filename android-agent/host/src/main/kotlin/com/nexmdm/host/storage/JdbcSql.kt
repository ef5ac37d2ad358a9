package com.nexmdm.host.storage

import com.nexmdm.core.port.Row
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import org.sqlite.SQLiteException
import java.sql.Connection
import java.sql.PreparedStatement
import java.sql.ResultSet
import java.sql.SQLException
import java.sql.Types

/** The port of the database over JDBC. */
internal class JdbcSql(private val connection: Connection) : Sql {
    private val statements =
        object : LinkedHashMap<String, PreparedStatement>(STATEMENTS_MAX, 1f, true) {
            override fun removeEldestEntry(eldest: Map.Entry<String, PreparedStatement>): Boolean =
                (size > STATEMENTS_MAX).also { if (it) eldest.value.close() }
        }
    private var inTransaction = false

    override fun execute(statement: String, vararg arguments: Any?): Int =
        guarded {
            val prepared = prepared(statement, arguments)
            // What answers with rows, as some PRAGMAs do, changes none.
            if (prepared.execute()) prepared.resultSet.close()
            maxOf(prepared.updateCount, 0)
        }

    override fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> =
        guarded {
            prepared(statement, arguments).executeQuery().use { rows ->
                val row = JdbcRow(rows)
                buildList { while (rows.next()) add(map(row)) }
            }
        }

    override fun <T> transaction(block: () -> T): T {
        if (inTransaction) return block()
        execute("BEGIN IMMEDIATE")
        inTransaction = true
        var committed = false
        try {
            val value = block()
            execute("COMMIT")
            committed = true
            return value
        } finally {
            inTransaction = false
            if (!committed) rollBack()
        }
    }

    override fun close() = guarded { connection.close() }

    private fun rollBack() {
        try {
            execute("ROLLBACK")
        } catch (_: SqlException) {
            // SQLite has rolled back by itself; what was thrown first is what matters.
            return
        }
    }

    private fun prepared(statement: String, arguments: Array<out Any?>): PreparedStatement {
        val prepared = statements.getOrPut(statement) { connection.prepareStatement(statement) }
        arguments.forEachIndexed { index, argument -> bind(prepared, index + 1, argument) }
        return prepared
    }

    private fun bind(prepared: PreparedStatement, index: Int, argument: Any?) =
        when (argument) {
            null -> prepared.setNull(index, Types.NULL)
            is String -> prepared.setString(index, argument)
            is Long -> prepared.setLong(index, argument)
            is Int -> prepared.setInt(index, argument)
            is Boolean -> prepared.setInt(index, if (argument) 1 else 0)
            else -> throw IllegalArgumentException("no SQL argument: ${argument::class}")
        }

    private class JdbcRow(private val rows: ResultSet) : Row {
        override fun long(column: Int): Long = rows.getLong(column + 1)

        override fun text(column: Int): String? = rows.getString(column + 1)

        override fun isNull(column: Int): Boolean = rows.getObject(column + 1) == null
    }

    companion object {
        private const val STATEMENTS_MAX = 64
        private const val PRIMARY_CODE_MASK = 0xff
        private const val SQLITE_CORRUPT = 11
        private const val SQLITE_NOTADB = 26

        /** Runs [block] and turns the driver's exceptions into the port's. */
        fun <T> guarded(block: () -> T): T =
            try {
                block()
            } catch (e: SQLException) {
                val code = (e as? SQLiteException)?.resultCode?.code?.and(PRIMARY_CODE_MASK)
                throw SqlException(e.message ?: "SQLite failed", e, code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
            }
    }
}
