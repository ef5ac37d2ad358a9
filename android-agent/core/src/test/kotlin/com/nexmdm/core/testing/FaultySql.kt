package com.nexmdm.core.testing

import com.nexmdm.core.port.Row
import com.nexmdm.core.port.Sql
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.SqlOpener

/** A database whose statements with a number in [failing] fail as full storage makes them fail; transactions count as begin and commit. */
class FailingSqlOpener(private val inner: SqlOpener) : SqlOpener by inner {
    /** Statements so far. */
    var count: Int = 0
        private set

    /** Numbers of statements that fail, from 1. */
    var failing: IntRange = IntRange.EMPTY

    private fun step() {
        count++
        if (count in failing) throw SqlException("database or disk is full", null)
    }

    override fun open(): Sql {
        step()
        return WrappedSql(inner.open(), ::step)
    }
}

/** The end of a process at a point that was counted down to. */
class Killed : Error("killed")

/** Counts points down; from the last one on each throws [Killed], as a dead process does nothing more. */
class KillSwitch(private var countdown: Int) {
    /** Whether the process is dead. */
    var isDead: Boolean = false
        private set

    /** A point at which the process may die. */
    fun point() {
        if (--countdown <= 0) isDead = true
        if (isDead) throw Killed()
    }

    /** Kills it, from the next point on. */
    fun kill() {
        isDead = true
    }
}

/** A database that a process uses until it is killed, at any statement or between them. */
class KillingSqlOpener(private val inner: SqlOpener, private val kill: KillSwitch) : SqlOpener by inner {
    override fun open(): Sql {
        kill.point()
        return WrappedSql(inner.open(), kill::point)
    }
}

private class WrappedSql(private val inner: Sql, private val step: () -> Unit) : Sql {
    override fun execute(statement: String, vararg arguments: Any?): Int {
        step()
        return inner.execute(statement, *arguments)
    }

    override fun <T> query(statement: String, vararg arguments: Any?, map: (Row) -> T): List<T> {
        step()
        return inner.query(statement, *arguments, map = map)
    }

    override fun <T> transaction(block: () -> T): T {
        step()
        val value = inner.transaction { block().also { step() } }
        afterCommit()
        return value
    }

    private fun afterCommit() {
        try {
            step()
        } catch (_: SqlException) {
            // A commit that was made does not fail.
        }
    }

    override fun close(): Unit = inner.close()
}
