package com.nexmdm.host

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import kotlinx.coroutines.CancellationException
import java.io.File
import java.util.concurrent.CopyOnWriteArrayList

/** Remembers the names of events. */
internal class RecordingLog : EventLog {
    val events = CopyOnWriteArrayList<String>()

    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        events += event
    }
}

/** Remembers the status of a process that would have ended, and stops whoever ended it. */
internal class RecordingEnd : ProcessEnd {
    val statuses = CopyOnWriteArrayList<Int>()

    override fun now(status: Int): Nothing {
        statuses += status
        throw CancellationException("the process ends here")
    }
}

/** An APK of the server's tests; the folder's script says how each was made and signed. */
internal fun apk(name: String): File = File("../../actors/testdata/apks/$name").also { check(it.isFile) { "no $it" } }
