package com.nexmdm.platform

import android.content.Context
import android.database.DatabaseErrorHandler
import android.database.sqlite.SQLiteCursor
import android.database.sqlite.SQLiteDatabase
import android.database.sqlite.SQLiteDatabaseCorruptException
import android.database.sqlite.SQLiteProgram
import android.database.sqlite.SQLiteStatement
import com.nexmdm.core.port.Row
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.SqlOpener
import java.io.File

/** The agent's database in the app's device-protected storage. */
internal class AndroidSqlOpener(context: Context, private val name: String = "agent.db") : SqlOpener {
    private val file: File = context.deviceProtected().getDatabasePath(name)

    override fun open(): Sql = translated {
        file.parentFile?.mkdirs()
        // The default handler deletes a damaged file by itself; what happens to it is the core's decision.
        val keep = DatabaseErrorHandler { }
        val flags = SQLiteDatabase.CREATE_IF_NECESSARY or SQLiteDatabase.ENABLE_WRITE_AHEAD_LOGGING
        val database = SQLiteDatabase.openDatabase(file.path, null, flags, keep)
        try {
            // Android's default in WAL mode is NORMAL, which may lose the last transactions when power fails.
            database.execSQL("PRAGMA synchronous=FULL")
            AndroidSql(database)
        } catch (e: RuntimeException) {
            database.close()
            throw e
        }
    }

    override fun discard() {
        SQLiteDatabase.deleteDatabase(file)
    }
}

/** `android.database.sqlite` behind the core's port. */
private class AndroidSql(private val database: SQLiteDatabase) : Sql {
    override fun execute(statement: String, vararg arguments: Any?): Int = translated {
        if (RETURNS_ROWS.any { statement.trimStart().startsWith(it, ignoreCase = true) }) {
            // SQLiteStatement refuses what returns rows, such as most pragmas.
            cursor(statement, arguments).use { it.moveToFirst() }
            return@translated 0
        }
        database.compileStatement(statement).use { compiled: SQLiteStatement ->
            compiled.bindAll(arguments)
            compiled.executeUpdateDelete()
        }
    }

    override fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> = translated {
        cursor(statement, arguments).use { cursor ->
            val row = object : Row {
                override fun long(column: Int) = cursor.getLong(column)

                override fun text(column: Int): String? = cursor.getString(column)

                override fun isNull(column: Int) = cursor.isNull(column)
            }
            buildList { while (cursor.moveToNext()) add(map(row)) }
        }
    }

    override fun <T> transaction(block: () -> T): T {
        translated { database.beginTransactionNonExclusive() }
        try {
            val value = block()
            translated { database.setTransactionSuccessful() }
            return value
        } finally {
            translated { database.endTransaction() }
        }
    }

    override fun close(): Unit = translated { database.close() }

    /** `rawQuery` would bind every argument as text, and a comparison with an integer would go wrong. */
    private fun cursor(statement: String, arguments: Array<out Any?>) = database.rawQueryWithFactory(
        { _, driver, editTable, query ->
            query.bindAll(arguments)
            SQLiteCursor(driver, editTable, query)
        },
        statement,
        emptyArray(),
        "",
    )

    private companion object {
        val RETURNS_ROWS = listOf("PRAGMA", "SELECT", "WITH", "EXPLAIN")
    }
}

private fun SQLiteProgram.bindAll(arguments: Array<out Any?>) = arguments.forEachIndexed { index, argument ->
    when (argument) {
        null -> bindNull(index + 1)
        is String -> bindString(index + 1, argument)
        is Long -> bindLong(index + 1, argument)
        is Int -> bindLong(index + 1, argument.toLong())
        is Boolean -> bindLong(index + 1, if (argument) 1 else 0)
        else -> throw IllegalArgumentException("argument ${index + 1} is a ${argument.javaClass.simpleName}")
    }
}

/** Turns what Android throws into the port's exception. */
private inline fun <T> translated(block: () -> T): T = try {
    block()
} catch (e: SQLiteDatabaseCorruptException) {
    throw SqlException("database damaged: ${e.message}", e, corrupt = true)
} catch (e: android.database.SQLException) {
    throw SqlException("database: ${e.message}", e, corrupt = e.message.orEmpty().contains("code 26"))
} catch (e: IllegalStateException) {
    throw SqlException("database: ${e.message}", e)
}
