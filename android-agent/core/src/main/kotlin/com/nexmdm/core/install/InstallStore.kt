package com.nexmdm.core.install

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.warn
import com.nexmdm.core.store.AgentDatabase
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json

/** Installations on disk. Every function throws [com.nexmdm.core.port.SqlException]. */
internal class InstallStore(private val db: AgentDatabase, private val log: EventLog) {
    // Documents outlive updates of the agent: what a version does not know is ignored, what is missing has a default.
    private val json = Json {
        ignoreUnknownKeys = true
        explicitNulls = false
    }

    /** All, in the order in which they came; [unreadable] is told the ids of those that are not understood, which are removed. */
    fun load(unreadable: (String) -> Unit): List<Installation> {
        val rows = db.query("SELECT id, document FROM installation") { row -> row.text(0).orEmpty() to row.text(1).orEmpty() }
        return rows.mapNotNull { (id, document) ->
            decode(document) ?: run {
                log.warn("install.unreadable", "id" to id)
                db.inTransaction {
                    remove(id)
                    unreadable(id)
                }
                null
            }
        }.sortedBy { it.sequence }
    }

    /** Keeps one, new or changed. */
    fun put(installation: Installation) {
        val document = json.encodeToString(Installation.serializer(), installation)
        db.execute(
            "INSERT OR REPLACE INTO installation (id, document) VALUES (?, ?)",
            installation.id,
            document,
        )
    }

    /** Removes one. */
    fun remove(id: String) {
        db.execute("DELETE FROM installation WHERE id = ?", id)
    }

    /** Removes all. */
    fun clear() {
        db.execute("DELETE FROM installation")
    }

    private fun decode(document: String): Installation? = try {
        json.decodeFromString(Installation.serializer(), document)
    } catch (_: SerializationException) {
        null
    } catch (_: IllegalArgumentException) {
        null
    }
}
