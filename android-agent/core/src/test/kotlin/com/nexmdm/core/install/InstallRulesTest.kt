package com.nexmdm.core.install

import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.DownloadHead
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.Transport
import com.nexmdm.core.wire.UpdateOffer
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.time.Instant

internal const val DEPLOY_PARAMS = """{"deployment_id":"0198b2f0-0000-7000-8000-000000000001","attempt":2,
    "apk":{"package":"com.example.till","version_code":121,"version_name":"1.0.121-d263d20",
    "url":"https://host/v1/apks/1/file?expires=9&signature=ab",
    "sha256":"abababababababababababababababababababababababababababababababAB",
    "signer_sha256":["cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"],
    "size":10485760},"constraints":{"wifi_only":true,"min_battery":50,"charging_only":true,"min_storage_free_mb":100,
    "window":{"start":"22:00","end":"05:00","tz":"UTC"}},"retry":{"max":0,"backoff_sec":60},
    "post_install":{"restart_intent":{"action":"com.nexmdm.RESTART","extras":{"a":"b"}}}}"""

internal val FIT_DEVICE = DeviceCondition(
    batteryPct = 50, charging = true, transport = Transport.WIFI, metered = false, storageFreeBytes = 120L shl 20,
    inCall = false, sdkInt = 33,
)

class InstallRulesTest {
    private val night = Instant.parse("2026-11-21T23:00:00Z").toEpochMilli()
    private val noon = Instant.parse("2026-11-21T12:00:00Z").toEpochMilli()
    private val order = checkNotNull(InstallOrder.ofDeployment(DEPLOY_PARAMS))
    private val free = order.copy(constraints = Constraints())

    @Test
    fun `each constraint stands in the way by itself, in this order`() {
        assertNull(FIT_DEVICE.obstacle(order, night))
        val unfit = listOf<Pair<DeviceCondition.() -> DeviceCondition, String>>(
            Pair({ copy(transport = Transport.CELLULAR, metered = true) }, "no_wifi"),
            Pair({ copy(transport = Transport.NONE) }, "no_wifi"),
            Pair({ copy(metered = true) }, "metered"),
            Pair({ copy(charging = false) }, "not_charging"),
            Pair({ copy(batteryPct = 49) }, "low_battery"),
            Pair({ copy(storageFreeBytes = 119L shl 20) }, "low_storage"),
            Pair({ copy(inCall = true) }, "in_call"),
        )
        for ((change, code) in unfit) assertEquals(code, FIT_DEVICE.change().obstacle(order, night))
        // All at once: the first of them is named; each that is put right leaves the next.
        assertEquals("outside_window", unfit.fold(FIT_DEVICE) { all, (change, _) -> all.change() }.obstacle(order, noon))
        val poor = FIT_DEVICE.copy(batteryPct = 1, charging = false, storageFreeBytes = 0, inCall = true)
        val worst = poor.copy(transport = Transport.CELLULAR, metered = true)
        assertEquals("no_wifi", worst.obstacle(order, night))
        assertEquals("metered", worst.copy(transport = Transport.WIFI).obstacle(order, night))
        assertEquals("not_charging", worst.copy(transport = Transport.ETHERNET, metered = false).obstacle(order, night))
        assertEquals("low_battery", worst.copy(transport = Transport.WIFI, metered = false, charging = true).obstacle(order, night))
    }

    @Test
    fun `what was not asked for or is not known stands in the way of nothing`() {
        val poor = FIT_DEVICE.copy(batteryPct = 1, charging = false, transport = Transport.CELLULAR, metered = true)
        assertNull(poor.obstacle(free, noon))
        val unknown = FIT_DEVICE.copy(batteryPct = null, charging = null, inCall = null)
        assertNull(unknown.obstacle(order, night))
        assertNull(FIT_DEVICE.copy(transport = Transport.ETHERNET).obstacle(order, night), "cable is as good, as the server has it")
    }

    @Test
    fun `storage has to hold the download and what it becomes, less what is downloaded already`() {
        val tight = FIT_DEVICE.copy(storageFreeBytes = (20L shl 20) - 1)
        assertEquals("low_storage", tight.obstacle(free, noon))
        assertNull(tight.copy(storageFreeBytes = 20L shl 20).obstacle(free, noon))
        assertNull(tight.copy(storageFreeBytes = 10L shl 20, downloadedBytes = 10L shl 20).obstacle(free, noon))
    }

