package com.nexmdm.core.port

import java.io.File

/** A folder for downloads with a known budget. */
interface DownloadFolder {
    /** The folder; files in it may be removed by the system at any time. */
    val folder: File

    /** Bytes that may still be written to the folder's file system. */
    fun freeBytes(): Long
}

/** Wakes the device for the agent, also from sleep. */
interface WakeUps {
    /** Asks for a call of the agent's `wake` in about [delayMs]; replaces what was asked for before. */
    fun schedule(delayMs: Long)

    /** A process that never sleeps needs none. */
    object None : WakeUps {
        override fun schedule(delayMs: Long) = Unit
    }
}

/** Everything that the core needs of the world. */
class Ports(
    val clock: Clock,
    val randomness: Randomness,
    val sqlOpener: SqlOpener,
    val secrets: SecretStore,
    val log: EventLog,
    val http: Http,
    val monitor: DeviceMonitor,
    val facts: DeviceFacts,
    val actions: Actions,
    val installer: AppInstaller,
    val downloads: DownloadFolder,
    val push: PushSource = PushSource.None,
    val wakeUps: WakeUps = WakeUps.None,
    val observer: Observer = Observer.None,
)
