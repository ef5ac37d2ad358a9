package com.nexmdm.core.command

import com.nexmdm.core.wire.Command
import java.security.MessageDigest
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec

/** A device key: hex text, as enrollment and `rotate_key` hand it over. */
class DeviceKey private constructor(internal val text: String, private val bytes: ByteArray) {
    /** HMAC-SHA256 (RFC 2104) of [message] with the key's bytes. */
    internal fun hmac(message: ByteArray): ByteArray = hmacSha256(bytes, message)

    /** Without the key. */
    override fun toString(): String = "DeviceKey"

    companion object {
        /** A key from its hex text; null when that is no hex, or empty. */
        fun fromHex(text: String): DeviceKey? = Hex.decode(text)?.takeIf { it.isNotEmpty() }?.let { DeviceKey(text, it) }
    }
}

/** The signature of commands, version 1: actors/wire/fixtures/README.md. */
object Signature {
    /** The only version of a signature there is. */
    const val VERSION: String = "1"

    /** The text that is signed: every field as it arrived, `params` by its SHA-256; null when a field is no Unicode text. */
    fun signedText(command: Command): String? {
        val params = utf8(command.params) ?: return null
        val digest = Hex.encode(MessageDigest.getInstance("SHA-256").digest(params))
        return with(command) { "nexmdm-command-v1\n$requestId\n$deviceId\n$action\n$ts\n$expiresAt\n$digest" }
    }

    /** The signature of a command in hex; null when a field is no Unicode text. */
    fun sign(key: DeviceKey, command: Command): String? = mac(key, command)?.let(Hex::encode)

    /** Whether [key] made the command's signature; compared in constant time. */
    fun isMadeBy(key: DeviceKey, command: Command): Boolean {
        val given = Hex.decode(command.signature) ?: return false
        return MessageDigest.isEqual(mac(key, command) ?: return false, given)
    }

    /** The keys that made the signature. Each key is tried whatever the first one says: who waits learns nothing. */
    fun makers(keys: List<DeviceKey>, command: Command): List<DeviceKey> = keys.filter { isMadeBy(it, command) }

    private fun mac(key: DeviceKey, command: Command): ByteArray? = signedText(command)?.let(::utf8)?.let(key::hmac)
}

/** The bytes of [text], or null when it holds half a surrogate pair: its replacement would make different texts the same bytes. */
internal fun utf8(text: String): ByteArray? = try {
    text.encodeToByteArray(throwOnInvalidSequence = true)
} catch (_: CharacterCodingException) {
    null
}

internal fun hmacSha256(key: ByteArray, message: ByteArray): ByteArray {
    val mac = Mac.getInstance("HmacSHA256")
    mac.init(SecretKeySpec(key, "HmacSHA256"))
    return mac.doFinal(message)
}

/** Hexadecimal text. */
internal object Hex {
    private const val DIGITS = "0123456789abcdef"

    /** Lower-case hex. */
    fun encode(bytes: ByteArray): String = buildString(bytes.size * 2) {
        for (byte in bytes) {
            append(DIGITS[byte.toInt() shr 4 and 0xf])
            append(DIGITS[byte.toInt() and 0xf])
        }
    }

    /** The bytes of hex text in either case, or null when it is none. */
    fun decode(text: String): ByteArray? {
        if (text.length % 2 != 0) return null
        val digits = IntArray(text.length) { index ->
            when (val c = text[index]) {
                in '0'..'9' -> c - '0'
                in 'a'..'f' -> c - 'a' + 10
                in 'A'..'F' -> c - 'A' + 10
                else -> return null
            }
        }
        return ByteArray(digits.size / 2) { (digits[2 * it] shl 4 or digits[2 * it + 1]).toByte() }
    }
}
