package com.nexmdm.host.storage

import com.nexmdm.core.port.DownloadFolder
import com.nexmdm.host.UsageException
import java.io.File
import java.io.IOException
import java.nio.channels.FileLock
import java.nio.channels.OverlappingFileLockException

/**
 * Layout of the folder that outlives the process. Everything beside [platform] is the agent's; [platform] is the simulated
 * Android, which the agent reaches through ports only.
 */
internal class StateFolder(val root: File) {
    /** The vault. */
    val identity: File = root.resolve("identity.json")

    /** Keys that the device took, for whoever judges its commands. */
    val keyHistory: File = root.resolve("identities.jsonl")

    /** SQLite database. */
    val database: File = root.resolve("agent.db")

    /** Downloads. */
    val downloads: File = root.resolve("downloads")

    /** SQLite itself, unpacked. */
    val libraries: File = root.resolve("lib")

    /** The simulated Android. */
    val platform: File = root.resolve("platform")

    private var lock: FileLock? = null

    /** Makes the folder and keeps other processes out of it until this one ends. Throws [UsageException]. */
    fun open() {
        try {
            for (folder in listOf(root, downloads, libraries, platform)) AtomicFile.makeFolder(folder)
            lock = AtomicFile.append(root.resolve("lock")).tryLock()
        } catch (e: IOException) {
            throw UsageException("--state: cannot use $root (${e.message})")
        } catch (_: OverlappingFileLockException) {
            lock = null
        }
        lock ?: throw UsageException("--state: $root is in use by another agent; give this one its own")
    }

    /** Lets others use the folder. */
    fun close() {
        lock?.channel()?.close()
        lock = null
    }
}

/** The folder of downloads, as large as the simulated device says and not larger than the disk. */
internal class SimulatedDownloads(override val folder: File, private val storageFreeMb: () -> Long) : DownloadFolder {
    override fun freeBytes(): Long = minOf(storageFreeMb() * BYTES_PER_MIB, folder.usableSpace)

    private companion object {
        const val BYTES_PER_MIB = 1L shl 20
    }
}
