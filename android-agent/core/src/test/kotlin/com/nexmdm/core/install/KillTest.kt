package com.nexmdm.core.install

import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.wire.Command
import net.jqwik.api.Arbitraries
import net.jqwik.api.Arbitrary
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.Provide
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File
import java.nio.file.Files

/** Installations whose process ends before any of its effects, or whose storage refuses any write. */
class KillTest {
    private val intent = ",\"post_install\":{\"restart_intent\":{\"action\":\"till.RESTART\",\"extras\":{}}}"

    private fun <T> withBench(seed: Long = 1, block: (InstallBench) -> T): T {
        val folder = Files.createTempDirectory("nexmdm-install").toFile()
        try {
            return InstallBench(File(folder, "b").apply { mkdirs() }, seed = seed).use(block)
        } finally {
            folder.deleteRecursively()
        }
    }

    /** Nothing is installed unless the server let this very attempt through. */
    private fun InstallBench.guardCommits() {
        platform.onCommit = {
            assertTrue(acknowledged.any { it.status == "accepted" }, "installed before accepted was answered")
            assertTrue(acknowledged.any { it.status == "installing" }, "installed before installing was answered")
        }
    }

    /** Takes a command as the command log does: one that was begun and is owned by nobody afterwards was interrupted. */
    private fun InstallBench.take(command: Command, begin: Installations.(Command) -> Unit) {
        try {
            installations.begin(command)
        } catch (_: Killed) {
            kill()
            start()
        } catch (_: SqlException) {
            // Nothing was begun.
        }
    }

    private fun InstallBench.assertOneEnd(id: String) {
        val outcomes = results.filter { it.first == id }.map { it.second }.distinct()
        assertEquals(1, outcomes.size, "ends of $id: $outcomes, died before ${switch.diedBefore}")
        assertEquals(0, installations.size)
        assertEquals(0, outbox.size())
        assertEquals(emptyList<String>(), files())
        // A commit whose verdict a kill kept from the agent is made once more, if nothing came of it.
        assertTrue(platform.commits.size <= 2, "committed ${platform.commits.size} times")
        assertTrue(platform.intents.size <= 1, "sent ${platform.intents.size} times")
    }

    private fun InstallBench.assertDeploymentTold() {
        val ends = acknowledged.filter { it.status in setOf("succeeded", "failed", "skipped") }.distinct()
        val isInstalled = platform.apps[InstallBench.APP]?.versionCode == 7L
        assertEquals(listOf(if (isInstalled) "succeeded" else "failed"), ends.map { it.status }, "died before ${switch.diedBefore}")
        assertEquals(if (isInstalled) "success" else "failed", result()?.outcome)
        val stages = acknowledged.map { listOf("accepted", "downloading", "verifying", "installing").indexOf(it.status) }.filter { it >= 0 }
        assertEquals(stages.sorted(), stages, "no step back")
    }

    private fun deployment(killAt: Int, setUp: InstallBench.() -> Unit = {}): Int = withBench { bench ->
        bench.setUp()
        bench.guardCommits()
        bench.switch.killAt = if (killAt == 0) 0 else bench.switch.ticks + killAt
        val before = bench.switch.ticks
        bench.take(bench.command(more = intent)) { deploy(it) }
        bench.settle(1_800_000)
        if (bench.results.isEmpty() && bench.acknowledged.isEmpty()) {
            // It died before the command was on record here.
            assertEquals(0, bench.platform.commits.size)
            assertTrue(killAt <= 3, "lost at effect $killAt, before ${bench.switch.diedBefore}")
        } else {
            bench.assertOneEnd("cmd-1")
            bench.assertDeploymentTold()
            val isWanted = bench.platform.verdict == InstallVerdict.Installed
            assertEquals(isWanted, bench.platform.apps[InstallBench.APP]?.versionCode == 7L, "died before ${bench.switch.diedBefore}")
        }
        bench.switch.ticks - before
    }

    @Test
    fun `a deployment survives a kill before each of its effects`() {
        val effects = deployment(0)
        assertTrue(effects > 100, "$effects")
        for (killAt in 1..effects) deployment(killAt)
    }

    @Test
    fun `a deployment that fails survives a kill before each of its effects`() {
        val fails: InstallBench.() -> Unit = { platform.verdict = InstallVerdict.Failed("not_permitted", "policy") }
        for (killAt in 1..deployment(0, fails)) deployment(killAt, fails)
    }

