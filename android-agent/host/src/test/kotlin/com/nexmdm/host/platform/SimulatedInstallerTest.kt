@file:OptIn(kotlinx.coroutines.ExperimentalCoroutinesApi::class)

package com.nexmdm.host.platform

import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.host.ExitStatus
import com.nexmdm.host.RecordingEnd
import com.nexmdm.host.RecordingLog
import com.nexmdm.host.apk
import com.nexmdm.host.device.AppProfile
import com.nexmdm.host.device.DeviceProfile
import com.nexmdm.host.device.InstallProfile
import com.nexmdm.host.device.VerdictProfile
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancel
import kotlinx.coroutines.test.StandardTestDispatcher
import kotlinx.coroutines.test.TestScope
import kotlinx.coroutines.test.advanceTimeBy
import kotlinx.coroutines.test.currentTime
import kotlinx.coroutines.test.runCurrent
import kotlinx.coroutines.test.runTest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class SimulatedInstallerTest {
    @TempDir
    lateinit var folder: File

    private val end = RecordingEnd()
    private var profile = DeviceProfile()
    private val apps get() = InstalledApps(folder)

    /** A process that uses the installer. */
    private inner class Process(private val test: TestScope) {
        val scope = CoroutineScope(SupervisorJob() + StandardTestDispatcher(test.testScheduler))
        val installer = SimulatedInstaller(apps, InstallSessions(folder), { profile }, scope, end, RecordingLog(), ::nowMs)

        init {
            apps.seed(profile)
            installer.start()
        }

        private fun nowMs() = EPOCH_MS + test.currentTime

        fun kill() {
            scope.cancel()
            // What was about to run finds itself cancelled.
            test.runCurrent()
        }

        fun installing(name: String, packageName: String = TILL): Deferred<InstallVerdict> = scope.async {
            installer.install(apk(name), packageName, apk(name).length())
        }

        suspend fun install(name: String, packageName: String = TILL) = installing(name, packageName).await()

        /** Goes on until the session is committed; the copying of files takes real time. */
        suspend fun committed(name: String, packageName: String = TILL) {
            val installation = installing(name, packageName)
            while (!installer.isUndecided(packageName) && !installation.isCompleted) kotlinx.coroutines.yield()
        }
    }

    private fun versionOf(packageName: String) = apps.find(packageName)?.versionCode

    @Test
    fun `an installation takes its time and is told by callback`() = runTest {
        profile = DeviceProfile(install = InstallProfile(ms = 3_000))
        val process = Process(this)
        process.committed("till-2.apk")
        val sessions = InstallSessions(folder).undecided()
        assertEquals(listOf(TILL), sessions.map { it.packageName })
        advanceTimeBy(2_999)
        assertNull(versionOf(TILL))
        assertTrue(process.installer.isUndecided(TILL))
        advanceTimeBy(2)
        assertEquals(AppProfile(2, "2.0", ApkReader.read(apk("till-2.apk"), 33)?.facts?.lineageSha256), apps.find(TILL))
        assertFalse(process.installer.isUndecided(TILL))
        assertEquals(emptyList<String>(), folder.resolve("sessions").list()?.toList())
        process.kill()
    }

    @Test
    fun `a committed session is decided though its process was killed`() = runTest {
        profile = DeviceProfile(install = InstallProfile(ms = 3_000))
        val first = Process(this)
        first.committed("till-2.apk")
        first.kill()
        advanceTimeBy(1_000)
        val second = Process(this)
        assertTrue(second.installer.isUndecided(TILL), "it is not due yet")
        second.kill()
        advanceTimeBy(2_000)
        assertNull(versionOf(TILL), "nobody was there to see it")
        val third = Process(this)
        assertFalse(third.installer.isUndecided(TILL))
        assertEquals(2L, third.installer.installed(TILL)?.versionCode)
        third.kill()
    }

    @Test
    fun `a session that becomes due in a later process is decided there`() = runTest {
        profile = DeviceProfile(install = InstallProfile(ms = 3_000))
        Process(this).run {
            committed("till-2.apk")
            kill()
        }
        val second = Process(this)
        advanceTimeBy(3_001)
        assertEquals(2L, second.installer.installed(TILL)?.versionCode)
        second.kill()
    }

    @Test
    fun `what was staged and not committed is gone`() = runTest {
        InstallSessions(folder).stage(TILL, apk("till-2.apk"))
        val process = Process(this)
        assertFalse(process.installer.isUndecided(TILL))
        process.installer.abandonStale(TILL)
        assertEquals(emptyList<String>(), folder.resolve("sessions").list()?.toList())
        process.kill()
    }

    @Test
    fun `an update of the agent ends its process, and the next one is the new version`() = runTest {
        profile = DeviceProfile(agent = AppProfile(120, "1.0.120"), install = InstallProfile(ms = 500))
        val first = Process(this)
        first.committed("agent-121.apk", AGENT)
        advanceTimeBy(501)
        assertEquals(listOf(ExitStatus.RESTART), end.statuses)
        first.kill()
        val second = Process(this)
        assertEquals(121L, second.installer.installed(AGENT)?.versionCode)
        advanceTimeBy(10_000)
        assertEquals(listOf(ExitStatus.RESTART), end.statuses, "once")
        second.kill()
    }

    @Test
    fun `an update of the agent that was killed in the middle ends the process that runs when it is due`() = runTest {
        profile = DeviceProfile(agent = AppProfile(120, "1.0.120"), install = InstallProfile(ms = 3_000))
        Process(this).run {
            committed("agent-121.apk", AGENT)
            kill()
        }
        val second = Process(this)
        assertEquals(120L, second.installer.installed(AGENT)?.versionCode)
        advanceTimeBy(3_001)
        assertEquals(listOf(ExitStatus.RESTART), end.statuses)
        assertEquals(121L, versionOf(AGENT))
        second.kill()
    }

    @Test
    fun `an update of the agent that became due without a process ends none`() = runTest {
        profile = DeviceProfile(agent = AppProfile(120, "1.0.120"), install = InstallProfile(ms = 3_000))
        Process(this).run {
            committed("agent-121.apk", AGENT)
            kill()
        }
        advanceTimeBy(5_000)
        val second = Process(this)
        assertEquals(121L, second.installer.installed(AGENT)?.versionCode)
        advanceTimeBy(5_000)
        assertEquals(emptyList<Int>(), end.statuses)
        second.kill()
    }

    @Test
    fun `the system decides by the file`() = runTest {
        val process = Process(this)
        suspend fun refused(
            name: String,
            packageName: String = TILL,
        ) = (process.install(name, packageName) as InstallVerdict.Failed).run { "$code $message" }
        assertEquals("install_failed INSTALL_PARSE_FAILED_NO_CERTIFICATES", refused("till-7-unsigned.apk"))
        assertEquals("install_failed INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME", refused("till-2.apk", "com.example.other"))
        assertEquals(InstallVerdict.Installed, process.install("till-2.apk"))
        assertEquals("install_failed INSTALL_FAILED_VERSION_DOWNGRADE", refused("till-1.apk"))
        assertEquals("install_failed INSTALL_FAILED_UPDATE_INCOMPATIBLE", refused("till-5-foreign.apk"))
        assertEquals(InstallVerdict.Installed, process.install("till-8-rotated.apk"))
        profile = DeviceProfile(sdkInt = 25)
        assertEquals("install_failed INSTALL_FAILED_OLDER_SDK", refused("till-9-v2.apk"))
        assertEquals(8L, versionOf(TILL))
        process.kill()
    }

    @Test
    fun `signers that the profile leaves open are those of the first file`() = runTest {
        profile = DeviceProfile(agent = AppProfile(120, "1.0.120"))
        val process = Process(this)
        assertEquals(emptySet<String>(), process.installer.installed(AGENT)?.signerSha256)
        val facts = process.installer.inspect(apk("agent-121.apk"))
        assertEquals(facts?.signerSha256, process.installer.installed(AGENT)?.signerSha256)
        process.installer.inspect(apk("till-2.apk"))
        assertNull(process.installer.installed(TILL))
        process.kill()
    }

    @Test
    fun `the profile may have another verdict`() = runTest {
        val process = Process(this)
        profile = DeviceProfile(install = InstallProfile(VerdictProfile.NOT_PERMITTED))
        assertEquals("not_permitted", (process.install("till-2.apk") as InstallVerdict.Failed).code)
        profile = DeviceProfile(install = InstallProfile(VerdictProfile.INSTALL_FAILED))
        assertEquals("install_failed", (process.install("till-2.apk") as InstallVerdict.Failed).code)
        profile = DeviceProfile(install = InstallProfile(VerdictProfile.HANG, ms = 10))
        process.committed("till-2.apk")
        advanceTimeBy(3_600_000)
        assertTrue(process.installer.isUndecided(TILL))
        process.kill()
        val next = Process(this)
        assertTrue(next.installer.isUndecided(TILL))
        assertNull(versionOf(TILL))
        profile = DeviceProfile()
        assertEquals(InstallVerdict.Installed, next.install("till-2.apk"), "a further session takes its place")
        next.kill()
    }

    private companion object {
        const val TILL = "com.example.till"
        const val AGENT = "com.nexmdm"
        const val EPOCH_MS = 1_795_275_377_000L
    }
}
