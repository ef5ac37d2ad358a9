package com.nexmdm.fcm

import com.nexmdm.core.port.PushListener

/** Hands what the service receives to the listener; keeps messages for a source that is about to start: they may start the process. */
internal object Mailbox {
    /** How many messages are kept; the newest. */
    const val EARLY_MAX: Int = 16

    private val early = ArrayDeque<Map<String, String>>()
    private var listener: PushListener? = null

    /** A message of these fields arrived. */
    @Synchronized
    fun message(data: Map<String, String>) {
        val to = listener
        if (to != null) return to.onMessage(data)
        if (early.size == EARLY_MAX) early.removeFirst()
        early += data
    }

    /** The device's token changed; a source that is about to start asks for it. */
    @Synchronized
    fun token(token: String) {
        listener?.onToken(token)
    }

    /** Hands everything to [to] from now on, first what was kept. */
    @Synchronized
    fun attach(to: PushListener) {
        listener = to
        while (early.isNotEmpty()) to.onMessage(early.removeFirst())
    }

    /** Hands nothing to [from] any more. */
    @Synchronized
    fun detach(from: PushListener?) {
        if (listener === from) listener = null
    }
}
