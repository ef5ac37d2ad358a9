package com.nexmdm.core.install

import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Transport
import com.nexmdm.core.wire.Command
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

/** Updates of the agent: installing kills the process, as Android does, and the new version goes on. */
class UpdateTest {
    @TempDir lateinit var folder: File
    private val benches = mutableListOf<InstallBench>()

    private fun bench() = InstallBench(File(folder, "b${benches.size}").apply { mkdirs() }).also {
        benches += it
        it.platform.apk = it.apkFacts(FakePlatform.AGENT, 141)
    }

    @AfterEach
    fun close() = benches.forEach { it.close() }

    private fun update(id: String = "up-1") = Command(requestId = id, action = "update", params = "{}")

    private fun InstallBench.events() =
        updateReports.map { it.event }.fold(emptyList<String>()) { all, next -> if (all.lastOrNull() == next) all else all + next }

    @Test
    fun `the agent replaces itself, and the new version reports it`() {
        val bench = bench()
        bench.offers += bench.offer()
        bench.installations.lookForUpdate(update())
        assertTrue(bench.installations.owns("up-1"))
        bench.settle()
        assertEquals("replaced", bench.switch.diedBefore)
        assertEquals(141, bench.platform.agentVersionCode())
        assertEquals(listOf("downloaded", "installed"), bench.events())
        assertEquals(listOf(140L, 141L), bench.updateReports.map { it.versionCode })
        assertEquals("success" to null, bench.result("up-1")?.let { it.outcome to it.code })
        assertEquals(listOf(FakePlatform.AGENT), bench.platform.commits)
        assertEquals("/v1/agent/update?package_name=com.nexmdm&current_version_code=140", bench.looks.first())
        assertEquals(listOf("update_downloaded", "update_installed"), bench.steps.map { it.step })
        assertEquals(emptyList<String>(), bench.files())
    }

    @Test
    fun `a deployment of the agent's own package ends in the new version, intent included`() {
        val bench = bench()
        bench.installations.deploy(
            bench.command(
                packageName = FakePlatform.AGENT,
                versionCode = 141,
                more = ",\"post_install\":{\"restart_intent\":{\"action\":\"x\",\"extras\":{}}}",
            ),
        )
        bench.settle()
        assertEquals("replaced", bench.switch.diedBefore)
        assertEquals(listOf("accepted", "downloading", "verifying", "installing", "succeeded"), bench.statuses())
        assertEquals("success", bench.result()?.outcome)
        assertEquals(listOf(1, 1), listOf(bench.platform.commits.size, bench.platform.intents.size))
    }

    @Test
    fun `reasons for no update are the command's message`() {
        for (reason in listOf("no_current_build", "already_current", "not_in_cohort")) {
            val bench = bench()
            bench.offers += { HttpAnswer(304, mapOf("x-update-reason" to reason), "") }
            bench.installations.lookForUpdate(update())
            bench.settle()
            assertEquals(Concluded("update", "success", message = reason), bench.result("up-1"))
            assertEquals(0, bench.updateReports.size)
        }
    }

    @Test
    fun `it looks at the start and every six hours, jittered`() {
        val bench = bench()
        bench.run(11_000)
        assertEquals(1, bench.looks.size)
        bench.run(5 * 3_600_000L)
        assertEquals(1, bench.looks.size)
        bench.run(2 * 3_600_000L)
        assertEquals(2, bench.looks.size)
        bench.run(24 * 3_600_000L)
        assertTrue(bench.looks.size in 5..7, "${bench.looks.size}")
    }

    @Test
    fun `a server that cannot be asked is asked again, and sooner`() {
        val bench = bench()
        bench.isOnline = false
        bench.installations.lookForUpdate(update())
        bench.run(60_000)
        assertEquals(3, bench.looks.size)
        bench.run(20 * 60_000)
        assertEquals(6, bench.looks.size)
        bench.isOnline = true
        bench.settle()
        assertEquals("failed" to "unreachable", bench.result("up-1")?.let { it.outcome to it.code })
    }

    @Test
    fun `what is no offer is not understood`() {
        val page = { HttpAnswer(200, emptyMap(), "<html>log in</html>") }
        val bench = bench()
        bench.offers += listOf(page, { throw NetworkException(NetworkFailure.TIMEOUT, "slow") }, bench.offer())
        bench.installations.lookForUpdate(update())
        bench.settle()
        assertEquals("success", bench.result("up-1")?.outcome, "a portal passes")
        val answers = listOf<Pair<HttpAnswer, String>>(
            HttpAnswer(200, emptyMap(), "{}") to "not_understood",
            HttpAnswer(200, emptyMap(), bench().offer(more = ",\"file_size\":-1")().body) to "not_understood",
            HttpAnswer(200, emptyMap(), bench().offer()().body.replace("com.nexmdm\"", "com.other\"")) to "not_understood",
            HttpAnswer(403, emptyMap(), "") to "refused",
            HttpAnswer(422, emptyMap(), "") to "refused",
        )
        for ((answer, code) in answers) {
            val other = bench()
            other.offers += { answer }
            other.installations.lookForUpdate(update())
            other.settle()
            assertEquals("failed" to code, other.result("up-1")?.let { it.outcome to it.code })
            assertEquals(0, other.platform.commits.size)
        }
    }

    @Test
    fun `an older version is never taken`() {
        val bench = bench()
        bench.offers += bench.offer(versionCode = 139)
        bench.installations.lookForUpdate(update())
        bench.settle()
        assertEquals(Concluded("update", "success", message = "already_current"), bench.result("up-1"))
        assertEquals(0, bench.downloads.requests.size)
    }

