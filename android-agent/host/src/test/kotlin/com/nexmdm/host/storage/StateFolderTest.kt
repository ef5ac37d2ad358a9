package com.nexmdm.host.storage

import com.nexmdm.host.UsageException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class StateFolderTest {
    @TempDir
    lateinit var folder: File

    @Test
    fun `one agent at a time has a folder`() {
        val first = StateFolder(folder.resolve("state")).also { it.open() }
        assertThrows(UsageException::class.java) { StateFolder(folder.resolve("state")).open() }
        first.close()
        StateFolder(folder.resolve("state")).also { it.open() }.close()
    }

    @Test
    fun `a place where no folder can be is named`() {
        val file = folder.resolve("file").also { it.writeText("") }
        assertThrows(UsageException::class.java) { StateFolder(file.resolve("state")).open() }
    }

    @Test
    fun `a full device has no room for downloads, whatever the disk has`() {
        assertEquals(0, SimulatedDownloads(folder) { 0 }.freeBytes())
        assertEquals(minOf(1L shl 20, folder.usableSpace), SimulatedDownloads(folder) { 1 }.freeBytes())
    }
}