    @Test
    fun `an update that must be installed is not put off by a call`() {
        val inCall = FIT_DEVICE.copy(inCall = true)
        assertEquals("in_call", inCall.obstacle(free, noon))
        assertNull(inCall.obstacle(free.copy(mustInstall = true), noon))
        assertEquals("no_wifi", inCall.copy(transport = Transport.CELLULAR).obstacle(order.copy(mustInstall = true), night))
    }

    @Test
    fun `parameters are read, digests in any spelling`() {
        assertEquals("ab".repeat(32), order.apk.sha256)
        assertEquals(listOf(121L, 10_485_760L), listOf(order.apk.versionCode, order.apk.sizeBytes))
        assertEquals(listOf(2, 0), listOf(order.attempt, order.retry.max))
        assertEquals("com.nexmdm.RESTART", order.restartIntent?.action)
        val nulls = DEPLOY_PARAMS.replace(Regex(""""window":\{[^}]*\}"""), "\"window\":null")
            .replace(Regex(""""restart_intent":\{.*"""), "\"restart_intent\":null}}")
        val read = checkNotNull(InstallOrder.ofDeployment(nulls))
        assertNull(read.constraints.window)
        assertNull(read.restartIntent)
        val minimal = DEPLOY_PARAMS.substringBefore(",\"constraints\"") + ",\"unknown\":[1]}"
        assertEquals(Constraints(), InstallOrder.ofDeployment(minimal)?.constraints)
    }

    @Test
    fun `parameters that are wrong or beyond a limit are refused`() {
        fun broken(from: String, to: String) = DEPLOY_PARAMS.replace(from, to).also { check(it != DEPLOY_PARAMS) { from } }
        val wrong = listOf(
            "", "null", "[]", "{}", "x", DEPLOY_PARAMS.dropLast(3),
            broken("com.example.till", "../../etc"), broken("com.example.till", "till"), broken("com.example.till", "a." + "b".repeat(300)),
            broken("https://host", "file://host"), broken("https://host", "https://user@host"), broken("https://host/", "https://host/ /"),
            broken("https://host/v1/apks/1/file?expires=9&signature=ab", "https://host/" + "x".repeat(5_000)),
            broken("\"size\":10485760", "\"size\":0"), broken("\"size\":10485760", "\"size\":-1"),
            broken("\"size\":10485760", "\"size\":99999999999"),
            broken("\"version_code\":121", "\"version_code\":-1"), broken("\"version_code\":121", "\"version_code\":\"x\""),
            broken("abababAB", "ab"), broken("abababAB", "zzzzzzzz"), broken("\"cdcd", "\"cd"), broken("\"attempt\":2", "\"attempt\":-2"),
            broken("0198b2f0-", "../"), broken("0198b2f0-0000-7000-8000-000000000001", ""), broken("com.nexmdm.RESTART", ""),
            broken("com.nexmdm.RESTART", "x".repeat(201)),
        )
        for (params in wrong) assertNull(InstallOrder.ofDeployment(params), params)
        val eager = checkNotNull(InstallOrder.ofDeployment(broken("\"max\":0,\"backoff_sec\":60", "\"max\":1000,\"backoff_sec\":0")))
        assertEquals(RetryPolicy(20, 1), eager.retry)
    }

    @Test
    fun `an address is in no text that could be logged`() {
        assertFalse("signature" in order.toString(), order.toString())
    }

    @Test
    fun `an offer becomes an order with its two conditions`() {
        val digest = "ab".repeat(32)
        val offer = UpdateOffer("b-1", 141, "1.1", "com.nexmdm", "http://n/f", digest, "", 5, wifiOnly = true, mustInstall = true)
        val read = checkNotNull(InstallOrder.ofUpdate(offer.copy(minBatteryPct = 30.0)))
        assertEquals(Constraints(wifiOnly = true, minBatteryPct = 30.0), read.constraints)
        assertTrue(read.mustInstall && read.apk.signerSha256.isEmpty())
    }

    private val a = "aa".repeat(32)
    private val b = "bb".repeat(32)
    private val apk = order.apk.copy(signerSha256 = listOf(a))
    private val facts = ApkFacts("com.example.till", 121, 26, setOf(a), emptySet())

    private fun problem(
        facts: ApkFacts? = this.facts,
        sha256: String = apk.sha256,
        expected: List<String> = listOf(a),
        installed: InstalledApp? = null,
    ) = verify(apk.copy(signerSha256 = expected), FileFacts(sha256, facts), installed, 33)?.code

