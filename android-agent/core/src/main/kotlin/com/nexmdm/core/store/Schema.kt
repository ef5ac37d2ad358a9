package com.nexmdm.core.store

/** Tables of the agent's database, as steps from one `user_version` to the next. A released step never changes. */
internal object Schema {
    /** The version that this agent works with. */
    val version: Int get() = STEPS.size

    /** Statements that lead from [version] to the latest. */
    fun stepsFrom(version: Int): List<String> = STEPS.drop(version).flatten()

    private val STEPS: List<List<String>> = listOf(
        listOf(
            "CREATE TABLE setting (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
            // AUTOINCREMENT: the id of an item is the id of its frame, so it must never come again.
            """CREATE TABLE outbox (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                kind TEXT NOT NULL,
                subject TEXT NOT NULL,
                bucket_start_ms INTEGER,
                body TEXT NOT NULL,
                body_bytes INTEGER NOT NULL,
                queued_at_ms INTEGER NOT NULL,
                queued_server_ms INTEGER)""",
            "CREATE UNIQUE INDEX outbox_bucket ON outbox (bucket_start_ms) WHERE bucket_start_ms IS NOT NULL",
            "CREATE INDEX outbox_subject ON outbox (subject, kind)",
            """CREATE TABLE command (
                request_id TEXT PRIMARY KEY NOT NULL,
                action TEXT NOT NULL,
                expires_at_ms INTEGER NOT NULL,
                state TEXT NOT NULL,
                boot_id TEXT NOT NULL) WITHOUT ROWID""",
            "CREATE INDEX command_state ON command (state)",
            "CREATE INDEX command_expiry ON command (expires_at_ms)",
            "CREATE TABLE installation (id TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) WITHOUT ROWID",
            // Numbers of items go on from a random place, so that an acknowledgement meant for a lost database removes nothing.
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox', abs(random() % 1000000000) * 1000",
            "INSERT INTO setting (key, value) VALUES ('database_id', lower(hex(randomblob(16))))",
        ),
    )
}
