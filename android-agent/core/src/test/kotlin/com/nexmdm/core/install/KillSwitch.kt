package com.nexmdm.core.install

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.Row
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.SqlOpener

/** The end of the process. An Error, so that no handler of exceptions goes on after it. */
class Killed : Error("killed")

/** Ends the process before its n-th effect on the world, and lets none follow. */
class KillSwitch {
    /** Effects so far. */
    var ticks = 0
        private set

    /** The effect before which the process ends; 0: never. */
    var killAt = 0

    /** Whether the process is dead. */
    var isDead = false
        private set

    /** Name of the effect before which it died. */
    var diedBefore: String? = null
        private set

    /** Statements that storage refuses, by their number among those that write. */
    var refuseWrites: (Int) -> Boolean = { false }
    private var writes = 0

    /** Passes, unless the process is dead or dies here. */
    fun tick(effect: String) {
        if (!isDead && ++ticks == killAt) kill(effect)
        if (isDead) throw Killed()
    }

    /** A write to the database, which storage may refuse. */
    fun write(effect: String) {
        tick(effect)
        if (refuseWrites(++writes)) throw SqlException("database or disk is full", null)
    }

    /** Ends the process here. */
    fun kill(effect: String) {
        isDead = true
        diedBefore = effect
    }

    /** A new process. */
    fun revive() {
        isDead = false
        killAt = 0
    }
}

/** A database that ends with its process, between any two statements and before or after a commit. */
class KillableSqlOpener(private val opener: SqlOpener, private val switch: KillSwitch) : SqlOpener {
    override fun open(): Sql = KillableSql(opener.open(), switch)

    override fun discard() = opener.discard()
}

private class KillableSql(private val sql: Sql, private val switch: KillSwitch) : Sql {
    override fun execute(statement: String, vararg arguments: Any?): Int {
        if (!statement.startsWith("PRAGMA")) switch.write(statement.take(STATEMENT_CHARS))
        return sql.execute(statement, *arguments)
    }

    override fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> =
        sql.query(statement, *arguments, map = map)

    override fun <T> transaction(block: () -> T): T =
        sql.transaction { block().also { switch.tick("commit") } }.also { switch.tick("committed") }

    override fun close() = sql.close()

    private companion object {
        const val STATEMENT_CHARS = 40
    }
}

/** A log whose every line the process may die before. */
class KillableLog(private val log: EventLog, private val switch: KillSwitch) : EventLog {
    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        switch.tick(event)
        log.log(level, event, fields)
    }
}
