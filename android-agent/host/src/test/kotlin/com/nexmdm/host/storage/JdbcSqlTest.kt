package com.nexmdm.host.storage

import com.nexmdm.core.port.SqlException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class JdbcSqlTest {
    @TempDir
    lateinit var folder: File

    private val opener get() = JdbcSqlOpener(folder.resolve("agent.db"))

    private fun open() = opener.open()

    @Test
    fun `values go in and out by their types`() {
        open().use { sql ->
            sql.execute("CREATE TABLE t (a, b, c, d, e)")
            assertEquals(1, sql.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", "x'y", Long.MAX_VALUE, 7, true, null))
            val rows =
                sql.query("SELECT a, b, c, d, e, typeof(a), typeof(b), typeof(d) FROM t WHERE b = ?", Long.MAX_VALUE) { row ->
                    listOf(row.text(0), row.long(1), row.long(2), row.long(3), row.isNull(4), row.text(4), row.long(4)) +
                        (5..7).map(row::text)
                }
            assertEquals(listOf(listOf("x'y", Long.MAX_VALUE, 7L, 1L, true, null, 0L, "text", "integer", "integer")), rows)
            assertThrows(IllegalArgumentException::class.java) { sql.execute("INSERT INTO t (a) VALUES (?)", 1.5) }
        }
    }

    @Test
    fun `statements that answer with rows can be executed`() {
        open().use { sql ->
            assertEquals(0, sql.execute("PRAGMA journal_mode = WAL"))
            assertEquals(0, sql.execute("PRAGMA synchronous = FULL"))
            assertEquals(listOf("wal"), sql.query("PRAGMA journal_mode") { it.text(0) })
        }
    }

    @Test
    fun `a transaction is whole or not at all, one within it included`() {
        open().use { sql ->
            sql.execute("CREATE TABLE t (a)")
            assertThrows(IllegalStateException::class.java) {
                sql.transaction {
                    sql.execute("INSERT INTO t VALUES (1)")
                    sql.transaction { sql.execute("INSERT INTO t VALUES (2)") }
                    error("no")
                }
            }
            sql.transaction { sql.execute("INSERT INTO t VALUES (3)") }
            assertEquals(listOf(3L), sql.query("SELECT a FROM t") { it.long(0) })
        }
    }

    @Test
    fun `what was committed is there for the next process though nobody closed the file`() {
        open().run {
            execute("PRAGMA journal_mode = WAL")
            execute("CREATE TABLE t (a)")
            transaction { execute("INSERT INTO t VALUES (1)") }
        }
        // As a kill leaves the folder: the log is not written back.
        val copy = folder.resolve("copy").also { it.mkdir() }
        for (name in listOf("agent.db", "agent.db-wal")) folder.resolve(name).copyTo(copy.resolve(name))
        JdbcSqlOpener(copy.resolve("agent.db")).open().use { assertEquals(listOf(1L), it.query("SELECT a FROM t") { row -> row.long(0) }) }
    }

    @Test
    fun `a damaged file is told from other trouble and can be made anew`() {
        folder.resolve("agent.db").writeText("this is no database, and long enough to be looked at as one".repeat(50))
        val damage =
            assertThrows(SqlException::class.java) { open().use { sql -> sql.query("SELECT * FROM sqlite_master") { it.text(0) } } }
        assertTrue(damage.corrupt)
        opener.discard()
        open().use { sql -> assertFalse(assertThrows(SqlException::class.java) { sql.execute("SELECT nonsense") }.corrupt) }
    }

    @Test
    fun `the library is unpacked once`() {
        SqliteLibrary.unpack(folder)
        val library = folder.walkTopDown().single { it.isFile }
        val modified = library.lastModified()
        SqliteLibrary.unpack(folder)
        assertEquals(modified to 1, library.lastModified() to folder.walkTopDown().count { it.isFile })
        assertEquals(library, File(System.getProperty("org.sqlite.lib.path"), System.getProperty("org.sqlite.lib.name")))
    }
}
