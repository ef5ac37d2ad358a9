package com.nexmdm

import android.app.AlarmManager
import android.security.keystore.KeyPermanentlyInvalidatedException
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.SqlException
import com.nexmdm.platform.AlarmWakeUps
import com.nexmdm.platform.AndroidSqlOpener
import com.nexmdm.platform.KeystoreSecretStore
import com.nexmdm.platform.RingFileLog
import com.nexmdm.platform.SystemRandomness
import com.nexmdm.platform.deviceProtected
import com.nexmdm.platform.service
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowAlarmManager
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.IOException
import java.security.KeyStoreException
import java.security.ProviderException
import java.security.UnrecoverableKeyException
import javax.crypto.spec.SecretKeySpec

internal class StorageTest : FrameworkTest() {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun `the secret document is sealed on disk and read back`() {
        val file = File(folder.root, "sub/identity")
        val store = KeystoreSecretStore(file, testKeys, log)
        assertNull(store.read())
        val document = "{\"device_token\":\"open-sesame-1234\"}"
        store.write(document)
        assertEquals(document, KeystoreSecretStore(file, testKeys, log).read())
        val first = file.readBytes()
        assertFalse("open-sesame" in String(first, Charsets.ISO_8859_1))
        store.write(document)
        assertNotEquals("a nonce is never used twice", first.toList(), file.readBytes().toList())
        store.clear()
        assertNull(store.read())
        assertEquals(emptyList<String>(), log.lines)
    }

    @Test
    fun `what cannot be opened reads as nothing and says so without a secret`() {
        val file = File(folder.root, "identity")
        val store = KeystoreSecretStore(file, testKeys, log)
        store.write("secret-document")
        val sealed = file.readBytes()
        for (index in sealed.indices) {
            file.writeBytes(sealed.copyOf().also { it[index] = (it[index] + 1).toByte() })
            assertNull("byte $index", store.read())
        }
        file.writeBytes(sealed.copyOf(5))
        assertNull(store.read())
        file.writeBytes(sealed)
        assertNull(KeystoreSecretStore(file, TestKeys { SecretKeySpec(ByteArray(32), "AES") }, log).read())
        val invalidated = TestKeys { throw UnrecoverableKeyException().initCause(KeyPermanentlyInvalidatedException()) }
        assertNull(KeystoreSecretStore(file, invalidated, log) { fail("a final answer asked again") }.read())
        val noKey = TestKeys { null }
        var pauses = 0
        assertNull(KeystoreSecretStore(file, noKey, log) { pauses++ }.read())
        assertEquals(3, pauses)
        assertEquals("reading makes no key", 0, noKey.generated)
        assertEquals("secret-document", store.read())
        assertTrue(log.lines.isNotEmpty() && log.lines.none { "secret-document" in it })
    }

    @Test
    fun `a Keystore that does not answer costs no document`() {
        val file = File(folder.root, "identity")
        KeystoreSecretStore(file, testKeys, log).write("secret-document")
        val key = testKeys.existing()
        for (trouble in listOf(KeyStoreException("busy"), ProviderException("no service"), UnrecoverableKeyException("system error"))) {
            var asked = 0
            val recovering = TestKeys { if (asked++ < 3) throw trouble else key }
            assertEquals("secret-document", KeystoreSecretStore(file, recovering, log) {}.read())
            assertEquals(4, asked)
            asked = 0
            val silent = TestKeys { asked++.let { throw trouble } }
            assertThrows(IOException::class.java) { KeystoreSecretStore(file, silent, log) {}.read() }
            assertEquals(4, asked)
            assertThrows(IOException::class.java) { KeystoreSecretStore(file, silent, log) {}.write("x") }
        }
        assertEquals("secret-document", KeystoreSecretStore(file, testKeys, log).read())
    }

