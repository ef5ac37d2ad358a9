package com.nexmdm.install

import android.content.Context
import com.nexmdm.platform.deviceProtected

/** Ids of sessions that were committed, kept over the end of the process: before Android 10 the system does not tell. */
internal class CommittedSessions(context: Context) {
    private val store = context.deviceProtected().getSharedPreferences("install_sessions", Context.MODE_PRIVATE)

    /** Notes a session, durably. */
    fun add(sessionId: Int): Boolean = store.edit().putBoolean(sessionId.toString(), true).commit()

    /** Whether a session was committed. */
    fun contains(sessionId: Int): Boolean = store.contains(sessionId.toString())

    /** The session is decided. */
    fun forget(sessionId: Int) {
        store.edit().remove(sessionId.toString()).apply()
    }

    /** Drops every id that the system does not know any more. */
    fun retain(known: Set<Int>) {
        val gone = store.all.keys.filter { it.toIntOrNull() !in known }
        if (gone.isNotEmpty()) store.edit().apply { gone.forEach { remove(it) } }.apply()
    }
}
