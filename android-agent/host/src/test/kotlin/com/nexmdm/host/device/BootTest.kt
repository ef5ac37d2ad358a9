package com.nexmdm.host.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class BootTest {
    @TempDir
    lateinit var folder: File

    private var machineNs = 5_000_000_000L

    private fun boot() = Boot(folder) { machineNs }

    @Test
    fun `a boot goes on over the processes that run in it`() {
        val first = boot()
        machineNs += 2_000_000_000
        val second = boot()
        assertEquals(first.id, second.id)
        assertEquals(2_000, second.sinceMs())
    }

    @Test
    fun `a reboot is another boot that begins at nothing`() {
        val first = boot()
        machineNs += 2_000_000_000
        first.reboot()
        val second = boot()
        assertNotEquals(first.id, second.id)
        assertEquals(0, second.sinceMs())
    }

    @Test
    fun `a reboot of the machine is one of the device`() {
        val first = boot()
        machineNs = 1_000_000_000
        val second = boot()
        assertNotEquals(first.id, second.id)
        assertEquals(0, second.sinceMs())
    }
}
