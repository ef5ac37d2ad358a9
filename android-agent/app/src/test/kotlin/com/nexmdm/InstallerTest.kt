package com.nexmdm

import android.content.Intent
import android.content.pm.PackageInfo
import android.content.pm.PackageInstaller
import android.content.pm.Signature
import android.content.pm.SigningInfo
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.install.AndroidInstaller
import com.nexmdm.install.CommittedSessions
import com.nexmdm.install.InstallVerdicts
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadow.api.Shadow
import org.robolectric.util.ReflectionHelpers
import java.io.IOException
import java.security.MessageDigest

internal class InstallerTest : FrameworkTest() {
    @get:Rule
    val folder = TemporaryFolder()

    private val installer = AndroidInstaller(app, owner, log, verdictTimeoutMs = 20_000)
    private val target = "com.example.target"
    private val content = ByteArray(300_000) { (it * 31).toByte() }

    @Before
    fun clear() = RecordingSession.clear()

    private fun apk() = folder.newFile().apply { writeBytes(content) }

    private fun installing(): Deferred<InstallVerdict> {
        val file = apk()
        val install = CoroutineScope(Dispatchers.Default).async { installer.install(file, target, content.size.toLong()) }
        awaitOnMain("commit") { RecordingSession.receiver != null }
        return install
    }

    private fun session() = app.packageManager.packageInstaller.mySessions.single().sessionId

    /** The system's word about the session. */
    private fun decide(status: Int, message: String? = null, change: (Intent) -> Unit = {}) {
        val intent = Intent().putExtra(PackageInstaller.EXTRA_SESSION_ID, session()).putExtra(PackageInstaller.EXTRA_STATUS, status)
            .putExtra(PackageInstaller.EXTRA_STATUS_MESSAGE, message).apply(change)
        RecordingSession.receiver!!.sendIntent(app, 0, intent, null, null)
        shadowOf(android.os.Looper.getMainLooper()).idle()
    }

    private fun awaited(install: Deferred<InstallVerdict>): InstallVerdict {
        awaitOnMain("verdict") { install.isCompleted }
        return runBlocking { install.await() }
    }

    @Test
    fun `the file is streamed into a session that needs no person, and the verdict comes by callback`() {
        becomeOwner()
        val install = installing()
        val (name, written) = RecordingSession.written!!
        assertEquals("base.apk", name)
        assertArrayEquals(content, written)
        assertTrue(RecordingSession.synced)
        val parameters = RecordingPackageInstaller.latest!!
        assertEquals(target, ReflectionHelpers.getField(parameters, "appPackageName"))
        assertEquals(content.size.toLong(), ReflectionHelpers.getField(parameters, "sizeBytes"))
        if (sdk >= 31) {
            val required: Int = ReflectionHelpers.getField(parameters, "requireUserAction")
            assertEquals(PackageInstaller.SessionParams.USER_ACTION_NOT_REQUIRED, required)
        }
        assertFalse(install.isCompleted)
        assertTrue(runBlocking { installer.isUndecided(target) })
        decide(PackageInstaller.STATUS_SUCCESS)
        assertEquals(InstallVerdict.Installed, awaited(install))
    }

    @Test
    fun `the callback can be filled in by the system`() {
        becomeOwner()
        val install = installing()
        val intent = android.app.PendingIntent.getBroadcast(
            app,
            session(),
            Intent(app, com.nexmdm.install.InstallResultReceiver::class.java),
            android.app.PendingIntent.FLAG_NO_CREATE or if (sdk >= 31) android.app.PendingIntent.FLAG_MUTABLE else 0,
        )
        assertEquals(0, shadowOf(intent).flags and android.app.PendingIntent.FLAG_IMMUTABLE)
        decide(PackageInstaller.STATUS_FAILURE, "INSTALL_FAILED_OLDER_SDK")
        assertEquals(InstallVerdict.Failed("install_failed", "INSTALL_FAILED_OLDER_SDK"), awaited(install))
    }

    @Test
    fun `what a person has to confirm is prompted for and reported as not permitted`() {
        becomeOwner()
        val install = installing()
        decide(PackageInstaller.STATUS_PENDING_USER_ACTION) {
            it.putExtra(Intent.EXTRA_INTENT, Intent("android.content.pm.action.CONFIRM_INSTALL"))
        }
        assertEquals("not_permitted", (awaited(install) as InstallVerdict.Failed).code)
        val prompt = shadowOf(app.getSystemService(android.app.NotificationManager::class.java)).allNotifications.single()
        assertEquals("android.content.pm.action.CONFIRM_INSTALL", shadowOf(prompt.contentIntent).savedIntent.action)
        // The person may still say yes: the session is undecided until the system says so.
        assertTrue(runBlocking { installer.isUndecided(target) })
        decide(PackageInstaller.STATUS_SUCCESS)
        assertEquals(0, shadowOf(app.getSystemService(android.app.NotificationManager::class.java)).size())
        assertFalse(CommittedSessions(app).contains(session()))
    }

