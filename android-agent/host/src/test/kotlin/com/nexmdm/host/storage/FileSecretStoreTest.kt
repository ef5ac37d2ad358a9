package com.nexmdm.host.storage

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.VaultDocument
import kotlinx.serialization.json.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions
import java.time.Instant

class FileSecretStoreTest {
    @TempDir
    lateinit var folder: File

    private val file get() = folder.resolve("identity.json")
    private val historyFile get() = folder.resolve("identities.jsonl")
    private val now = Instant.parse("2026-11-21T15:36:17.001Z")

    private fun history() = KeyHistory(historyFile) { now }

    private fun store() = FileSecretStore(file, history())

    private fun document(key: String, next: String? = null, deviceId: String = "d1"): String {
        val identity = Identity(deviceId, "t", key, next, servers = listOf("http://n1"), alias = "kiosk")
        return Json.encodeToString(VaultDocument.serializer(), VaultDocument(identity = identity))
    }

    private val nobody = Json.encodeToString(VaultDocument.serializer(), VaultDocument())
    private val enrolled = """{"kind":"device","device_id":"d1","number":1,"alias":"kiosk","device_token":"t","device_key":"k"}"""
    private val changing = """{"kind":"keys","device_id":"d1","at":"2026-11-21T15:36:17.001Z","device_key":"k","next_device_key":"n"}"""
    private val changed = """{"kind":"keys","device_id":"d1","at":"2026-11-21T15:36:17.001Z","device_key":"n"}"""

    @Test
    fun `a document comes back as it was written and is for its owner only`() {
        assertNull(store().read())
        store().write(document("k"))
        store().write(document("k", "n"))
        assertEquals(document("k", "n"), store().read())
        for (secret in listOf(file, historyFile)) {
            assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(secret.toPath())))
        }
        store().clear()
        assertNull(store().read())
    }

    @Test
    fun `every change of keys is on record once`() {
        val store = store()
        val documents = listOf(nobody, document("k"), document("k"), document("k", "n"), document("n"), document("n"), nobody, nobody)
        documents.forEach(store::write)
        store().write(document("x", deviceId = "d2"))
        val gone = """{"kind":"gone","device_id":"d1","why":"identity_forgotten"}"""
        assertEquals(listOf(enrolled, changing, changed, gone), historyFile.readLines().take(4))
        assertEquals(5, historyFile.readLines().size)
        assertFalse(historyFile.readLines().last().contains("d1"))
    }

    @Test
    fun `a key is on record before the device takes it and until after it lets go`() {
        store().write(document("k"))
        assertThrows(IOException::class.java) { history().record(document("k", "n")) { throw IOException("killed") } }
        assertEquals(listOf(enrolled, changing), historyFile.readLines())
        history().record(document("k", "n")) {}
        assertThrows(IOException::class.java) { history().record(document("n")) { throw IOException("killed") } }
        assertEquals(listOf(enrolled, changing), historyFile.readLines())
    }

    @Test
    fun `what a kill left out is made good at the next start`() {
        store().write(document("k", "n"))
        AtomicFile.write(file, document("n"))
        store()
        assertEquals(changed, historyFile.readLines().last())
    }

    @Test
    fun `a damaged document is handed on as it is`() {
        store().write(document("k"))
        file.writeText("{damaged")
        assertEquals("{damaged", store().read())
        assertEquals(listOf(enrolled), historyFile.readLines())
    }

    @Test
    fun `a line that a kill cut off costs nothing else`() {
        store().write(document("k"))
        historyFile.appendText("""{"kind":"ke""")
        store().write(document("k", "n"))
        assertEquals(listOf(enrolled, changing), historyFile.readLines().filter { it.endsWith("}") })
    }
}
