package com.nexmdm.core.port

import java.io.File

/** An installed app. */
data class InstalledApp(
    val versionCode: Long,
    val versionName: String?,
    /** SHA-256 of the certificates that may sign an update of it (lineage included), lower-case hex. */
    val signerSha256: Set<String>,
)

/** What an APK file says of itself. */
data class ApkFacts(
    val packageName: String,
    val versionCode: Long,
    val minSdk: Int,
    /** SHA-256 of the current signing certificates, lower-case hex. */
    val signerSha256: Set<String>,
    /** The same with the certificates of its lineage of rotated keys. */
    val lineageSha256: Set<String>,
)

/** How the system decided about an installation. */
sealed interface InstallVerdict {
    /** It is installed. */
    data object Installed : InstallVerdict

    /** It did not happen; [code] is an error code of the deployment API, such as `not_permitted` or `install_failed`. */
    data class Failed(val code: String, val message: String?) : InstallVerdict
}

/** The platform's package manager. */
interface AppInstaller {
    /** The installed app, or null. */
    suspend fun installed(packageName: String): InstalledApp?

    /** Reads an APK file; null when it is none that the platform can read. */
    suspend fun inspect(apk: File): ApkFacts?

    /**
     * Streams [apk] into an installation session, commits it and suspends until the system's verdict. When the agent itself is
     * replaced the process ends in here.
     */
    suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict

    /** Whether a session of ours for this package was committed and is still undecided. */
    suspend fun isUndecided(packageName: String): Boolean

    /** Abandons sessions of ours for this package that were not committed. */
    suspend fun abandonStale(packageName: String)
}
