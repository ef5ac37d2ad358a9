package com.nexmdm.host.platform

import com.nexmdm.host.apk
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class ApkReaderTest {
    private fun read(name: String) = checkNotNull(ApkReader.read(apk(name), 33)) { name }

    @Test
    fun `an APK says what it is and who signed it`() {
        val till = read("till-2.apk")
        val said = listOf(till.facts.packageName, till.facts.versionCode, till.facts.minSdk, till.versionName)
        assertEquals(listOf("com.example.till", 2L, 26, "2.0"), said)
        assertTrue(till.facts.signerSha256.single().matches(Regex("[0-9a-f]{64}")))
        assertEquals(till.facts.signerSha256, till.facts.lineageSha256)
        assertNotEquals(till.facts.signerSha256, read("till-5-foreign.apk").facts.signerSha256)
    }

    @Test
    fun `the oldest signature scheme counts on the devices that take it`() {
        val signers = listOf(29, 33).map { sdkInt -> ApkReader.read(apk("till-6-v1.apk"), sdkInt)?.facts?.signerSha256 }
        // From Android 11 on an app of target 30 needs a newer one.
        assertEquals(listOf(read("till-2.apk").facts.signerSha256, emptySet()), signers)
    }

    @Test
    fun `a rotated key brings its lineage`() {
        val (before, rotated) = read("till-2.apk").facts to read("till-8-rotated.apk").facts
        assertNotEquals(before.signerSha256, rotated.signerSha256)
        assertEquals(before.signerSha256 + rotated.signerSha256, rotated.lineageSha256)
    }

    @Test
    fun `without a signature that holds there are no signers`(@TempDir folder: File) {
        assertEquals(emptySet<String>(), read("till-7-unsigned.apk").facts.signerSha256)
        // A byte of the contents, somewhere before the signatures.
        val bytes = apk("till-2.apk").readBytes().also { it[200] = (it[200] + 1).toByte() }
        val altered = folder.resolve("altered.apk").also { it.writeBytes(bytes) }
        assertEquals(emptySet<String>(), ApkReader.read(altered, 33)?.facts?.signerSha256.orEmpty())
    }

    @Test
    fun `what is no APK is nothing`(@TempDir folder: File) {
        val text = folder.resolve("text.apk").also { it.writeText("no archive") }
        val half = folder.resolve("half.apk").also { it.writeBytes(apk("till-2.apk").readBytes().copyOf(3_000)) }
        for (file in listOf(text, half, folder.resolve("none.apk"))) assertNull(ApkReader.read(file, 33), "$file")
    }
}
