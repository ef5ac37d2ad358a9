package com.nexmdm.host.device

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.host.UsageException
import java.io.File
import java.io.IOException
import java.nio.file.ClosedWatchServiceException
import java.nio.file.StandardWatchEventKinds
import java.nio.file.WatchService
import kotlin.concurrent.thread

/** The profile in force: that of the file, read again whenever it changes. */
internal class ProfileFile(private val file: File?, private val log: EventLog) : AutoCloseable {
    private var stamp: Stamp? = null
    private var watch: WatchService? = null

    @Volatile
    private var listener: (DeviceProfile) -> Unit = {}

    /** The profile as it was read last. */
    @Volatile
    var current: DeviceProfile = DeviceProfile()
        private set

    init {
        if (file != null) {
            try {
                stamp = Stamp.of(file)
                current = DeviceProfile.parse(file.readText())
            } catch (e: IOException) {
                throw UsageException("--device-profile: cannot read $file (${e.message})")
            } catch (e: IllegalArgumentException) {
                throw UsageException("--device-profile: $file: ${e.message}")
            }
        }
    }

    /** Tells [listener] of every change from now on, from a thread of its own that sleeps in between. */
    fun watch(listener: (DeviceProfile) -> Unit) {
        this.listener = listener
        val folder = file?.parentFile?.toPath() ?: return
        try {
            val service = folder.fileSystem.newWatchService()
            folder.register(service, StandardWatchEventKinds.ENTRY_CREATE, StandardWatchEventKinds.ENTRY_MODIFY)
            watch = service
            thread(isDaemon = true, name = "device-profile") { follow(service) }
        } catch (e: IOException) {
            // The system has a limit of watches. Readings still see changes.
            log.warn("profile.unwatched", "error" to e.message)
        }
    }

    /** Reads the file again if it is another one than last time; keeps what was in force if it cannot be read. */
    @Synchronized
    fun refresh(): DeviceProfile {
        if (file == null) return current
        try {
            val present = Stamp.of(file)
            if (present == stamp) return current
            val profile = DeviceProfile.parse(file.readText())
            stamp = present
            if (profile != current) {
                current = profile
                log.info("profile.changed")
                listener(profile)
            }
        } catch (e: IOException) {
            log.warn("profile.unreadable", "error" to e.message)
        } catch (e: IllegalArgumentException) {
            // Perhaps half written: the end of writing is a change of its own.
            log.warn("profile.unreadable", "error" to e.message)
        }
        return current
    }

    override fun close() {
        watch?.close()
    }

    private fun follow(service: WatchService) {
        try {
            while (true) {
                val key = service.take()
                val isOurs = key.pollEvents().any { it.context()?.toString() == file?.name }
                if (isOurs) refresh()
                if (!key.reset()) return
            }
        } catch (_: ClosedWatchServiceException) {
            return
        }
    }

    private data class Stamp(val modifiedMs: Long, val sizeBytes: Long) {
        companion object {
            fun of(file: File) = Stamp(file.lastModified(), file.length())
        }
    }
}
