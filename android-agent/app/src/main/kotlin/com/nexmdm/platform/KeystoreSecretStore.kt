package com.nexmdm.platform

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
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
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec

/** Source of the key that seals the secret document. Both throw [GeneralSecurityException]. */
internal interface SecretKeySource {
    /** The key, or null when there is none. */
    fun existing(): SecretKey?

    /** The key, generated if there is none. */
    fun existingOrGenerated(): SecretKey
}

/**
 * An AES key that never leaves the Android Keystore. It asks for no unlocked screen: the agent reads its identity after a
 * reboot that nobody attended.
 */
internal class KeystoreKeySource(private val alias: String = "nexmdm.secrets") : SecretKeySource {
    override fun existing(): SecretKey? =
        KeyStore.getInstance(PROVIDER).apply { load(null) }.getKey(alias, null) as? SecretKey

    override fun existingOrGenerated(): SecretKey = existing() ?: generate()

    private fun generate(): SecretKey {
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
 * [file] lies in the no-backup folder of device-protected storage. What can never be opened again (another device's file, a lost
 * key, a flipped bit) reads as no document, so that the device can be enrolled anew. A Keystore that does not answer is another
 * matter: its service may be starting or out of order for a moment, and the identity must not be given up for that.
 */
internal class KeystoreSecretStore(
    private val file: File,
    private val keys: SecretKeySource,
    private val log: EventLog,
    /** The pause before another attempt to read. */
    private val pause: () -> Unit = { Thread.sleep(RETRY_PAUSE_MS) },
) : SecretStore {
    private val atomic = AtomicFile(file)

    /** Throws [IOException] when the document may be there but cannot be read now. */
    override fun read(): String? {
        var result = attempt()
        repeat(RETRIES) {
            if (result is Reading.Done) return@repeat
            pause()
            result = attempt()
        }
        return when (val last = result) {
            is Reading.Done -> last.document
            is Reading.NoKey -> lost("NoKey")
            is Reading.Failed -> {
                log.warn("secrets.fail", "error" to last.cause.javaClass.simpleName)
                throw IOException("the Keystore does not answer: ${last.cause.javaClass.simpleName}", last.cause)
            }
        }
    }

    private sealed interface Reading {
        class Done(val document: String?) : Reading

        data object NoKey : Reading

        class Failed(val cause: Exception) : Reading
    }

    private fun attempt(): Reading = try {
        val sealed = atomic.readFully()
        if (!isWellFormed(sealed)) {
            Reading.Done(lost("Format"))
        } else {
            keys.existing()?.let { Reading.Done(open(sealed, it)) } ?: Reading.NoKey
        }
    } catch (_: FileNotFoundException) {
        Reading.Done(null)
    } catch (e: IOException) {
        Reading.Failed(e)
    } catch (e: GeneralSecurityException) {
        afterFailure(e)
    } catch (e: RuntimeException) {
        // Android's and some vendors' Keystores throw these, too.
        afterFailure(e)
    }

    private fun afterFailure(e: Exception): Reading {
        // The provider wraps some causes.
        val causes = generateSequence<Throwable>(e) { it.cause }.take(CAUSES_MAX)
        val final = causes.any { it is AEADBadTagException || it is KeyPermanentlyInvalidatedException }
        return if (final) Reading.Done(lost(e.javaClass.simpleName)) else Reading.Failed(e)
    }

    private fun lost(error: String): String? {
        log.warn("secrets.unreadable", "error" to error)
        return null
    }

    override fun write(document: String) {
        val sealed = try {
            seal(document)
        } catch (e: GeneralSecurityException) {
            throw IOException("the Keystore did not seal: ${e.javaClass.simpleName}", e)
        } catch (e: RuntimeException) {
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
        cipher.init(Cipher.ENCRYPT_MODE, keys.existingOrGenerated())
        cipher.updateAAD(CONTEXT)
        val sealed = cipher.doFinal(document.toByteArray())
        return byteArrayOf(FORMAT, cipher.iv.size.toByte()) + cipher.iv + sealed
    }

    private fun isWellFormed(sealed: ByteArray): Boolean =
        sealed.size >= 2 + NONCE_BYTES + TAG_BITS / 8 && sealed[0] == FORMAT && sealed[1].toInt() == NONCE_BYTES

    private fun open(sealed: ByteArray, key: SecretKey): String {
        val cipher = Cipher.getInstance(TRANSFORMATION)
        cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(TAG_BITS, sealed, 2, NONCE_BYTES))
        cipher.updateAAD(CONTEXT)
        return String(cipher.doFinal(sealed, 2 + NONCE_BYTES, sealed.size - 2 - NONCE_BYTES))
    }

    private companion object {
        const val TRANSFORMATION = "AES/GCM/NoPadding"
        const val TAG_BITS = 128

        // The only size that GCM in the Keystore has.
        const val NONCE_BYTES = 12
        const val FORMAT: Byte = 1
        const val RETRIES = 3
        const val RETRY_PAUSE_MS = 500L
        const val CAUSES_MAX = 10

        /** Binds the ciphertext to its purpose. */
        val CONTEXT = "nexmdm-secrets-v1".toByteArray()
    }
}
