package com.nexmdm.core.identity

import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.RecordingLog
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import java.io.IOException

class VaultTest {
    private val log = RecordingLog()
    private val identity = Identity(
        deviceId = "d1",
        deviceToken = "t0k3n",
        deviceKey = "aa11",
        servers = listOf("https://a"),
        cleartextHosts = setOf("h"),
        alias = "kiosk",
    )

    @Test
    fun `what was written is there after a restart, and after forgetting only what is pending`() {
        val store = MemorySecretStore()
        val pending = PendingEnrollment(listOf("https://a"), "enr0ll", alias = "kiosk", certificatePins = setOf("sha256/x"))
        Vault(store, log).update { VaultDocument(pending, identity, StoredSession("s3ss", 5)) }
        val again = Vault(store, log)
        assertEquals(VaultDocument(pending, identity, StoredSession("s3ss", 5)), again.document)
        again.forgetIdentity()
        again.forgetIdentity()
        assertEquals(VaultDocument(pending), Vault(store, log).document)
        assertEquals(listOf(mapOf("device_id" to "d1")), log.of("identity.forgotten"))
    }

    @Test
    fun `a write that fails changes nothing`() {
        val store = MemorySecretStore()
        val vault = Vault(store, log)
        vault.update { it.copy(identity = identity) }
        store.failing = true
        assertThrows(IOException::class.java) { vault.forgetIdentity() }
        assertEquals(identity, vault.identity)
    }

    @Test
    fun `an unreadable document counts as none and is not quoted`() {
        val vault = Vault(MemorySecretStore("""{"identity": "t0k3n"}"""), log)
        assertNull(vault.identity)
        assertEquals(1, log.entries.size)
        assertFalse(log.entries.toString().contains("t0k3n"))
    }

    @Test
    fun `nothing prints secrets`() {
        val rotated = identity.rotateTo("bb22", "r1", signedByNext = false)
        val document = VaultDocument(PendingEnrollment(listOf("https://a"), "enr0ll"), rotated, StoredSession("s3ss", 5))
        for (secret in listOf("t0k3n", "aa11", "bb22", "enr0ll", "s3ss")) {
            assertFalse(listOf(document, document.pending, document.identity, document.session).toString().contains(secret), secret)
        }
    }

    @Test
    fun `both keys hold until the result of the rotation is acknowledged`() {
        val rotating = identity.rotateTo("bb22", "r1", signedByNext = false)
        assertEquals(listOf("aa11", "bb22"), rotating.deviceKeys)
        assertEquals(rotating, rotating.rotationAcknowledged("another"))
        assertEquals(listOf("bb22"), rotating.rotationAcknowledged("r1").deviceKeys)
        val twice = rotating.rotateTo("bb22", "r2", signedByNext = false)
        assertEquals(listOf("bb22"), twice.rotationAcknowledged("r1").deviceKeys)
        assertEquals(listOf("bb22"), twice.rotationAcknowledged("r1").rotationAcknowledged("r2").deviceKeys)
        assertEquals(listOf("bb22", "cc33"), rotating.rotateTo("cc33", "r2", signedByNext = true).deviceKeys)
        assertEquals(listOf("aa11", "cc33"), rotating.rotateTo("cc33", "r2", signedByNext = false).deviceKeys)
    }
}
