package com.nexmdm.core.store

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.warn
import com.nexmdm.core.time.TimePersistence

/** Keeps the estimate of the server's time in the database. */
class DatabaseTime(private val database: AgentDatabase, private val log: EventLog) : TimePersistence {
    override fun load(): String? = try {
        database.setting(KEY)
    } catch (e: SqlException) {
        log.warn("store.fail", "error" to e.message)
        null
    }

    override fun save(document: String) {
        try {
            database.putSetting(KEY, document)
        } catch (e: SqlException) {
            log.warn("store.fail", "error" to e.message)
        }
    }

    private companion object {
        const val KEY = "server_time"
    }
}
