package com.nexmdm.host.device

import com.nexmdm.host.storage.AtomicFile
import java.io.File
import java.util.UUID

/**
 * A boot of the simulated device: its id and its start by the machine's monotonic clock, which all processes of one boot of the
 * machine share. What is left of an earlier boot of the machine counts as a reboot of the device.
 */
internal class Boot(folder: File, private val machineNs: () -> Long = System::nanoTime) {
    private val idFile = folder.resolve("boot_id")
    private val startFile = folder.resolve("boot_started_ns")

    /** Identifies this boot. */
    val id: String
    private val startedNs: Long

    init {
        val keptId = AtomicFile.read(idFile)?.trim()?.ifEmpty { null }
        val keptNs = AtomicFile.read(startFile)?.trim()?.toLongOrNull()
        if (keptId == null || keptNs == null || keptNs > machineNs()) reboot()
        id = AtomicFile.read(idFile)?.trim().orEmpty()
        startedNs = AtomicFile.read(startFile)?.trim()?.toLongOrNull() ?: machineNs()
    }

    /** Time since this boot, ms. */
    fun sinceMs(): Long = (machineNs() - startedNs) / NS_PER_MS

    /** Begins another boot, for the processes that are started from now on. */
    fun reboot() {
        // In this order: a kill in between leaves a clock that went on, never one that went back within a boot.
        AtomicFile.write(idFile, UUID.randomUUID().toString())
        AtomicFile.write(startFile, machineNs().toString())
    }

    private companion object {
        const val NS_PER_MS = 1_000_000
    }
}