    @Test
    fun `a file that cannot be verified is reported as such`() {
        val wrong = listOf<Triple<String, String, InstallBench.() -> Unit>>(
            Triple("verify_failed", "checksum_mismatch") { downloads.replies += Reply.Altered },
            Triple("verify_failed", "signer_mismatch") { platform.apk = apkFacts(FakePlatform.AGENT, 141, signer = "ff".repeat(32)) },
            Triple("failed", "install_failed") { platform.verdict = InstallVerdict.Failed("install_failed", "no") },
            Triple("failed", "not_permitted") { platform.verdict = InstallVerdict.Failed("not_permitted", "policy") },
            Triple("failed", "download_failed") { downloads.replies += Reply.Status(404) },
        )
        for ((event, code, change) in wrong) {
            val bench = bench()
            bench.change()
            bench.offers += bench.offer()
            bench.installations.lookForUpdate(update())
            bench.settle()
            assertEquals(event to code, bench.updateReports.last().let { it.event to it.error })
            assertEquals(140L, bench.updateReports.last().versionCode)
            assertEquals("failed" to code, bench.result("up-1")?.let { it.outcome to it.code })
            assertEquals(emptyList<String>(), bench.files())
        }
    }

    @Test
    fun `conditions are waited for, the command hears of it at once`() {
        val bench = bench()
        bench.platform.connect(Transport.CELLULAR, metered = true)
        bench.offers += bench.offer(more = ""","wifi_only":true""")
        bench.installations.lookForUpdate(update())
        bench.run(3_600_000)
        assertEquals("skipped" to "no_wifi", bench.result("up-1")?.let { it.outcome to it.code })
        assertEquals(0, bench.downloads.requests.size)
        bench.platform.connect(Transport.WIFI)
        bench.settle()
        assertEquals(listOf("downloaded", "installed"), bench.events())
    }

    @Test
    fun `a call puts an update off unless it must be installed`() {
        for (must in listOf(false, true)) {
            val bench = bench()
            bench.platform.readings = bench.platform.readings.copy(inCall = true)
            bench.offers += bench.offer(more = ""","must_install":$must,"min_battery":30""")
            bench.run(1_200_000)
            assertEquals(must, 141L == bench.platform.agentVersionCode())
            // The end of a call is no event: it is looked at every few minutes.
            bench.platform.readings = bench.platform.readings.copy(inCall = false)
            bench.run(600_000)
            assertEquals(141, bench.platform.agentVersionCode())
        }
    }

    @Test
    fun `a condition that ends before installing is waited for with the file kept`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.offers += bench.offer(more = ""","min_battery":30""")
        bench.installations.lookForUpdate(null)
        bench.run(5_000)
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 20)
        bench.run(3_600_000)
        assertEquals(1, bench.files().size)
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 40)
        bench.settle()
        assertEquals(1, bench.downloads.requests.size)
        assertEquals(listOf("downloaded", "installed"), bench.updateReports.map { it.event })
    }

    @Test
    fun `an address that ran out is asked for again, a few times`() {
        val bench = bench()
        bench.downloads.chunkMs = 100
        bench.downloads.replies += listOf(Reply.Serve(cutAfter = 4_500), Reply.Status(403))
        bench.servers.clear()
        bench.offers += listOf(bench.offer(), bench.offer(url = "http://files:2/v1/apks/x/file?s=2"))
        bench.installations.lookForUpdate(update())
        bench.settle()
        assertEquals(listOf(0L, 4_500L, 4_500L), bench.downloads.requests.map { it.fromByte })
        assertEquals("success", bench.result("up-1")?.outcome)

        val refused = bench()
        refused.downloads.byHost["files:1"] = Reply.Status(403)
        repeat(9) { refused.offers += refused.offer() }
        refused.installations.lookForUpdate(update())
        refused.settle()
        assertEquals("failed" to "download_failed", refused.result("up-1")?.let { it.outcome to it.code })
        assertEquals(3, refused.downloads.requests.size)
    }

    @Test
    fun `another build that is offered after a wait replaces the first`() {
        val bench = bench()
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 5)
        bench.offers += bench.offer(more = ""","min_battery":30""")
        bench.installations.lookForUpdate(null)
        bench.run(60_000)
        bench.offers += bench.offer(versionCode = 142)
        bench.platform.apk = bench.apkFacts(FakePlatform.AGENT, 142)
        bench.platform.readings = bench.platform.readings.copy(batteryPct = 80)
        bench.installations.lookForUpdate(update())
        bench.settle()
        assertEquals(142, bench.platform.agentVersionCode())
        assertEquals(setOf("b-142"), bench.updateReports.map { it.buildId }.toSet())
        assertEquals("success", bench.result("up-1")?.outcome)
    }

    @Test
    fun `one update at a time, and every command is answered`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.offers += bench.offer()
        bench.installations.lookForUpdate(null)
        bench.run(3_000)
        bench.installations.lookForUpdate(update("up-1"))
        bench.installations.lookForUpdate(update("up-2"))
        bench.settle()
        assertEquals(listOf("success", "skipped"), listOf("up-1", "up-2").map { bench.result(it)?.outcome })
        assertEquals("busy", bench.result("up-2")?.code)
        assertEquals(1, bench.platform.commits.size)
    }

    @Test
    fun `an update and a deployment of the same package follow each other`() {
        val bench = bench()
        bench.offers += bench.offer()
        bench.installations.lookForUpdate(update())
        bench.installations.deploy(bench.command(packageName = FakePlatform.AGENT, versionCode = 141))
        bench.settle()
        assertEquals(listOf("success", "success"), listOf(bench.result("up-1")?.outcome, bench.result()?.outcome))
        assertEquals(1, bench.platform.commits.size, "the second finds it installed")
        assertNull(bench.installations.takeIf { it.owns("cmd-1") })
    }
}
