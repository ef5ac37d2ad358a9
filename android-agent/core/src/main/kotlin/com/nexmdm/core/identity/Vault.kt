package com.nexmdm.core.identity

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.SecretStore
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import kotlinx.serialization.json.Json

/** The agent's secrets: one document, apart from the database so that a damaged database costs no identity. */
class Vault(private val secrets: SecretStore, private val log: EventLog) {
    private var present: VaultDocument = read()

    /** The document as it was written last. */
    val document: VaultDocument get() = present

    /** Who the device is, or null when it is not enrolled. */
    val identity: Identity? get() = present.identity

    /** The enrollment to be done, or null. */
    val pending: PendingEnrollment? get() = present.pending

    /** The session, or null. */
    val session: StoredSession? get() = present.session

    /** Commands made before this time of the server (ms since 1970) are not run. */
    val replayFloorMs: Long get() = present.identity?.replayFloorMs ?: 0

    /**
     * Replaces the document by what [change] makes of it; durable when this returns. Throws [java.io.IOException] when it cannot be
     * written: the old one holds then.
     */
    fun update(change: (VaultDocument) -> VaultDocument) {
        val next = change(present)
        if (next == present) return
        secrets.write(FORMAT.encodeToString(VaultDocument.serializer(), next))
        present = next
    }

    /** Changes the identity; without one nothing happens. Durable when this returns, throws [java.io.IOException]. */
    fun updateIdentity(change: (Identity) -> Identity): Unit = update { it.copy(identity = it.identity?.let(change)) }

    /** Forgets who the device is and its session. A pending enrollment stays. Throws [java.io.IOException]. */
    fun forgetIdentity() {
        val deviceId = identity?.deviceId ?: return
        update { it.copy(identity = null, session = null) }
        log.info("identity.forgotten", "device_id" to deviceId)
    }

    private fun read(): VaultDocument {
        val text = secrets.read() ?: return VaultDocument()
        return try {
            FORMAT.decodeFromString(VaultDocument.serializer(), text)
        } catch (_: IllegalArgumentException) {
            // Without the cause: it quotes the document.
            log.warn("identity.unreadable")
            VaultDocument()
        }
    }

    private companion object {
        val FORMAT: Json = Json {
            ignoreUnknownKeys = true
            explicitNulls = false
        }
    }
}