    @Test
    fun `a file is verified by digest, content, signers and version`() {
        assertNull(problem())
        assertEquals("checksum_mismatch", problem(sha256 = b))
        assertEquals("checksum_mismatch", problem(facts.copy(packageName = "com.example.other")))
        assertEquals("checksum_mismatch", problem(facts.copy(versionCode = 122)))
        assertEquals("install_failed", problem(facts = null))
        assertEquals("install_failed", problem(facts.copy(minSdk = 34)))
        assertNull(problem(facts.copy(minSdk = 33)))
        assertEquals("downgrade_refused", problem(installed = InstalledApp(122, "2", setOf(a))))
        assertEquals("signer_mismatch", problem(facts.copy(signerSha256 = emptySet(), lineageSha256 = setOf(a))))
    }

    @Test
    fun `signers have to be announced and fit what is installed, lineage included`() {
        val rotated = facts.copy(signerSha256 = setOf(b), lineageSha256 = setOf(a, b))
        assertEquals("signer_mismatch", problem(facts.copy(signerSha256 = setOf(b))))
        assertNull(problem(rotated), "announced by its former key")
        assertNull(problem(rotated, expected = listOf(b)))
        assertNull(problem(rotated, expected = listOf(b), installed = InstalledApp(1, "1", setOf(a))), "installed with its former key")
        assertEquals("signer_mismatch", problem(installed = InstalledApp(1, "1", setOf(b))), "announced, but not the installed app's")
        val fitting = InstalledApp(1, "1", setOf(a))
        assertEquals("signer_mismatch", problem(expected = listOf(b), installed = fitting), "the installed app's, but not announced")
        assertNull(problem(expected = emptyList()), "any signer for what is not installed")
        assertEquals("signer_mismatch", problem(expected = emptyList(), installed = InstalledApp(1, "1", setOf(b))))
        assertEquals("signer_mismatch", problem(installed = InstalledApp(1, "1", emptySet())), "unknown signers fit nothing")
    }

    @Test
    fun `unknown codes are reported as one that the server knows`() {
        assertEquals("not_permitted", ErrorCodes.known("not_permitted"))
        assertEquals("install_failed", ErrorCodes.known("INSTALL_FAILED_SOMETHING"))
    }

    private fun judged(status: Int, have: Long = 0, etag: String? = null, vararg headers: Pair<String, String>) =
        judgeHead(DownloadHead(status, headers.toMap()), have, 1_000, etag)

    @Test
    fun `heads of answers are judged`() {
        assertEquals(HeadVerdict.FromStart, judged(200))
        assertEquals(HeadVerdict.FromStart, judged(200, 5, null, "content-length" to "1000"))
        assertEquals(HeadVerdict.Append, judged(206, 5, null, "content-range" to "bytes 5-999/1000"))
        assertEquals(HeadVerdict.Append, judged(206, 5, null, "content-range" to "bytes 5-9/*"))
        assertTrue(judged(200, 0, null, "content-length" to "999") is HeadVerdict.StartOver)
        assertTrue(judged(206, 5, null, "content-range" to "bytes 5-999/1001") is HeadVerdict.StartOver)
        assertTrue(judged(206, 5, "\"a\"", "content-range" to "bytes 5-999/1000", "etag" to "\"b\"") is HeadVerdict.StartOver)
        assertTrue(judged(416, 5) is HeadVerdict.StartOver)
        assertTrue(judged(416, 0) is HeadVerdict.Never)
        val wrong = listOf("4-999/1000", "5-1000/1000", "5-4/1000", "*/1000", "5-999999999999999999999/1000").map { "bytes $it" }
        for (range in wrong + listOf("5-999/1000", "")) {
            assertTrue(judged(206, 5, null, "content-range" to range) is HeadVerdict.Later, range)
        }
        assertTrue(judged(200, 0, null, "content-type" to "Text/HTML") is HeadVerdict.Later)
        assertTrue(judged(302, 0, null, "location" to "http://portal/") is HeadVerdict.Later)
        assertEquals(HeadVerdict.Later("HTTP 503", 7_000), judged(503, 0, null, "retry-after" to "7"))
        assertEquals(HeadVerdict.Later("HTTP 503", 300_000), judged(503, 0, null, "retry-after" to "99999"))
        for (status in listOf(401, 403, 410)) assertEquals(HeadVerdict.Expired(status), judged(status))
        assertTrue(judged(404) is HeadVerdict.Never)
    }

    @Test
    fun `the same path is asked for at every server`() {
        val url = "http://10.0.0.1:8000/v1/apks/1/file?signature=ab"
        assertEquals(
            listOf(url, "https://b/v1/apks/1/file?signature=ab"),
            mirrors(url, listOf("http://10.0.0.1:8000", "https://b/")),
        )
        assertNotNull(mirrors("http://x", listOf("http://y")).single())
    }
}
