package com.nexmdm.core.link

import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.withTimeoutOrNull

/** Wakes one coroutine that waits; several signals before it looks are one. May be given from any thread. */
class Signal {
    internal val channel = Channel<Unit>(Channel.CONFLATED)

    /** Wakes the waiter, or lets its next wait return at once. */
    fun give() {
        channel.trySend(Unit)
    }

    /** Waits for a signal, at most [timeoutMs]; null: without end. */
    suspend fun await(timeoutMs: Long?) {
        if (timeoutMs == null) channel.receive() else withTimeoutOrNull(timeoutMs.coerceAtLeast(1)) { channel.receive() }
    }
}
