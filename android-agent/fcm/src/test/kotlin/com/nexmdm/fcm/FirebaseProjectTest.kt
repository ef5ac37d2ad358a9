package com.nexmdm.fcm

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File

internal class FirebaseProjectTest {
    private val file = File("src/test/resources/google-services.json").readText()

    private fun refusal(text: String, packageName: String = "com.nexmdm"): String =
        assertThrows(IllegalArgumentException::class.java) { FirebaseProject.parse(text, packageName) }.message!!

    @Test
    fun `the app of the package is taken, not the first`() {
        val expected = FirebaseProject(
            projectId = "made-up-for-tests",
            senderId = "100000000001",
            applicationId = "1:100000000001:android:00000000000000000000bb",
            apiKey = "A-made-up-key-for-tests-of-the-agent-00",
        )
        assertEquals(expected, FirebaseProject.parse(file, "com.nexmdm"))
        assertEquals("A-made-up-key-of-another-app-0000000000", FirebaseProject.parse(file, "com.example.another").apiKey)
    }

    @Test
    fun `a file without the package is refused by its name`() {
        val message = refusal(file, "com.example.mdm")
        for (name in listOf("com.example.mdm", "com.example.another", "com.nexmdm")) assertTrue(message, name in message)
    }

    @Test
    fun `what is no such file is refused`() {
        val empty = """{"project_info":{},"client":[]}"""
        val texts = listOf("", "no json", "[]", "{}", empty, file.replace("project_number", "number"), file.dropLast(9))
        for (text in texts) {
            val message = refusal(text)
            assertTrue(message, message.startsWith("google-services.json cannot be read"))
        }
    }

    @Test
    fun `what the library would refuse at run time is refused at once`() {
        val wrong = mapOf(
            "\"A-made-up-key-for" to "\"B-made-up-key-for",
            "agent-00\"" to "agent\"",
            "\"1:100000000001:android:00000000000000000000bb\"" to "\"no number\"",
            "\"made-up-for-tests\"" to "\"\"",
            "\"100000000001\"" to "\" \"",
        )
        for ((from, to) in wrong) {
            assertTrue(from, from in file)
            refusal(file.replace(from, to))
        }
    }
}
