package com.nexmdm.core.install

import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Observer
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.queue.SqlOutbox
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.testing.JdbcSqlOpener
import com.nexmdm.core.testing.MemorySecretStore
import com.nexmdm.core.testing.MemoryTimePersistence
import com.nexmdm.core.testing.RecordingLog
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.testing.TestRandomness
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.Command
import com.nexmdm.core.wire.DeploymentStatus
import com.nexmdm.core.wire.UpdateReport
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.CoroutineExceptionHandler
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.test.StandardTestDispatcher
import kotlinx.coroutines.test.TestCoroutineScheduler
import kotlinx.serialization.Serializable
import java.io.File
import java.security.MessageDigest
import kotlin.coroutines.EmptyCoroutineContext

/** What the server got to know of a command. */
@Serializable
data class Concluded(val action: String, val outcome: String, val code: String? = null, val message: String? = null)

/**
 * Installations with a real database and queue, a fake platform and a fake server, in virtual time. The platform, the files and the
 * server outlive the agent's process, which [kill] ends and [start] begins anew.
 */
@OptIn(ExperimentalCoroutinesApi::class)
class InstallBench(
    private val folder: File,
    val content: ByteArray = ByteArray(10_000) { (it * 7).toByte() },
    seed: Long = 1,
) : AutoCloseable {
    private val scheduler = TestCoroutineScheduler()
    private val dispatcher = StandardTestDispatcher(scheduler)
    val switch = KillSwitch()

    /** Virtual time, ms. */
    val nowMs: Long get() = scheduler.currentTime
    val platform = FakePlatform(switch, File(folder, "downloads").apply { mkdirs() })
    val downloads = FakeDownloads(content, switch)
    val clock = TestClock(scheduler = scheduler)
    val log = RecordingLog()
    val steps = mutableListOf<InstallStep>()
    private val random = TestRandomness(seed)
    private val opener = KillableSqlOpener(JdbcSqlOpener(File(folder, "agent.db")), switch)
    val sha256: String = MessageDigest.getInstance("SHA-256").digest(content).toHexString()

    /** What the server answers to a status; 200 unless a test says otherwise. */
    var answer: (DeploymentStatus) -> Int = { 200 }

    /** Whether the agent reaches the server. */
    var isOnline = true

    /** Statuses that the server acknowledged, in order. */
    val acknowledged = mutableListOf<DeploymentStatus>()
    val updateReports = mutableListOf<UpdateReport>()
    val results = mutableListOf<Pair<String, Concluded>>()
    val servers = mutableListOf("http://n1:1", "http://n2:1")

    /** Answers to looks for updates; then 304. */
    val offers = ArrayDeque<() -> HttpAnswer>()
    val looks = mutableListOf<String>()
    private val unexpected = mutableListOf<Throwable>()
    lateinit var installations: Installations
    lateinit var outbox: SqlOutbox
    lateinit var db: AgentDatabase
    private lateinit var scope: CoroutineScope

    private val api = object : AgentApi {
        override suspend fun get(pathAndQuery: String): HttpAnswer {
            switch.tick("look")
            looks += pathAndQuery
            if (!isOnline) throw NetworkException(NetworkFailure.CONNECT, "offline")
            return offers.removeFirstOrNull()?.invoke() ?: HttpAnswer(304, mapOf("x-update-reason" to "already_current"), "")
        }

        override fun servers(): List<String> = servers
    }

    init {
        platform.apk = apkFacts()
        start()
    }

    /** What the announced APK says of itself. */
    fun apkFacts(packageName: String = APP, versionCode: Long = 7, minSdk: Int = 26, signer: String = FakePlatform.SIGNER) =
        ApkFacts(packageName, versionCode, minSdk, setOf(signer), emptySet())

    /** A process begins. */
    fun start(recover: Boolean = true) {
        switch.revive()
        val handler = CoroutineExceptionHandler { _, e -> if (e !is Killed) unexpected += e }
        scope = CoroutineScope(dispatcher + SupervisorJob() + handler)
        val killableLog = KillableLog(log, switch)
        db = AgentDatabase(opener, killableLog)
        val time = TrustedTime(clock, "boot", MemoryTimePersistence(), 0)
        outbox = SqlOutbox(db, clock, time, killableLog)
        val observer = object : Observer {
            override fun installStep(exchange: Exchange, step: InstallStep) {
                steps += step
            }
        }
        val ports = Ports(
            clock, random, opener, MemorySecretStore(), killableLog, downloads, platform, platform, platform, platform, platform,
            observer = observer,
        )
        val conclusion = CommandConclusion { id, action, outcome ->
            outbox.put(ItemKind.RESULT, id, WireJson.encodeToString(Concluded(action, outcome.outcome, outcome.code, outcome.message)))
        }
        installations = Installations(ports, db, outbox, time, api, conclusion, scope, EmptyCoroutineContext)
        if (recover) installations.recover()
        scope.launch { deliver() }
    }

    /** Delivery as the agent has it: whatever waits goes to the server, in order. */
    private suspend fun deliver() {
        while (true) {
            delay(pollMs())
            if (!isOnline) continue
            for (item in outbox.oldest(ItemKind.entries.toSet(), 8)) {
                try {
                    answered(item)
                } catch (_: SqlException) {
                    // It stays and is sent again.
                }
            }
        }
    }

    private fun answered(item: OutboxItem) {
        switch.tick("send ${item.kind}")
        when (item.kind) {
            ItemKind.DEPLOYMENT_STATUS -> {
                val status = WireJson.decodeFromString<DeploymentStatus>(item.body)
                val code = answer(status)
                if (code == 200) acknowledged += status
                switch.tick("answer")
                installations.statusAnswered(item, code)
            }
            ItemKind.UPDATE_REPORT -> {
                updateReports += WireJson.decodeFromString<UpdateReport>(item.body)
                installations.statusAnswered(item, 200)
            }
            else -> {
                results += item.subject to WireJson.decodeFromString<Concluded>(item.body)
                outbox.remove(item.id)
            }
        }
    }

    /** Tests that take hours need no such precision. */
    private fun pollMs(): Long = if (nowMs > 900_000) 1_000 else 20

    /** The process ends. */
    fun kill() {
        switch.kill("kill")
        bury()
    }

    private fun bury() {
        scope.cancel()
        scheduler.runCurrent()
        db.close()
    }

    /** Lets time pass, and a process that died begin anew. */
    fun run(ms: Long) {
        val untilMs = scheduler.currentTime + ms
        while (scheduler.currentTime < untilMs) {
            scheduler.advanceTimeBy(minOf(pollMs(), untilMs - scheduler.currentTime))
            scheduler.runCurrent()
            if (switch.isDead) {
                bury()
                start()
            }
        }
        unexpected.firstOrNull()?.let { throw AssertionError("unexpected", it) }
    }

    /** Lets time pass until there is nothing under way and nothing to deliver, at most [maxMs]. */
    fun settle(maxMs: Long = 600_000) {
        val untilMs = scheduler.currentTime + maxMs
        do {
            run(100)
        } while (scheduler.currentTime < untilMs && (installations.size > 0 || outbox.size() > 0))
    }

    /** A command that deploys the announced APK. */
    fun command(
        id: String = "cmd-1",
        packageName: String = APP,
        versionCode: Long = 7,
        constraints: String = "{}",
        attempt: Int = 1,
        more: String = "",
        url: String = "http://files:1/v1/apks/x/file?expires=1&signature=s",
        signers: String = "\"${FakePlatform.SIGNER}\"",
        deploymentId: String = "d-$id",
    ): Command = Command(
        requestId = id,
        action = "deploy_apk",
        params = """{"deployment_id":"$deploymentId","attempt":$attempt,"apk":{"package":"$packageName","version_code":$versionCode,
            "version_name":"1.7","url":"$url","sha256":"$sha256","signer_sha256":[$signers],"size":${content.size}},
            "constraints":$constraints$more}""",
    )

    /** 200 with an offer of the announced file as the agent's update. */
    fun offer(versionCode: Long = 141, more: String = "", url: String = "http://files:1/v1/apks/x/file?s=1"): () -> HttpAnswer = {
        HttpAnswer(
            200, emptyMap(),
            """{"build_id":"b-$versionCode","version_code":$versionCode,"version_name":"1.1","package_name":"com.nexmdm",
                "download_url":"$url","sha256":"$sha256","signer_fingerprint":"${FakePlatform.SIGNER}",
                "file_size":${content.size},"staged_rollout_percent":10,"release_notes":""$more}""",
        )
    }

    /** The last word about a command. */
    fun result(id: String = "cmd-1"): Concluded? = results.lastOrNull { it.first == id }?.second

    /** Names of acknowledged statuses; progress only once. */
    fun statuses(): List<String> = acknowledged.map { it.status }.fold(mutableListOf()) { all, next ->
        all.apply { if (lastOrNull() != next) add(next) }
    }

    /** Files that are left. */
    fun files(): List<String> = platform.folder.list().orEmpty().toList()

    override fun close() {
        scope.cancel()
        db.close()
    }

    companion object {
        const val APP = "com.example.till"
    }
}
