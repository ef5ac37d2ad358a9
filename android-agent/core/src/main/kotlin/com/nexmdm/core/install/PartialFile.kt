package com.nexmdm.core.install

import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.IOException
import java.io.OutputStream
import java.security.MessageDigest

/** Why bytes could not be kept. */
internal enum class SinkFailure { LOW_STORAGE, STORAGE, TOO_LONG }

/** Thrown by a [PartialFile]'s stream; the reason is in [PartialFile.failure]. */
internal class SinkException(val failure: SinkFailure, message: String, cause: Throwable? = null) : IOException(message, cause)

/**
 * A file on its way to its full size, with the SHA-256 of what is there. Bytes come from one thread at a time, which may be another
 * one than the owner's; a stream whose request is over takes none any more.
 */
internal class PartialFile(
    private val file: File,
    private val sizeBytes: Long,
    private val freeBytes: () -> Long,
    /** Free storage that a download leaves alone. */
    private val reserveBytes: Long,
) : AutoCloseable {
    private var digest = sha256()
    private var out: FileOutputStream? = null
    private var current: Sink? = null
    private var unchecked = 0L

    /** Bytes that are there. */
    @Volatile var have: Long = 0
        private set

    /** Whether bytes are among it whose origin this process does not know. */
    var isResumed: Boolean = false
        private set

    /** Why the last stream took no more. */
    @Volatile var failure: SinkException? = null
        private set

    /** ETag of the bytes that are there. */
    @Volatile var etag: String? = null

    /** Whether all is there. */
    val isComplete: Boolean get() = have == sizeBytes

    /** Reads what an earlier process left. Throws [IOException]. */
    fun open() {
        if (file.length() in 1..sizeBytes) {
            digest = digestOf(file)
            have = file.length()
            isResumed = true
        } else {
            file.delete()
        }
    }

    /** Drops everything that is there. */
    @Synchronized
    fun reset() {
        closeStreams()
        file.delete()
        digest = sha256()
        have = 0
        isResumed = false
        etag = null
    }

    /** Where the bytes of one answer go; streams of earlier answers are closed. Throws [SinkException]. */
    @Synchronized
    fun sink(): OutputStream {
        closeStreams()
        failure = null
        try {
            out = FileOutputStream(file, true)
        } catch (e: IOException) {
            throw storageFailure(e)
        }
        return Sink().also { current = it }
    }

    /** SHA-256 of what is there, lower-case hex; what is there is on the disk then. Throws [IOException]. */
    @Synchronized
    fun finish(): String {
        out?.fd?.sync()
        closeStreams()
        return (digest.clone() as MessageDigest).digest().toHexString()
    }

    /** Ends the stream; what is there stays. */
    @Synchronized
    override fun close() = closeStreams()

    private fun closeStreams() {
        current = null
        try {
            out?.close()
        } catch (e: IOException) {
            failure = SinkException(SinkFailure.STORAGE, "storage: ${e.message}", e)
        }
        out = null
    }

    @Synchronized
    private fun append(sink: Sink, bytes: ByteArray, offset: Int, count: Int) {
        if (sink !== current) throw IOException("this download is over")
        if (have + count > sizeBytes) throw failed(SinkException(SinkFailure.TOO_LONG, "more than the announced $sizeBytes bytes"))
        unchecked += count
        if (unchecked >= CHECK_EVERY_BYTES) {
            unchecked = 0
            if (freeBytes() < reserveBytes) throw failed(SinkException(SinkFailure.LOW_STORAGE, "storage is full"))
        }
        try {
            checkNotNull(out).write(bytes, offset, count)
        } catch (e: IOException) {
            throw storageFailure(e)
        }
        digest.update(bytes, offset, count)
        have += count
    }

    private fun storageFailure(cause: IOException): SinkException {
        val text = cause.message.orEmpty()
        val isFull = FULL_SIGNS.any { it in text } || freeBytes() < reserveBytes
        // A write that failed may have left a part of its bytes.
        if (file.length() > have) truncate()
        return failed(SinkException(if (isFull) SinkFailure.LOW_STORAGE else SinkFailure.STORAGE, "storage: $text", cause))
    }

    private fun truncate() {
        try {
            FileOutputStream(file, true).use { it.channel.truncate(have) }
        } catch (_: IOException) {
            file.delete()
            have = 0
        }
    }

    private fun failed(exception: SinkException): SinkException = exception.also { failure = it }

    private inner class Sink : OutputStream() {
        override fun write(byte: Int) = write(byteArrayOf(byte.toByte()), 0, 1)

        override fun write(bytes: ByteArray, offset: Int, count: Int) = append(this, bytes, offset, count)
    }

    companion object {
        private const val CHECK_EVERY_BYTES = 1L shl 20
        private const val BUFFER_BYTES = 64 shl 10
        private val FULL_SIGNS = listOf("ENOSPC", "No space left", "EDQUOT", "Disk quota")

        private fun sha256(): MessageDigest = MessageDigest.getInstance("SHA-256")

        private fun digestOf(file: File): MessageDigest {
            val digest = sha256()
            FileInputStream(file).use { input ->
                val buffer = ByteArray(BUFFER_BYTES)
                while (true) {
                    val count = input.read(buffer)
                    if (count < 0) break
                    digest.update(buffer, 0, count)
                }
            }
            return digest
        }

        /** SHA-256 of a file, lower-case hex. Throws [IOException]. */
        fun sha256Of(file: File): String = digestOf(file).digest().toHexString()
    }
}
