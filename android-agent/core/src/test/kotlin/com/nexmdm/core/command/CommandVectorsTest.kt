package com.nexmdm.core.command

import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.wire.Command
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import java.io.File

/** The vectors that server, simulator and agent share. */
class CommandVectorsTest {
    @Serializable
    class Case(
        val name: String,
        val keys: List<String>,
        val seen: List<String>,
        val command: Command? = null,
        val data: Map<String, String>? = null,
        @SerialName("signed_text") val signedText: String? = null,
        val verdict: String,
    )

    @Serializable
    class Vectors(
        val now: String,
        @SerialName("device_id") val deviceId: String,
        val keys: Map<String, String>,
        val commands: List<Case>,
        @SerialName("legacy_push") val legacyPush: List<Case>,
    )

    private val vectors: Vectors by lazy {
        val file = File("../../actors/wire/fixtures/commands.json")
        check(file.isFile) { "the shared vectors are missing: ${file.absoluteFile.normalize()}; tests run in the folder of their module" }
        Json.decodeFromString(Vectors.serializer(), file.readText())
    }

    private fun input(case: Case) = JudgeInput(
        deviceId = vectors.deviceId,
        keys = case.keys.map { checkNotNull(DeviceKey.fromHex(vectors.keys.getValue(it))) },
        now = Rfc3339.parse(vectors.now),
        knows = { it in case.seen },
    )

    @Serializable
    class ActionCase(val action: String, val params: JsonObject, val valid: Boolean)

    @TestFactory
    fun `parameters have the limits of the server`(): List<DynamicTest> {
        val cases = Json.decodeFromString<List<ActionCase>>(File("../../actors/wire/fixtures/actions.json").readText())
        val ofPlatform = cases.filter { it.action !in setOf("ping", "sync", "update", "rotate_key") }
        return ofPlatform.map { case ->
            DynamicTest.dynamicTest("${case.action} ${case.params.toString().take(80)}") {
                if (case.valid) {
                    assertNotNull(plan(case.action, case.params.toString()))
                } else {
                    assertThrows(BadParams::class.java) { plan(case.action, case.params.toString()) }
                }
            }
        }
    }

    @TestFactory
    fun `every command gets its verdict`(): List<DynamicTest> = vectors.commands.map { case ->
        DynamicTest.dynamicTest(case.name) {
            val command = checkNotNull(case.command)
            assertEquals(case.signedText, Signature.signedText(command))
            assertEquals(case.verdict, judge(command, input(case)).wireName)
        }
    }

    @TestFactory
    fun `every push of the earlier server gets its verdict`(): List<DynamicTest> = vectors.legacyPush.map { case ->
        DynamicTest.dynamicTest(case.name) { assertEquals(case.verdict, LegacyPush.judge(checkNotNull(case.data), input(case)).wireName) }
    }

    @Test
    fun `there are vectors for every verdict that they have a name for`() {
        val reached = (vectors.commands + vectors.legacyPush).map { it.verdict }.toSet()
        assertEquals(setOf("bad_signature", "expired", "other_device", "run", "seen_before", "unknown_version"), reached)
        assertTrue(vectors.commands.size >= 34 && vectors.legacyPush.size >= 16)
    }
}
