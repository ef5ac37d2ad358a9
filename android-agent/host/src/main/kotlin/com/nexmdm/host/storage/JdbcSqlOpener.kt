package com.nexmdm.host.storage

import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlOpener
import org.sqlite.SQLiteConfig
import java.io.File

/**
 * Opens the agent's database. How durable a commit is, the core says itself (`journal_mode`, `synchronous`): whatever was committed
 * to a write-ahead log is the operating system's, so a killed process loses none of it.
 */
internal class JdbcSqlOpener(private val file: File) : SqlOpener {
    override fun open(): Sql =
        JdbcSql.guarded {
            val config = SQLiteConfig()
            config.setBusyTimeout(BUSY_TIMEOUT_MS)
            JdbcSql(config.createConnection("jdbc:sqlite:${file.path}"))
        }

    override fun discard() {
        for (suffix in listOf("-wal", "-shm", "-journal", "")) File(file.path + suffix).delete()
    }

    private companion object {
        const val BUSY_TIMEOUT_MS = 5_000
    }
}
