package com.nexmdm.core.port

/** How much an event matters. */
enum class Level { DEBUG, INFO, WARN, ERROR }

/**
 * The structured log: one event a line, named `area.verb`, such as `deliver.ok`; docs/agent.md lists them.
 *
 * Fields are text, numbers, booleans or null; never a token, key or password.
 */
interface EventLog {
    /** Writes one event. Never throws. */
    fun log(level: Level, event: String, fields: Map<String, Any?>)
}

/** An event of normal operation. */
fun EventLog.info(event: String, vararg fields: Pair<String, Any?>): Unit = log(Level.INFO, event, fields.toMap())

/** An event that somebody should look at. */
fun EventLog.warn(event: String, vararg fields: Pair<String, Any?>): Unit = log(Level.WARN, event, fields.toMap())
