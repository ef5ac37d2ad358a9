package com.nexmdm.core.store

import com.nexmdm.core.port.SqlException
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.RecordingLog
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class AgentDatabaseTest {
    @TempDir
    lateinit var folder: File

    private val log = RecordingLog()
    private val file get() = File(folder, "agent.db")

    private fun database() = AgentDatabase(JdbcSqlOpener(file), log)

    @Test
    fun `values and identity outlive a restart`() {
        val first = database()
        first.putSetting("a", "1")
        first.putSetting("a", "2")
        val id = first.id
        first.close()
        val second = database()
        assertEquals("2", second.setting("a"))
        assertEquals(id, second.id)
        second.putSetting("a", null)
        assertNull(second.setting("a"))
        second.close()
    }

    @Test
    fun `a transaction is undone when it or a part of it fails`() {
        val database = database()
        assertThrows(IllegalStateException::class.java) {
            database.inTransaction {
                database.putSetting("a", "1")
                error("no")
            }
        }
        assertThrows(SqlException::class.java) {
            database.inTransaction {
                database.putSetting("a", "1")
                runCatching { database.inTransaction { error("the inner one") } }
            }
        }
        assertThrows(SqlException::class.java) {
            database.inTransaction {
                database.putSetting("a", "1")
                runCatching { database.execute("INSERT INTO nowhere VALUES (1)") }
            }
        }
        assertNull(database.setting("a"))
        database.inTransaction { database.inTransaction { database.putSetting("a", "1") } }
        assertEquals("1", database.setting("a"))
        database.close()
    }

    @Test
    fun `a file that is no database is made anew`() {
        val first = database()
        val id = first.id
        first.close()
        file.writeBytes(ByteArray(8192) { 7 })
        val second = database()
        assertNotEquals(id, second.id)
        assertEquals(1, log.of("store.recreated").size)
        second.close()
    }

    @Test
    fun `a file damaged while in use is made anew after the call that found it`() {
        val database = database()
        val id = database.id
        database.inTransaction { repeat(500) { database.putSetting("key $it", "x".repeat(8_000)) } }
        database.query("PRAGMA wal_checkpoint(TRUNCATE)") { it.long(0) }
        file.outputStream().use { it.write(ByteArray(file.length().toInt().coerceAtLeast(5_000_000)) { 9 }) }
        val failure = assertThrows(SqlException::class.java) {
            database.inTransaction { database.query("SELECT count(value) FROM setting WHERE value LIKE '%y'") { it.long(0) } }
        }
        assertTrue(failure.corrupt)
        assertNotEquals(id, database.id)
        assertEquals(1, log.of("store.recreated").size)
        database.close()
    }

    @Test
    fun `a database of a newer agent is made anew`() {
        val first = database()
        first.execute("PRAGMA user_version = 99")
        first.close()
        val second = database()
        assertNull(second.setting("a"))
        assertEquals(listOf("made by a newer agent"), log.of("store.recreated").map { it["reason"] })
        second.close()
    }

    @Test
    fun `a folder that cannot be written costs the call and not the object`() {
        val missing = File(folder, "missing/agent.db")
        val database = AgentDatabase(JdbcSqlOpener(missing), log)
        assertThrows(SqlException::class.java) { database.setting("a") }
        missing.parentFile.mkdirs()
        database.putSetting("a", "1")
        assertEquals("1", database.setting("a"))
        database.close()
    }
}
