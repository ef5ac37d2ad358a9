package com.nexmdm.core.store

import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.RecordingLog
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class DeployedAppsTest {
    @TempDir
    lateinit var folder: File

    @Test
    fun `packages are kept over restarts, the latest 50 of them`() {
        fun <T> apps(use: (DeployedApps) -> T): T =
            AgentDatabase(JdbcSqlOpener(File(folder, "agent.db")), RecordingLog()).use { use(DeployedApps(it)) }
        assertEquals(emptySet<String>(), apps { it.names() })
        apps { apps -> (1..50).forEach { apps.add("com.example.a$it") } }
        apps { it.add("com.example.a1") }
        apps { it.add("com.example.b") }
        val names = apps { it.names() }.toList()
        assertEquals((3..50).map { "com.example.a$it" } + "com.example.a1" + "com.example.b", names)
    }
}
