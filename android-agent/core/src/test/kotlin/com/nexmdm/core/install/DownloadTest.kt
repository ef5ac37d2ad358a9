package com.nexmdm.core.install

import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Transport
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

/** Downloads as a deployment makes them; the file is 10,000 bytes. */
class DownloadTest {
    @TempDir lateinit var folder: File
    private val benches = mutableListOf<InstallBench>()

    private fun bench() = InstallBench(File(folder, "b${benches.size}").apply { mkdirs() }).also { benches += it }

    @AfterEach
    fun close() = benches.forEach { it.close() }

    private fun deployed(vararg replies: Reply, constraints: String = "{}", prepare: InstallBench.() -> Unit = {}): InstallBench {
        val bench = bench()
        bench.prepare()
        bench.downloads.replies += replies
        bench.installations.deploy(bench.command(constraints = constraints))
        bench.settle(24 * 3_600_000L)
        assertEquals(emptyList<String>(), bench.files())
        assertEquals(0, bench.installations.size)
        return bench
    }

    private fun InstallBench.froms() = downloads.requests.map { it.fromByte }

    private fun assertFails(code: String, bench: InstallBench) {
        assertEquals("failed" to code, bench.result()?.let { it.outcome to it.code })
        assertEquals("failed" to code, bench.acknowledged.last().let { it.status to it.error })
        assertEquals(0, bench.platform.commits.size)
    }

    private fun assertSucceeds(bench: InstallBench, message: String = "") = assertEquals("success", bench.result()?.outcome, message)

    @Test
    fun `what breaks off goes on from there`() {
        val cut = Reply.Serve(cutAfter = 4_500)
        val breaks = listOf(cut, cut.copy(endsQuietly = true), Reply.Serve(stallAfter = 4_500))
        for (reply in breaks) {
            val bench = deployed(reply, Reply.Serve(cutAfter = 1_000))
            assertSucceeds(bench)
            assertEquals(listOf(0L, 4_500L, 5_500L), bench.froms(), "$reply")
        }
    }