    @Test
    fun `arguments are bound by their type and transactions are whole`() {
        val opener = AndroidSqlOpener(app, "test.db")
        opener.open().use { sql ->
            sql.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT, size INTEGER)")
            assertEquals(1, sql.execute("INSERT INTO item (body, size) VALUES (?, ?)", "a", 10L))
            assertEquals(1, sql.execute("INSERT INTO item (body, size) VALUES (?, ?)", null, 9))
            assertEquals(listOf("a"), sql.query("SELECT body FROM item WHERE size > ?", 9L) { it.text(0) })
            assertEquals(listOf(true), sql.query("SELECT body FROM item WHERE size = ?", 9) { it.isNull(0) })
            assertThrows(IllegalStateException::class.java) {
                sql.transaction {
                    sql.execute("DELETE FROM item")
                    error("stop")
                }
            }
            assertEquals(listOf(2L), sql.query("SELECT count(*) FROM item") { it.long(0) })
            sql.execute("PRAGMA user_version = 3")
            assertEquals(listOf(3L), sql.query("PRAGMA user_version") { it.long(0) })
            assertThrows(SqlException::class.java) { sql.execute("INSERT INTO nothing VALUES (1)") }
            assertEquals(listOf("wal"), sql.query("PRAGMA journal_mode") { it.text(0) })
            assertEquals("each commit is synced", listOf(2L), sql.query("PRAGMA synchronous") { it.long(0) })
        }
        opener.open().use { sql -> assertEquals(listOf(2L), sql.query("SELECT count(*) FROM item") { it.long(0) }) }
    }

    @Test
    fun `a damaged file is left to the core, which discards it`() {
        val opener = AndroidSqlOpener(app, "damaged.db")
        val file = app.deviceProtected().getDatabasePath("damaged.db")
        file.parentFile!!.mkdirs()
        file.writeBytes(ByteArray(8_192) { 0x5a })
        val thrown = assertThrows(SqlException::class.java) {
            opener.open().use { it.query("SELECT count(*) FROM sqlite_master") { row -> row.long(0) } }
        }
        assertTrue("$thrown", thrown.corrupt)
        assertTrue("not deleted behind the core's back", file.exists())
        opener.discard()
        opener.open().use { assertEquals(1, it.query("SELECT 1") { row -> row.long(0) }.size) }
    }

    @Test
    fun `the log keeps the newest events within its bound and hides secrets`() {
        val log = RingFileLog(folder.root, fileMaxBytes = 4_000) { 1_700_000_000_123 }
        repeat(500) { log.log(Level.INFO, "queue.enqueue", mapOf("n" to it, "device_token" to "open-sesame", "text" to "x".repeat(20))) }
        assertTrue(folder.root.listFiles()!!.sumOf { it.length() } <= 8_000)
        val lines = ByteArrayOutputStream().also(log::export).toString().trim().lines().map { Json.parseToJsonElement(it).jsonObject }
        assertEquals("499", lines.last()["n"].toString())
        val numbers = lines.map { it["n"].toString().toInt() }
        assertEquals((numbers.first()..499).toList(), numbers)
        assertEquals("\"2023-11-14T22:13:20.123Z\"", lines.last()["ts"].toString())
        assertTrue(lines.all { it["device_token"].toString() == "\"***\"" })
        log.log(Level.WARN, "big", mapOf("text" to "y".repeat(100_000)))
        assertTrue(folder.root.listFiles()!!.sumOf { it.length() } <= 8_000)
    }

    @Test
    fun `a log that cannot be written does not throw`() {
        val file = folder.newFile()
        RingFileLog(File(file, "below a file")).log(Level.INFO, "start", emptyMap())
    }

    @Test
    @Suppress("DEPRECATION")
    fun `a wake-up replaces the one before and fires in Doze`() {
        ShadowAlarmManager.setCanScheduleExactAlarms(false)
        val alarms = shadowOf(app.service<AlarmManager>())
        val wakeUps = AlarmWakeUps(app, AlarmReceiver.target(app))
        wakeUps.schedule(300_000)
        wakeUps.schedule(60_000)
        val alarm = alarms.scheduledAlarms.single()
        assertTrue(alarm.isAllowWhileIdle)
        assertEquals(AlarmManager.ELAPSED_REALTIME_WAKEUP, alarm.getType())
        assertEquals(60_000, alarm.triggerAtMs - android.os.SystemClock.elapsedRealtime())
        ShadowAlarmManager.setCanScheduleExactAlarms(true)
        wakeUps.schedule(10_000)
        assertEquals(10_000, alarms.scheduledAlarms.single().triggerAtMs - android.os.SystemClock.elapsedRealtime())
    }

    @Test
    fun `random numbers keep their bound`() {
        val seen = (1..2_000).map { SystemRandomness.below(3) }.toSet()
        assertEquals(setOf(0L, 1L, 2L), seen)
        assertEquals(0L, SystemRandomness.below(1))
    }
}
