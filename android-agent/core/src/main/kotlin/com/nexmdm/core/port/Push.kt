package com.nexmdm.core.port

/** What receives push messages and their address: FCM, UnifiedPush, or nothing. */
interface PushSource {
    /** Starts receiving; [listener] is called from any thread. */
    fun start(listener: PushListener)

    /** Stops receiving. */
    fun stop()

    /** No push at all: commands come by socket and heartbeat. */
    object None : PushSource {
        override fun start(listener: PushListener) = Unit

        override fun stop() = Unit
    }
}

/** Takes what a [PushSource] receives. */
interface PushListener {
    /** The address of this device for push messages is [token] from now on. */
    fun onToken(token: String)

    /** A data message arrived: the fields of a command, flattened to text. */
    fun onMessage(data: Map<String, String>)
}