    @Test
    fun `a killed process goes on from what is on disk`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command())
        bench.run(4_700)
        bench.kill()
        bench.start()
        bench.settle()
        assertSucceeds(bench)
        assertEquals(listOf(0L, 4_000L), bench.froms())
        assertEquals(1, bench.platform.commits.size)
    }

    @Test
    fun `bytes on disk that are not the file's are found out, and it starts over once`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command())
        bench.run(4_700)
        bench.kill()
        // Power was lost: the file is longer than what was written.
        val file = bench.platform.folder.listFiles().orEmpty().single()
        file.writeBytes(file.readBytes() + ByteArray(500))
        bench.start()
        bench.settle()
        assertSucceeds(bench)
        assertEquals(listOf(0L, 4_500L, 0L), bench.froms())
    }

    @Test
    fun `a server without ranges serves from the beginning`() {
        val bench = deployed(Reply.Serve(cutAfter = 4_500), Reply.Serve(ignoresRange = true))
        assertSucceeds(bench)
        assertEquals(listOf(0L, 4_500L), bench.froms())
    }

    @Test
    fun `another file behind the same address starts over once`() {
        val bench = deployed(Reply.Serve(cutAfter = 4_500), Reply.Serve(etag = "\"v2\""), Reply.Serve(etag = "\"v2\""))
        assertSucceeds(bench)
        assertEquals(listOf(0L, 4_500L, 0L), bench.froms())
        val twice = arrayOf(
            Reply.Serve(cutAfter = 4_500), Reply.Serve(etag = "\"v2\""), Reply.Serve(etag = "\"v2\"", cutAfter = 9),
            Reply.Serve(etag = "\"v3\""),
        )
        assertFails("download_failed", deployed(*twice))
    }

    @Test
    fun `a size that changes starts over once, then fails`() {
        assertSucceeds(deployed(Reply.OtherSize(9_000)))
        assertSucceeds(deployed(Reply.Serve(cutAfter = 4_500), Reply.OtherSize(20_000)))
        assertSucceeds(deployed(Reply.TooLong(1)))
        assertFails("download_failed", deployed(Reply.OtherSize(9_000), Reply.OtherSize(9_000)))
        assertFails("download_failed", deployed(Reply.TooLong(5), Reply.TooLong(5)))
        assertFails("download_failed", deployed(Reply.Serve(cutAfter = 4_500), Reply.OtherSize(4_000), Reply.OtherSize(4_000)))
    }

    @Test
    fun `pages, redirections and busy nodes pass`() {
        val passing = arrayOf(
            Reply.Page, Reply.Status(302, mapOf("location" to "http://portal/")), Reply.Status(503, mapOf("retry-after" to "120")),
            Reply.Status(429), Reply.OtherRange, Reply.Nothing(NetworkFailure.TLS), Reply.Nothing(NetworkFailure.TIMEOUT), Reply.Page,
        )
        val bench = deployed(*passing)
        assertSucceeds(bench)
        assertEquals(passing.size + 1, bench.downloads.requests.size)
        assertTrue(bench.nowMs > 120_000, "what the server asked for was waited for")
    }

    @Test
    fun `a portal that stays, a node that stays busy and a network that stays away end it`() {
        val lasting = listOf(
            Reply.Page, Reply.Status(302), Reply.Status(503), Reply.OtherRange, Reply.Nothing(),
            Reply.Nothing(NetworkFailure.CLEARTEXT_FORBIDDEN), Reply.Serve(stallAfter = 0),
        )
        for (reply in lasting) {
            val bench = deployed { listOf("files:1", "n1:1", "n2:1").forEach { downloads.byHost[it] = reply } }
            assertFails("download_failed", bench)
            assertEquals(20, bench.downloads.requests.size, "$reply")
        }
    }

    @Test
    fun `a server that never gets further than before ends it as well`() {
        val half = Reply.Serve(ignoresRange = true, cutAfter = 4_500)
        val bench = deployed { listOf("files:1", "n1:1", "n2:1").forEach { downloads.byHost[it] = half } }
        assertFails("download_failed", bench)
        assertTrue(bench.downloads.requests.size <= 21)
    }

    @Test
    fun `an address that does not hold ends it`() {
        for (status in listOf(401, 403, 410, 404)) {
            val bench = deployed(Reply.Status(status))
            assertFails("download_failed", bench)
            assertEquals(1, bench.downloads.requests.size)
        }
        assertFails("download_failed", deployed(Reply.Serve(cutAfter = 4_500), Reply.Status(403)) { servers.clear() })
    }

    @Test
    fun `another server that has no such file says nothing about the address`() {
        val bench = deployed(Reply.Nothing()) {
            downloads.byHost["n1:1"] = Reply.Status(404)
            downloads.byHost["n2:1"] = Reply.Status(401)
        }
        assertSucceeds(bench)
        assertEquals("files:1", bench.downloads.requests.last().url.substringAfter("//").substringBefore('/'))
    }

    @Test
    fun `it goes on where another node is`() {
        val bench = deployed(Reply.Serve(cutAfter = 4_500))
        assertSucceeds(bench)
        assertEquals(listOf("files:1", "n1:1"), bench.downloads.requests.map { it.url.substringAfter("//").substringBefore('/') })
    }

    @Test
    fun `a download that does not fit is not begun`() {
        val bench = deployed { platform.free = (32L shl 20) + 9_999 }
        assertFails("low_storage", bench)
        assertEquals(0, bench.downloads.requests.size)
        assertSucceeds(deployed { platform.free = (32L shl 20) + 10_000 })
    }

    @Test
    fun `storage that fills up in the middle ends it`() {
        val bench = InstallBench(File(folder, "big").apply { mkdirs() }, ByteArray(3 shl 20)).also { benches += it }
        bench.downloads.chunkBytes = 100_000
        bench.installations.deploy(bench.command())
        bench.run(200)
        bench.platform.free = 1_000
        bench.settle()
        assertFails("low_storage", bench)
        assertEquals(emptyList<String>(), bench.files())
    }

    @Test
    fun `a folder that cannot be written ends it`() {
        val bench = deployed {
            platform.folder.deleteRecursively()
            platform.folder.writeText("a file in its place")
        }.also { it.platform.folder.delete() }
        assertFails("download_failed", bench)
    }

    @Test
    fun `a file that the system removes is fetched again, a few times`() {
        val bench = bench()
        var removals = 1
        bench.answer = { status ->
            if (status.status == "downloading" && status.progressPct == 0) bench.platform.apk = bench.apkFacts()
            200
        }
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command())
        while (removals > 0) {
            bench.run(9_000)
            bench.platform.folder.listFiles().orEmpty().forEach { it.delete() }
            removals--
        }
        bench.settle()
        assertSucceeds(bench)
        assertEquals(listOf(0L, 0L), bench.froms())
    }

    @Test
    fun `Wi-Fi that turns into cellular pauses a download that wants Wi-Fi`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command(constraints = """{"wifi_only":true}"""))
        bench.run(4_700)
        bench.platform.connect(Transport.CELLULAR, metered = true)
        bench.run(600_000)
        assertEquals(1, bench.downloads.requests.size, "nothing is fetched meanwhile")
        bench.platform.connect(Transport.WIFI)
        bench.settle()
        assertSucceeds(bench)
        assertEquals(listOf(0L, 4_000L), bench.froms())
    }

    @Test
    fun `a download whose Wi-Fi stays away fails with what is in the way`() {
        for ((transport, code) in listOf(Transport.CELLULAR to "no_wifi", Transport.WIFI to "metered")) {
            val bench = bench()
            bench.downloads.chunkMs = 1_000
            bench.installations.deploy(bench.command(constraints = """{"wifi_only":true}"""))
            bench.run(4_700)
            bench.platform.connect(transport, metered = true)
            bench.settle(24 * 3_600_000L)
            assertFails(code, bench)
        }
    }

    @Test
    fun `without that wish cellular does`() {
        val bench = bench()
        bench.downloads.chunkMs = 1_000
        bench.installations.deploy(bench.command())
        bench.run(4_700)
        bench.platform.connect(Transport.CELLULAR, metered = true)
        bench.settle()
        assertSucceeds(bench)
        assertEquals(listOf(0L), bench.froms())
    }

    @Test
    fun `a network that comes back ends the wait between requests`() {
        val bench = deployed(*Array(12) { Reply.Nothing() }) { platform.connect(Transport.NONE) }
        val slow = bench.nowMs
        val quick = bench()
        quick.platform.connect(Transport.NONE)
        quick.downloads.replies += Array(12) { Reply.Nothing() }
        quick.installations.deploy(quick.command())
        repeat(40) {
            quick.run(1_000)
            quick.platform.connect(if (it % 2 == 0) Transport.WIFI else Transport.NONE)
        }
        quick.settle()
        assertSucceeds(quick)
        assertTrue(quick.nowMs < slow / 2, "${quick.nowMs} $slow")
    }

    @Test
    fun `a drip that never ends is given up`() {
        val bench = bench()
        bench.downloads.chunkMs = 25_000
        bench.downloads.chunkBytes = 1
        bench.installations.deploy(bench.command())
        bench.settle(24 * 3_600_000L)
        assertFails("download_failed", bench)
        assertTrue(bench.nowMs in 6 * 3_600_000L..7 * 3_600_000L)
    }
}
