package com.nexmdm.platform

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyProperties
import android.util.AtomicFile
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.SecretStore
import com.nexmdm.core.port.warn
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyStore
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec

/** Source of the key that seals the secret document. */
internal fun interface SecretKeySource {
    /** The key, made if there is none. Throws [GeneralSecurityException]. */
    fun key(): SecretKey
}

/**
 * An AES key that never leaves the Android Keystore. It asks for no unlocked screen: the agent reads its identity after a
 * reboot that nobody attended.
 */
internal class KeystoreKeySource(private val alias: String = "nexmdm.secrets") : SecretKeySource {
    override fun key(): SecretKey {
        val store = KeyStore.getInstance(PROVIDER).apply { load(null) }
        (store.getKey(alias, null) as? SecretKey)?.let { return it }
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val spec = KeyGenParameterSpec.Builder(alias, purposes)
            .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
            .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
            .setKeySize(KEY_BITS)
            .build()
        return KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, PROVIDER).apply { init(spec) }.generateKey()
    }

    private companion object {
        const val PROVIDER = "AndroidKeyStore"
        const val KEY_BITS = 256
    }
}

/**
 * The secret document in one file, sealed with AES-GCM: a byte of format, length and bytes of the nonce, ciphertext with tag.
 *
 * [file] lies in the no-backup folder of device-protected storage. Whatever cannot be opened (another device's file, a lost key,
 * a flipped bit) reads as no document, so that the device can be enrolled anew.
 */
internal class KeystoreSecretStore(private val file: File, private val keys: SecretKeySource, private val log: EventLog) : SecretStore {
    private val atomic = AtomicFile(file)

    override fun read(): String? {
        val sealed = try {
            atomic.readFully()
        } catch (_: FileNotFoundException) {
            return null
        } catch (e: IOException) {
            log.warn("secrets.unreadable", "error" to e.javaClass.simpleName)
            return null
        }
        return try {
            open(sealed)
        } catch (e: GeneralSecurityException) {
            log.warn("secrets.unreadable", "error" to e.javaClass.simpleName)
            null
        } catch (e: RuntimeException) {
            // Some vendors' Keystores throw these for a key that is gone.
            log.warn("secrets.unreadable", "error" to e.javaClass.simpleName)
            null
        }
    }

    override fun write(document: String) {
        val sealed = try {
            seal(document)
        } catch (e: GeneralSecurityException) {
            throw IOException("the Keystore did not seal: ${e.javaClass.simpleName}", e)
        }
        file.parentFile?.mkdirs()
        // AtomicFile writes beside, syncs and renames.
        val stream = atomic.startWrite()
        try {
            stream.write(sealed)
        } catch (e: IOException) {
            atomic.failWrite(stream)
            throw e
        }
        atomic.finishWrite(stream)
        // finishWrite reports a failed sync or rename in the system's log alone.
        if (!atomic.readFully().contentEquals(sealed)) throw IOException("the secrets were not written")
    }

    override fun clear() {
        atomic.delete()
    }

    private fun seal(document: String): ByteArray {
        val cipher = Cipher.getInstance(TRANSFORMATION)
        // The Keystore picks the nonce: it refuses one of the caller's.
        cipher.init(Cipher.ENCRYPT_MODE, keys.key())
        cipher.updateAAD(CONTEXT)
        val sealed = cipher.doFinal(document.toByteArray())
        return byteArrayOf(FORMAT, cipher.iv.size.toByte()) + cipher.iv + sealed
    }

    private fun open(sealed: ByteArray): String {
        if (sealed.size < 2 || sealed[0] != FORMAT) throw GeneralSecurityException("unknown format")
        val nonceSize = sealed[1].toInt()
        if (nonceSize !in 1..MAX_NONCE_BYTES || sealed.size < 2 + nonceSize) throw GeneralSecurityException("truncated")
        val cipher = Cipher.getInstance(TRANSFORMATION)
        cipher.init(Cipher.DECRYPT_MODE, keys.key(), GCMParameterSpec(TAG_BITS, sealed, 2, nonceSize))
        cipher.updateAAD(CONTEXT)
        return String(cipher.doFinal(sealed, 2 + nonceSize, sealed.size - 2 - nonceSize))
    }

    private companion object {
        const val TRANSFORMATION = "AES/GCM/NoPadding"
        const val TAG_BITS = 128
        const val MAX_NONCE_BYTES = 32
        const val FORMAT: Byte = 1

        /** Binds the ciphertext to its purpose. */
        val CONTEXT = "nexmdm-secrets-v1".toByteArray()
    }
}
