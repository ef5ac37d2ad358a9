package com.nexmdm.core.port

/**
 * A place for one small secret document that outlives the process and the database: encrypted with the Android Keystore on a
 * device, a file of mode 0600 on a JVM.
 */
interface SecretStore {
    /** The document, or null when there is none or it cannot be decrypted any more. */
    fun read(): String?

    /** Replaces the document as a whole, atomically and durably. Throws [java.io.IOException] when storage is full. */
    fun write(document: String)

    /** Removes the document. */
    fun clear()
}
