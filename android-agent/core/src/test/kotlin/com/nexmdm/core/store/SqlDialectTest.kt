package com.nexmdm.core.store

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File

/** Tests run on a newer SQLite than devices have: Android 8 brings 3.18, Android 10 still 3.22. */
class SqlDialectTest {
    @Test
    fun `no statement needs an SQLite that Android 8 lacks`() {
        val sources = File("src/main/kotlin").walk().filter { it.extension == "kt" && it.name != "Sql.kt" }.toList()
        assertTrue(sources.size > 50, "sources are not where they are looked for")
        val newer = Regex("""ON CONFLICT|RETURNING|OVER \(|RENAME COLUMN|DROP COLUMN|GENERATED ALWAYS""")
        val found = sources.flatMap { file -> file.readLines().filter { line -> '"' in line && newer.containsMatchIn(line) } }
        assertEquals(emptyList<String>(), found)
    }
}