    @Test
    fun `without ownership or a person's leave nothing is installed`() {
        shadowOf(app.packageManager).setCanRequestPackageInstalls(false)
        val verdict = runBlocking { installer.install(apk(), target, 1) }
        assertEquals("not_permitted", (verdict as InstallVerdict.Failed).code)
        assertEquals(0, app.packageManager.packageInstaller.mySessions.size)
    }

    @Test
    fun `a session that cannot be written is abandoned`() {
        becomeOwner()
        RecordingSession.failure = IOException("write failed: ENOSPC (No space left on device)")
        val verdict = runBlocking { installer.install(apk(), target, content.size.toLong()) }
        assertEquals("low_storage", (verdict as InstallVerdict.Failed).code)
        assertEquals(0, app.packageManager.packageInstaller.mySessions.size)
    }

    @Test
    fun `stale sessions go, committed ones and those of others stay`() {
        becomeOwner()
        val sessions = app.packageManager.packageInstaller
        fun session(name: String) = sessions.createSession(PackageInstaller.SessionParams(1).apply { setAppPackageName(name) })
        val stale = session(target)
        val committed = session(target).also { CommittedSessions(app).add(it) }
        val other = session("com.example.other")
        runBlocking { installer.abandonStale(target) }
        assertEquals(setOf(committed, other), sessions.mySessions.map { it.getSessionId() }.toSet())
        assertNull(sessions.getSessionInfo(stale))
        sessions.abandonSession(committed)
        assertFalse(runBlocking { installer.isUndecided(target) })
    }

    @Test
    fun `each status has its code`() {
        val table = listOf(
            Triple(PackageInstaller.STATUS_FAILURE_BLOCKED, "blocked by verifier", "not_permitted"),
            Triple(PackageInstaller.STATUS_FAILURE_ABORTED, "User rejected permissions", "not_permitted"),
            Triple(PackageInstaller.STATUS_FAILURE_STORAGE, null, "low_storage"),
            Triple(PackageInstaller.STATUS_FAILURE, "INSTALL_FAILED_INSUFFICIENT_STORAGE", "low_storage"),
            Triple(PackageInstaller.STATUS_FAILURE_INVALID, "INSTALL_FAILED_VERSION_DOWNGRADE: Downgrade detected", "downgrade_refused"),
            Triple(PackageInstaller.STATUS_FAILURE_CONFLICT, "INSTALL_FAILED_UPDATE_INCOMPATIBLE", "signer_mismatch"),
            Triple(PackageInstaller.STATUS_FAILURE_INCOMPATIBLE, "INSTALL_FAILED_OLDER_SDK", "install_failed"),
            Triple(8, null, "timeout"),
        )
        for ((status, message, code) in table) {
            assertEquals("$message", code, (InstallVerdicts.of(status, message) as InstallVerdict.Failed).code)
        }
        assertEquals(InstallVerdict.Installed, InstallVerdicts.of(PackageInstaller.STATUS_SUCCESS, null))
    }

    private val old = Signature(byteArrayOf(1, 2, 3))
    private val new = Signature(byteArrayOf(4, 5, 6))

    private fun sha(signature: Signature) =
        MessageDigest.getInstance("SHA-256").digest(signature.toByteArray()).joinToString("") { "%02x".format(it) }

    @Suppress("DEPRECATION")
    private fun PackageInfo.sign() {
        if (sdk >= 28) {
            signingInfo = Shadow.newInstanceOf(SigningInfo::class.java).also {
                shadowOf(it).setSignatures(arrayOf(new))
                shadowOf(it).setPastSigningCertificates(arrayOf(old))
            }
        } else {
            signatures = arrayOf(new)
        }
    }

    @Test
    fun `an installed app is seen with its version and the lineage of its keys`() {
        assertNull(runBlocking { installer.installed(target) })
        install(target) { it.sign() }
        val seen = runBlocking { installer.installed(target) }!!
        assertEquals(20L, seen.versionCode)
        assertEquals("2.0", seen.versionName)
        assertEquals(if (sdk >= 28) setOf(sha(old), sha(new)) else setOf(sha(new)), seen.signerSha256)
    }

    @Test
    fun `a file is inspected with its signers, the minimum of Android and its version`() {
        val file = apk()
        assertNull(runBlocking { installer.inspect(folder.newFile()) })
        val archive = PackageInfo().apply {
            packageName = target
            @Suppress("DEPRECATION")
            versionCode = 31
            applicationInfo = android.content.pm.ApplicationInfo().apply { minSdkVersion = 29 }
            sign()
        }
        shadowOf(app.packageManager).setPackageArchiveInfo(file.path, archive)
        val facts = runBlocking { installer.inspect(file) }!!
        assertEquals(listOf<Any>(target, 31L, 29), listOf(facts.packageName, facts.versionCode, facts.minSdk))
        assertEquals(setOf(sha(new)), facts.signerSha256)
        assertEquals(if (sdk >= 28) setOf(sha(old), sha(new)) else setOf(sha(new)), facts.lineageSha256)
    }
}
