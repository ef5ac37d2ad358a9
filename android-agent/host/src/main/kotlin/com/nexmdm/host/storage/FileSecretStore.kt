package com.nexmdm.host.storage

import com.nexmdm.core.port.SecretStore
import java.io.File
import java.io.IOException

/** The secret document as a file for its owner only, with the history of the keys in it beside it. */
internal class FileSecretStore(private val file: File, private val history: KeyHistory) : SecretStore {
    init {
        // A kill may have come between the document and the history.
        try {
            AtomicFile.read(file)?.let { document -> history.record(document) {} }
        } catch (_: IOException) {
            // Nothing can be told of a document that cannot be read; the core says so itself.
        }
    }

    override fun read(): String? =
        try {
            AtomicFile.read(file)
        } catch (_: IOException) {
            null
        }

    override fun write(document: String) {
        history.record(document) { AtomicFile.write(file, document, sync = true) }
    }

    override fun clear() {
        history.record("{}") { file.delete() }
    }
}
