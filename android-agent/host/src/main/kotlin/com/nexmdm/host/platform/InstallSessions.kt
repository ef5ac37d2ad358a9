package com.nexmdm.host.platform

import com.nexmdm.host.device.AppProfile
import com.nexmdm.host.device.VerdictProfile
import com.nexmdm.host.storage.AtomicFile
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import java.io.File

/** An installation that was committed: from here on it is the system's business, whatever becomes of the agent. */
@Serializable
internal data class CommittedSession(
    @SerialName("package") val packageName: String,
    /** What is installed if [verdict] says so. */
    val app: AppProfile,
    val verdict: VerdictProfile,
    /** Why it is not installed. */
    val message: String? = null,
    /** When the system decides, ms since 1970 by the machine's clock. */
    @SerialName("due_at_ms") val dueAtMs: Long,
)

/** The sessions of the simulated package installer, one a package, as files: the staged APK, and beside it the committed session. */
internal class InstallSessions(platformFolder: File) {
    private val folder = platformFolder.resolve("sessions")

    init {
        AtomicFile.makeFolder(folder)
    }

    /** Takes a copy of the APK, so that the agent may remove its own. */
    fun stage(packageName: String, apk: File): File = apk.copyTo(staged(packageName), overwrite = true)

    /** Commits what was staged. */
    fun commit(session: CommittedSession) {
        AtomicFile.write(committed(session.packageName), json.encodeToString(CommittedSession.serializer(), session))
    }

    /** Sessions that were committed and not decided. */
    fun undecided(): List<CommittedSession> =
        folder.listFiles { file -> file.name.endsWith(COMMITTED) }.orEmpty().sorted().map {
            json.decodeFromString(CommittedSession.serializer(), it.readText())
        }

    /** Removes a session that was decided, and what was staged for it. */
    fun remove(packageName: String) {
        committed(packageName).delete()
        staged(packageName).delete()
    }

    /** Removes what was staged and never committed. */
    fun abandonStaged(packageName: String) {
        if (!committed(packageName).isFile) staged(packageName).delete()
    }

    private fun staged(packageName: String) = folder.resolve(fileName(packageName) + ".apk")

    private fun committed(packageName: String) = folder.resolve(fileName(packageName) + COMMITTED)

    private fun fileName(packageName: String): String =
        packageName.also { require(NAME.matches(it)) { "no package name" } }

    private companion object {
        const val COMMITTED = ".json"
        val NAME = Regex("[A-Za-z0-9_]+([.][A-Za-z0-9_]+)*")
        val json = Json { ignoreUnknownKeys = true }
    }
}
