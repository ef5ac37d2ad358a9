package com.nexmdm.host.storage

import com.nexmdm.host.UsageException
import org.sqlite.SQLiteJDBCLoader
import org.sqlite.util.OSInfo
import java.io.File
import java.nio.file.Files
import java.nio.file.StandardCopyOption

/**
 * SQLite's native library, unpacked once into a folder that stays. Left to itself the driver unpacks it at every start into the
 * temporary folder, where every process that is killed leaves a copy of it behind.
 */
internal object SqliteLibrary {
    /** Unpacks it, if it is not there yet, and points the driver at it. Throws [UsageException]. */
    fun unpack(folder: File) {
        val name = System.mapLibraryName("sqlitejdbc")
        val platform = OSInfo.getNativeLibFolderPathForCurrentOS()
        val versioned = folder.resolve("sqlite-${SQLiteJDBCLoader.getVersion()}-${platform.replace('/', '-')}")
        val library = versioned.resolve(name)
        if (!library.isFile) {
            AtomicFile.makeFolder(versioned)
            val resource = "/org/sqlite/native/$platform/$name"
            val packed =
                SQLiteJDBCLoader::class.java.getResourceAsStream(resource)
                    ?: throw UsageException("SQLite has no library for this machine: $resource")
            val unfinished = versioned.resolve("$name.new").toPath()
            packed.use { Files.copy(it, unfinished, StandardCopyOption.REPLACE_EXISTING) }
            Files.move(unfinished, library.toPath(), StandardCopyOption.ATOMIC_MOVE)
        }
        System.setProperty("org.sqlite.lib.path", versioned.path)
        System.setProperty("org.sqlite.lib.name", name)
    }
}
