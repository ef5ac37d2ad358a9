package com.nexmdm.host.storage

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption
import java.nio.file.attribute.FileAttribute
import java.nio.file.attribute.PosixFilePermissions

/** Files that are replaced as a whole: a reader, and the next start after a kill, sees the old content or the new one. */
internal object AtomicFile {
    private val isPosix: Boolean = "posix" in FileSystems.getDefault().supportedFileAttributeViews()
    private val ownerOnly: Array<FileAttribute<*>> = attributes("rw-------")
    private val folderOfOwner: Array<FileAttribute<*>> = attributes("rwx------")

    /** Replaces the content of [file], readable by its owner only; with [sync] it outlives a loss of power too. Throws [IOException]. */
    fun write(file: File, content: String, sync: Boolean = false) {
        val unfinished = file.resolveSibling("${file.name}.new").toPath()
        Files.deleteIfExists(unfinished)
        try {
            val options = setOf(StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW)
            FileChannel.open(unfinished, options, *ownerOnly).use { channel ->
                val bytes = ByteBuffer.wrap(content.encodeToByteArray())
                while (bytes.hasRemaining()) channel.write(bytes)
                if (sync) channel.force(true)
            }
            Files.move(unfinished, file.toPath(), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
        } catch (e: IOException) {
            Files.deleteIfExists(unfinished)
            throw e
        }
        if (sync) syncFolder(file.toPath().parent)
    }

    /** The text of a file, or null when there is none. */
    fun read(file: File): String? = if (file.isFile) file.readText() else null

    /** Opens a file that only ever grows, readable by its owner only. */
    fun append(file: File): FileChannel =
        FileChannel.open(
            file.toPath(),
            setOf(StandardOpenOption.WRITE, StandardOpenOption.CREATE, StandardOpenOption.APPEND),
            *ownerOnly,
        )

    /** Makes a folder for its owner only, and those above it. */
    fun makeFolder(folder: File) {
        Files.createDirectories(folder.toPath(), *folderOfOwner)
    }

    private fun syncFolder(folder: Path) {
        // The rename itself; not every platform opens folders.
        try {
            FileChannel.open(folder, StandardOpenOption.READ).use { it.force(true) }
        } catch (_: IOException) {
            return
        }
    }

    private fun attributes(permissions: String): Array<FileAttribute<*>> =
        if (isPosix) arrayOf(PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(permissions))) else emptyArray()
}

/** Appends a line in one write, which a kill leaves whole or undone. */
internal fun FileChannel.appendLine(line: String) {
    val bytes = ByteBuffer.wrap("$line\n".encodeToByteArray())
    while (bytes.hasRemaining()) write(bytes)
}
