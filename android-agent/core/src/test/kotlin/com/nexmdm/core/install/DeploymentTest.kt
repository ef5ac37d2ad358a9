package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.Transport
import com.nexmdm.core.store.DeployedApps
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class DeploymentTest {
    @TempDir lateinit var folder: File
    private val benches = mutableListOf<InstallBench>()

    private fun bench() = InstallBench(File(folder, "b${benches.size}").apply { mkdirs() }).also { benches += it }

    @org.junit.jupiter.api.AfterEach
    fun close() = benches.forEach { it.close() }

    /** A failed deployment: nothing installed, nothing left, and the same code to both. */
    private fun InstallBench.assertEnded(status: String, code: String, commits: Int = 0) {
        assertEquals(status to code, acknowledged.last().let { it.status to it.error })
        assertEquals(status to code, result()?.let { it.outcome to it.code })
        assertEquals(commits, platform.commits.size)
        assertEquals(0, installations.size)
        assertEquals(emptyList<String>(), files())
    }

    @Test
    fun `a deployment goes its way and its intent follows`() {
        val bench = bench()
        val more = """,
            "post_install":{"restart_intent":{"action":"till.RESTART","extras":{"a":"b"}}}"""
        bench.installations.deploy(bench.command(more = more))
        assertTrue(bench.installations.owns("cmd-1"))
        assertEquals(setOf(InstallBench.APP), DeployedApps(bench.db).names(), "heartbeats report its version")
        bench.settle()
        assertEquals(listOf("accepted", "downloading", "verifying", "installing", "succeeded"), bench.statuses())
        assertEquals(listOf(0, 100), bench.acknowledged.filter { it.status == "downloading" }.map { it.progressPct })
        assertTrue(bench.acknowledged.all { it.attempt == 1 })
        assertEquals("1.7", bench.acknowledged.last().installedVersion)
        assertEquals(Concluded("deploy_apk", "success"), bench.result())
        val intent = bench.platform.intents.single() as PlatformAction.RestartIntent
        val sent = listOf(intent.packageName, intent.action, intent.extras.toString())
        assertEquals(listOf(InstallBench.APP, "till.RESTART", "{\"a\":\"b\"}"), sent)
        assertEquals(emptyList<String>(), bench.files())
        assertFalse(bench.installations.owns("cmd-1"))
        val told = bench.steps.filter { it.status != null }.map { it.step }.distinct()
        assertEquals(listOf("accepted", "downloading", "verifying", "installing", "succeeded"), told)
        assertEquals(listOf("downloaded", "installed"), bench.steps.filter { it.status == null }.map { it.step })
        val events = bench.log.entries.map { it.event }.filter { it.startsWith("install.") }
        val expected = listOf("accepted", "download", "verified", "commit", "installed", "reported").map { "install.$it" }
        assertEquals(expected, events)
        assertFalse(bench.log.entries.any { "signature" in it.toString() }, "addresses are secret")
    }

    @Test
    fun `nothing begins before accepted was answered with 200`() {
        for (status in listOf(409, 404, 403, 422)) {
            val bench = bench()
            bench.answer = { if (it.status == "accepted") status else 200 }
            bench.installations.deploy(bench.command())
            bench.settle()
            assertEquals(0, bench.downloads.requests.size + bench.platform.commits.size)
            assertEquals("skipped" to "refused", bench.result()?.let { it.outcome to it.code })
            assertEquals(emptyList<String>(), bench.statuses(), "a refused one says no more")
        }
    }

    @Test
    fun `an answer that does not come holds everything, over a restart too`() {
        val bench = bench()
        bench.answer = { 503 }
        bench.installations.deploy(bench.command())
        bench.run(60_000)
        bench.kill()
        bench.start()
        bench.run(60_000)
        assertEquals(0, bench.downloads.requests.size)
        bench.answer = { 200 }
        bench.settle()
        assertEquals("success", bench.result()?.outcome)
        assertEquals(1, bench.platform.commits.size)
    }

    @Test
    fun `a deployment that was called off during the download is not installed`() {
        for (refused in listOf("downloading", "verifying", "installing")) {
            val bench = bench()
            bench.downloads.chunkMs = 100
            bench.answer = { if (it.status == refused) 409 else 200 }
            bench.installations.deploy(bench.command())
            bench.settle()
            assertEquals(0, bench.platform.commits.size, refused)
            assertEquals("refused", bench.result()?.code)
            assertEquals(emptyList<String>(), bench.files())
        }
    }

    @Test
    fun `an offline device installs only once it asked again`() {
        val bench = bench()
        bench.answer = { status ->
            if (status.status == "verifying") bench.isOnline = false
            200
        }
        bench.installations.deploy(bench.command())
        bench.run(3_600_000)
        assertEquals(0, bench.platform.commits.size)
        // Called off while it was away.
        bench.answer = { 409 }
        bench.isOnline = true
        bench.settle()
        assertEquals(0, bench.platform.commits.size)
        assertEquals("refused", bench.result()?.code)
    }

    @Test
    fun `what stands in the way before it begins is skipped with its code`() {
        val unfit = listOf<Pair<String, InstallBench.() -> Unit>>(
            "no_wifi" to { platform.connect(Transport.CELLULAR, metered = true) },
            "metered" to { platform.connect(Transport.WIFI, metered = true) },
            "not_charging" to { },
            "low_battery" to { platform.readings = platform.readings.copy(charging = true, batteryPct = 29) },
            "low_storage" to { platform.readings = platform.readings.copy(charging = true, storageFreeMb = 10) },
            "in_call" to { platform.readings = platform.readings.copy(charging = true, inCall = true) },
        )
        for ((code, change) in unfit) {
            val bench = bench()
            bench.change()
            bench.installations.deploy(
                bench.command(constraints = """{"wifi_only":true,"min_battery":30,"charging_only":true,"min_storage_free_mb":100}"""),
            )
            bench.settle()
            bench.assertEnded("skipped", code)
            assertEquals(listOf("skipped"), bench.statuses())
        }
    }

    @Test
    fun `outside its window a deployment is skipped, inside it goes on`() {
        // It is 15:36 UTC, 16:36 in Berlin.
        val shut = "outside_window"
        for ((window, code) in listOf("16:30-17:00" to null, "15:30-16:00" to shut, "23:00-16:37" to null, "23:00-16:36" to shut)) {
            val bench = bench()
            val (start, end) = window.split("-")
            bench.installations.deploy(bench.command(constraints = """{"window":{"start":"$start","end":"$end","tz":"Europe/Berlin"}}"""))
            bench.settle()
            assertEquals(code, bench.result()?.code, window)
        }
    }

    @Test
    fun `what does not hold any more right before installing fails with its code`() {
        val changes = listOf<Pair<String, InstallBench.() -> Unit>>(
            "no_wifi" to { platform.readings = platform.readings.copy(transport = Transport.CELLULAR) },
            "low_battery" to { platform.readings = platform.readings.copy(batteryPct = 5) },
            "in_call" to { platform.readings = platform.readings.copy(inCall = true) },
            "low_storage" to { platform.readings = platform.readings.copy(storageFreeMb = 0) },
            "outside_window" to { clock.setWall(clock.wallMs() + 12 * 3_600_000) },
        )
        for (at in listOf("downloading", "installing")) {
            for ((code, change) in changes) {
                val bench = bench()
                bench.answer = { status ->
                    if (status.status == at) bench.change()
                    200
                }
                val constraints = """{"wifi_only":true,"min_battery":30,"window":{"start":"15:00","end":"17:00","tz":"UTC"}}"""
                bench.installations.deploy(bench.command(constraints = constraints))
                bench.settle()
                bench.assertEnded("failed", code)
            }
        }
    }

    @Test
    fun `the version that is installed already is reported without a download`() {
        val bench = bench()
        bench.platform.apps[InstallBench.APP] = InstalledApp(7, "1.7", setOf(FakePlatform.SIGNER))
        // Not even the battery matters: there is nothing to do.
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 1)
        bench.installations.deploy(bench.command(constraints = """{"min_battery":30}"""))
        bench.settle()
        assertEquals(listOf("succeeded"), bench.statuses())
        assertEquals(0, bench.downloads.requests.size + bench.platform.commits.size + bench.steps.count { it.step == "installed" })
        assertEquals("success", bench.result()?.outcome)
    }

    @Test
    fun `a newer version that is installed refuses a downgrade`() {
        val bench = bench()
        bench.platform.apps[InstallBench.APP] = InstalledApp(8, "1.8", setOf(FakePlatform.SIGNER))
        bench.installations.deploy(bench.command())
        bench.settle()
        bench.assertEnded("failed", "downgrade_refused")
        assertEquals(0, bench.downloads.requests.size)
    }

    @Test
    fun `a file that is not the announced one is never installed`() {
        val wrong = listOf<Pair<String, InstallBench.() -> Unit>>(
            "checksum_mismatch" to { downloads.replies += Reply.Altered },
            "checksum_mismatch" to { platform.apk = apkFacts(packageName = "com.example.other") },
            "checksum_mismatch" to { platform.apk = apkFacts(versionCode = 6) },
            "signer_mismatch" to { platform.apk = apkFacts(signer = "ff".repeat(32)) },
            "signer_mismatch" to { platform.apps[InstallBench.APP] = InstalledApp(6, "1.6", setOf("ee".repeat(32))) },
            "install_failed" to { platform.apk = null },
            "install_failed" to { platform.apk = apkFacts(minSdk = 34) },
        )
        for ((code, change) in wrong) {
            val bench = bench()
            bench.change()
            bench.installations.deploy(bench.command())
            bench.settle()
            bench.assertEnded("failed", code)
        }
    }

    @Test
    fun `what the system refuses is reported with a code that the server knows`() {
        val verdicts = listOf(
            InstallVerdict.Failed("not_permitted", "blocked by a policy") to "not_permitted",
            InstallVerdict.Failed("install_failed", "INSTALL_FAILED_INVALID_APK") to "install_failed",
            InstallVerdict.Failed("low_storage", null) to "low_storage",
            InstallVerdict.Failed("SOMETHING_NEW", "x") to "install_failed",
            null to "timeout",
        )
        for ((verdict, code) in verdicts) {
            val bench = bench()
            bench.platform.verdict = verdict
            bench.installations.deploy(bench.command())
            bench.settle(1_800_000)
            bench.assertEnded("failed", code, commits = 1)
        }
    }

    @Test
    fun `parameters that are not understood are the command's fault`() {
        val bench = bench()
        bench.installations.deploy(bench.command().copy(params = "{}"))
        bench.settle()
        assertEquals("failed" to "bad_params", bench.result()?.let { it.outcome to it.code })
        assertEquals(0, bench.acknowledged.size)
    }

    @Test
    fun `four at once, one a package, and further ones are refused`() {
        val bench = bench()
        bench.isOnline = false
        bench.installations.deploy(bench.command("same-1"))
        bench.installations.deploy(bench.command("same-2"))
        repeat(22) { bench.installations.deploy(bench.command("c$it", packageName = "com.example.app$it")) }
        bench.installations.deploy(bench.command("late", packageName = "com.example.late"))
        bench.run(5_000)
        val accepted = bench.outbox.oldest(setOf(com.nexmdm.core.queue.ItemKind.DEPLOYMENT_STATUS), 100).map { it.subject }
        assertEquals(listOf("d-same-1", "d-c0", "d-c1", "d-c2"), accepted)
        bench.platform.apk = null
        bench.isOnline = true
        bench.settle(3_600_000)
        assertEquals("busy", bench.result("late")?.code)
        assertEquals(25, bench.results.map { it.first }.distinct().size)
        assertEquals(0, bench.installations.size)
    }

    @Test
    fun `the agent tries again by itself only when it is told to`() {
        val bench = bench()
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 5)
        bench.installations.deploy(bench.command(constraints = """{"min_battery":30}""", more = ""","retry":{"max":2,"backoff_sec":60}"""))
        bench.run(30_000)
        assertEquals(0, bench.outbox.size() + bench.acknowledged.size)
        // It survives a restart, and the second retry comes after twice the time.
        bench.kill()
        bench.start()
        bench.run(120_000)
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 80)
        bench.settle()
        assertEquals("success", bench.result()?.outcome)
        assertEquals(listOf(60_000L, 120_000L), bench.log.of("retry.schedule").map { it["delay_ms"] })
    }

    @Test
    fun `retries end, and what began is not accepted twice`() {
        val bench = bench()
        bench.downloads.byHost["files:1"] = Reply.Status(404)
        bench.installations.deploy(bench.command(more = ""","retry":{"max":2,"backoff_sec":1}"""))
        bench.settle()
        bench.assertEnded("failed", "download_failed")
        assertEquals(listOf("accepted", "downloading", "failed"), bench.statuses())
        assertEquals(3, bench.downloads.requests.size)
    }

    @Test
    fun `an intent that fails does not undo the installation`() {
        val bench = bench()
        bench.platform.intentOutcome = ActionOutcome.failed("not_installed")
        bench.installations.deploy(bench.command(more = ",\"post_install\":{\"restart_intent\":{\"action\":\"x\",\"extras\":{}}}"))
        bench.settle()
        assertEquals("success", bench.result()?.outcome)
        assertTrue("not_installed" in bench.result()?.message.orEmpty())
        assertEquals("succeeded", bench.statuses().last())
    }

    @Test
    fun `progress is reported in between, at most every ten seconds and ten percent`() {
        val bench = bench()
        bench.downloads.chunkBytes = 100
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command())
        bench.settle()
        val told = bench.acknowledged.filter { it.status == "downloading" }.mapNotNull { it.progressPct }
        assertEquals(told.sorted().distinct(), told)
        assertTrue(told.size in 8..11, "$told")
        assertEquals(listOf(0, 100), listOf(told.first(), told.last()))
    }

    @Test
    fun `an installation whose verdict was missed is looked at after the restart`() {
        for (isUndecided in listOf(true, false)) {
            for (succeeds in listOf(true, false)) {
                val bench = bench()
                bench.platform.installMs = 60_000
                bench.installations.deploy(bench.command())
                bench.run(10_000)
                assertEquals(1, bench.platform.commits.size)
                bench.kill()
                bench.platform.undecided = isUndecided
                val decide = {
                    if (succeeds) bench.platform.apps[InstallBench.APP] = InstalledApp(7, "1.7", setOf(FakePlatform.SIGNER))
                    bench.platform.undecided = false
                }
                if (!isUndecided) decide()
                bench.start()
                bench.run(30_000)
                if (isUndecided) {
                    assertNull(bench.result(), "it is waited for")
                    decide()
                }
                bench.settle()
                // What is there is not installed again; what came to nothing is, once the server has agreed again.
                assertEquals(if (succeeds) 1 else 2, bench.platform.commits.size)
                assertEquals("succeeded" to null, bench.acknowledged.last().let { it.status to it.error })
                assertEquals(if (succeeds) 1 else 2, bench.acknowledged.count { it.status == "installing" })
            }
        }
    }

    @Test
    fun `an installation that is interrupted again and again fails`() {
        val bench = bench()
        bench.platform.installMs = 60_000
        bench.installations.deploy(bench.command())
        repeat(3) {
            bench.run(20_000)
            assertEquals(it + 1, bench.platform.commits.size)
            bench.kill()
            bench.start()
        }
        bench.settle()
        assertEquals(3, bench.platform.commits.size)
        bench.assertEnded("failed", "install_failed", commits = 3)
    }

    @Test
    fun `a verdict that never comes after a restart ends as timeout`() {
        val bench = bench()
        bench.platform.verdict = null
        bench.installations.deploy(bench.command())
        bench.run(10_000)
        bench.kill()
        bench.platform.undecided = true
        bench.start()
        bench.settle(3_600_000)
        bench.assertEnded("failed", "timeout", commits = 1)
    }

    @Test
    fun `a file that changes after it was verified is not installed`() {
        val bench = bench()
        bench.answer = { status ->
            if (status.status == "installing") {
                val file = bench.platform.folder.listFiles().orEmpty().single()
                file.writeBytes(file.readBytes().also { it[0] = (it[0] + 1).toByte() })
            }
            200
        }
        bench.installations.deploy(bench.command())
        bench.settle()
        bench.assertEnded("failed", "checksum_mismatch")
    }

    @Test
    fun `files that nobody needs are removed at the start`() {
        val bench = bench()
        bench.kill()
        File(bench.platform.folder, "00000000000000000000000000000000.apk").writeText("left")
        File(bench.platform.folder, "other.txt").writeText("not ours")
        bench.start()
        assertEquals(listOf("other.txt"), bench.files())
    }

    @Test
    fun `what is kept in a form that is not understood ends as interrupted`() {
        val bench = bench()
        bench.kill()
        bench.switch.revive()
        bench.db.execute("INSERT INTO installation (id, document) VALUES ('cmd-9', '{\"state\":\"FUTURE\"}')")
        bench.db.close()
        bench.start()
        bench.settle()
        assertEquals("interrupted", bench.result("cmd-9")?.code)
        assertEquals(0, bench.installations.size)
    }

    @Test
    fun `forgetting ends everything`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command())
        bench.run(3_000)
        assertEquals(1, bench.files().size)
        bench.installations.forget()
        bench.run(60_000)
        assertEquals(listOf(0, 0, 0), listOf(bench.installations.size, bench.files().size, bench.platform.commits.size))
        bench.kill()
        bench.start()
        assertEquals(0, bench.installations.size)
    }

    @Test
    fun `a node that is gone is left for another one`() {
        val bench = bench()
        bench.downloads.byHost["files:1"] = Reply.Nothing(NetworkFailure.CONNECT)
        bench.installations.deploy(bench.command())
        bench.settle()
        assertEquals("success", bench.result()?.outcome)
        assertTrue(bench.downloads.requests.last().url.startsWith("http://n1:1/v1/apks/x/file?"))
    }
}
