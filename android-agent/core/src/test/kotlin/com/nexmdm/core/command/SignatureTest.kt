package com.nexmdm.core.command

import com.nexmdm.core.command.CommandRig.Companion.DEVICE_ID
import com.nexmdm.core.command.CommandRig.Companion.KEY
import com.nexmdm.core.command.CommandRig.Companion.OTHER_KEY
import com.nexmdm.core.command.CommandRig.Companion.command
import com.nexmdm.core.command.CommandRig.Companion.signedWith
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.wire.Command
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.constraints.IntRange
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.time.Instant

class SignatureTest {
    private val key = checkNotNull(DeviceKey.fromHex(KEY))
    private val good = command(1, "launch_app", """{"package":"com.example.Café","n":"🙂"}""")

    private fun verdict(command: Command, vararg keys: DeviceKey = arrayOf(key)) =
        judge(command, JudgeInput(DEVICE_ID, keys.toList(), Instant.ofEpochMilli(TestClock.START_MS)) { false })

    /** The signed fields, and how to replace each. */
    private val fields: List<Pair<(Command) -> String, (Command, String) -> Command>> = listOf(
        Command::requestId to { c, text -> c.copy(requestId = text) },
        Command::deviceId to { c, text -> c.copy(deviceId = text) },
        Command::action to { c, text -> c.copy(action = text) },
        Command::ts to { c, text -> c.copy(ts = text) },
        Command::expiresAt to { c, text -> c.copy(expiresAt = text) },
        Command::params to { c, text -> c.copy(params = text) },
    )

    @Property(tries = 2_000)
    fun `any other byte in a signed field is a bad signature`(
        @ForAll @IntRange(min = 0, max = 5) field: Int,
        @ForAll @IntRange(min = 0, max = 10_000) position: Int,
        @ForAll @IntRange(min = 1, max = 255) flip: Int,
    ) {
        val (get, set) = fields[field]
        val text = get(good).toCharArray()
        val at = position % text.size
        text[at] = (text[at].code xor flip).toChar()
        assertEquals(Verdict.BAD_SIGNATURE, verdict(set(good, String(text))))
    }

    @Property(tries = 500)
    fun `any text cut, doubled or moved between fields is a bad signature`(
        @ForAll @IntRange(min = 0, max = 4) field: Int,
        @ForAll @IntRange(min = 0, max = 10_000) position: Int,
    ) {
        val (get, set) = fields[field]
        val text = get(good)
        val at = position % text.length
        assertEquals(Verdict.BAD_SIGNATURE, verdict(set(good, text.removeRange(at, at + 1))))
        assertEquals(Verdict.BAD_SIGNATURE, verdict(set(good, text.replaceRange(at, at, text.substring(at, at + 1)))))
        val (nextGet, nextSet) = fields[field + 1]
        val moved = nextSet(set(good, text.substring(0, at)), text.substring(at) + nextGet(good))
        assertEquals(Verdict.BAD_SIGNATURE, verdict(moved))
    }

    @Property(tries = 1_000)
    fun `any other bit of the signature is a bad signature`(@ForAll @IntRange(min = 0, max = 255) bit: Int) {
        val bytes = checkNotNull(Hex.decode(good.signature))
        bytes[bit / 8] = (bytes[bit / 8].toInt() xor (1 shl bit % 8)).toByte()
        assertEquals(Verdict.BAD_SIGNATURE, verdict(good.copy(signature = Hex.encode(bytes))))
    }

    @Test
    fun `a signature of another length or no hex at all is bad`() {
        assertEquals(Verdict.RUN, verdict(good))
        val signature = good.signature
        val cut = listOf("", "0", signature.drop(2), signature.dropLast(1), signature + "00")
        for (bad in cut + listOf("zz", " $signature", "٠" + signature.drop(1))) {
            assertEquals(Verdict.BAD_SIGNATURE, verdict(good.copy(signature = bad)), bad)
        }
    }

    @Test
    fun `a signature in upper case is the same bytes`() {
        assertEquals(Verdict.RUN, verdict(good.copy(signature = good.signature.uppercase())))
    }

    @Test
    fun `half a surrogate pair does not pass for what replaces it`() {
        val question = command(2, params = "?")
        assertEquals(Verdict.RUN, verdict(question))
        assertEquals(Verdict.BAD_SIGNATURE, verdict(question.copy(params = "\ud800")))
        assertNull(Signature.signedText(question.copy(params = "\udc00")))
        assertFalse(Signature.isMadeBy(key, question.copy(action = "\ud800")))
    }

    @Test
    fun `every key that is held is tried`() {
        val other = checkNotNull(DeviceKey.fromHex(OTHER_KEY))
        assertEquals(Verdict.RUN, verdict(good.signedWith(OTHER_KEY), key, other))
        assertEquals(Verdict.RUN, verdict(good, other, key))
        assertEquals(Verdict.BAD_SIGNATURE, verdict(good, other))
        assertEquals(Verdict.BAD_SIGNATURE, judge(good, JudgeInput(DEVICE_ID, emptyList(), Instant.EPOCH) { false }))
    }

    @Test
    fun `a key is hex and does not print`() {
        assertNull(DeviceKey.fromHex(""))
        assertNull(DeviceKey.fromHex("xy"))
        assertNull(DeviceKey.fromHex("abc"))
        assertTrue("0011" !in DeviceKey.fromHex("0011").toString())
    }

    @Test
    fun `a time of version 7 is read and others are none`() {
        assertEquals(TestClock.START_MS, uuidTimeMs(good.requestId))
        assertNull(uuidTimeMs("0191a3c8-6a00-4000-8000-000000000001"))
        assertNull(uuidTimeMs("r1"))
    }

    @Test
    fun `only the digits of hex are read, in either case`() {
        val letters = ('a'..'f').associateWith { it - 'a' + 10 }
        val values = ('0'..'9').associateWith { it - '0' } + letters + letters.mapKeys { it.key.uppercaseChar() }
        for (c in '\u0000'..'\u00ff') {
            val expected = values[c]?.let { listOf((0x10 or it).toByte()) }
            assertEquals(expected, Hex.decode("1$c")?.toList(), "U+%04X".format(c.code))
        }
    }
}