    private fun update(killAt: Int): Int = withBench { bench ->
        bench.platform.apk = bench.apkFacts(FakePlatform.AGENT, 141)
        repeat(3) { bench.offers += bench.offer() }
        bench.switch.killAt = if (killAt == 0) 0 else bench.switch.ticks + killAt
        val before = bench.switch.ticks
        bench.take(Command(requestId = "up-1", action = "update", params = "{}")) { lookForUpdate(it) }
        bench.settle(1_800_000)
        // Whatever happened to the command: the agent is replaced by what its start looks for, and says so.
        bench.run(60_000)
        bench.settle(1_800_000)
        assertEquals(0, bench.installations.size)
        assertEquals(141L, bench.platform.agentVersionCode(), "died before ${bench.switch.diedBefore}")
        assertEquals("installed", bench.updateReports.map { it.event }.last(), "died before ${bench.switch.diedBefore}")
        assertEquals(1, bench.updateReports.filter { it.event != "downloaded" }.distinct().size, "died before ${bench.switch.diedBefore}")
        if (bench.results.isNotEmpty()) bench.assertOneEnd("up-1") else assertTrue(killAt <= 3, "lost at effect $killAt")
        bench.switch.ticks - before
    }

    @Test
    fun `a self-update survives a kill before each of its effects`() {
        for (killAt in 1..update(0)) update(killAt)
    }

    @Test
    fun `storage that refuses any one write, or writes for a while, loses and repeats nothing`() {
        for (lasting in listOf(1, 5)) {
            for (refusedAt in 1..60) {
                withBench { bench ->
                    bench.guardCommits()
                    var first = 0
                    bench.switch.refuseWrites = { write ->
                        if (first == 0) first = write
                        write - first in refusedAt until refusedAt + lasting
                    }
                    bench.take(bench.command(more = intent)) { deploy(it) }
                    bench.settle(1_800_000)
                    if (bench.results.isEmpty()) {
                        assertTrue(refusedAt <= 3 && bench.acknowledged.isEmpty())
                    } else {
                        bench.assertOneEnd("cmd-1")
                        bench.assertDeploymentTold()
                        assertEquals(1, bench.platform.intents.size)
                    }
                }
            }
        }
    }

    @Provide
    fun networks(): Arbitrary<List<Reply>> = Arbitraries.oneOf<Reply>(
        Arbitraries.integers().between(0, 9_999).map { Reply.Serve(cutAfter = it) },
        Arbitraries.integers().between(0, 9_999).map { Reply.Serve(stallAfter = it, etag = null) },
        Arbitraries.integers().between(0, 9_999).map { Reply.Serve(cutAfter = it, endsQuietly = true, ignoresRange = true) },
        Arbitraries.of(503, 429, 302, 500, 403, 404, 416).map { Reply.Status(it) },
        Arbitraries.of(NetworkFailure.CONNECT, NetworkFailure.TLS, NetworkFailure.BROKEN).map { Reply.Nothing(it) },
        Arbitraries.of(Reply.Page, Reply.OtherRange, Reply.Altered, Reply.Serve()),
        Arbitraries.integers().between(1, 20_000).map { Reply.OtherSize(it) },
        Arbitraries.integers().between(1, 5_000).map { Reply.TooLong(it) },
    ).list().ofMaxSize(8)

    /** Effects from one kill to the next. */
    @Provide
    fun kills(): Arbitrary<List<Int>> = Arbitraries.integers().between(1, 150).list().ofMaxSize(4)

    /** Whether the server takes a status, or is too busy. */
    @Provide
    fun answers(): Arbitrary<List<Boolean>> = Arbitraries.of(true, false).list().ofMaxSize(8)

    @Property(tries = 150)
    fun `over any network and any kills a deployment ends once, as it is told`(
        @ForAll("networks") network: List<Reply>,
        @ForAll("kills") kills: List<Int>,
        @ForAll("answers") answers: List<Boolean>,
        @ForAll seed: Long,
    ) = withBench(seed) { bench ->
        bench.guardCommits()
        bench.downloads.replies += network
        val taken = ArrayDeque(answers)
        bench.answer = { if (taken.removeFirstOrNull() ?: true) 200 else 503 }
        bench.take(bench.command(more = intent)) { deploy(it) }
        for (kill in kills) {
            bench.switch.killAt = bench.switch.ticks + kill
            bench.run(30_000)
        }
        bench.switch.killAt = 0
        bench.settle(24 * 3_600_000L)
        bench.assertOneEnd("cmd-1")
        bench.assertDeploymentTold()
    }
}
