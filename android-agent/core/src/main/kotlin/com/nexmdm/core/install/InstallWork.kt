package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.wire.UpdateOffer
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.drop
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.merge
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.SerializationException
import java.io.File
import java.io.IOException
import java.security.MessageDigest
import kotlin.coroutines.CoroutineContext

/** Limits of installations. */
class InstallLimits(
    /** Installations at the same time. */
    val placesMax: Int = 4,
    /** Installations that are under way or wait; further ones are refused as `busy`. */
    val installationsMax: Int = 24,
    /** How long the system may take for its verdict. */
    val verdictMs: Long = 600_000,
    /** How often an installation is looked at whose verdict was missed. */
    val lookEveryMs: Long = 5_000,
    /** How long the intent that follows may take. */
    val intentMs: Long = 30_000,
    /** How often progress of a download may be reported. */
    val progressEveryMs: Long = 10_000,
    /** Times that the server is asked for an update in a row. */
    val askTriesMax: Int = 3,
    /** Upper bound of the wait between two of them. */
    val askAgainMs: Long = 10_000,
    /** Downloads. */
    val download: DownloadLimits = DownloadLimits(),
)

/** Does what takes time for installations, and says what came of it. Keeps nothing that has to outlive the process. */
internal class InstallWork(
    private val ports: Ports,
    private val api: AgentApi,
    private val limits: InstallLimits,
    private val blocking: CoroutineContext,
) {
    private val downloader = Downloader(ports.http, ports.monitor, ports.randomness, ports.downloads, limits.download, blocking)

    /** Digests of files that this process downloaded, by installation. */
    private val digests = mutableMapOf<String, String>()

    /** Does [effect]; [progress] is told percents in between. */
    @Suppress("TooGenericExceptionCaught")
    suspend fun perform(installation: Installation, effect: InstallEffect, progress: suspend (Int) -> Unit): InstallEvent? = try {
        result(installation, effect, progress)
    } catch (e: CancellationException) {
        throw e
    } catch (e: Exception) {
        val name = e.javaClass.simpleName
        ports.log.warn("install.platform_failed", "error" to name)
        InstallEvent.PlatformFailed(InstallFailure(ErrorCodes.INSTALL_FAILED, "the platform failed: $name"))
    }

    private suspend fun result(installation: Installation, effect: InstallEffect, progress: suspend (Int) -> Unit): InstallEvent? {
        val order = installation.order
        return when (effect) {
            InstallEffect.AskForUpdate -> ask()
            is InstallEffect.Wait -> await(effect)
            is InstallEffect.SendIntent -> InstallEvent.IntentEnded(send(effect))
            InstallEffect.ReadDevice -> order?.let { InstallEvent.DeviceRead(condition(installation), installed(it)) }
            InstallEffect.Download -> order?.let { download(installation, it, progress) }
            InstallEffect.ReadFile -> order?.let { InstallEvent.FileRead(readFile(installation), condition(installation), installed(it)) }
            InstallEffect.Install -> order?.let { install(installation, it) }
            InstallEffect.LookAtInstalled -> order?.let { look(it) }
            else -> null
        }
    }

    /** The file of an installation. Ids come from outside, so its name is a digest. */
    fun file(id: String): File {
        val name = MessageDigest.getInstance("SHA-256").digest(id.toByteArray()).toHexString().take(FILE_NAME_CHARS)
        return File(ports.downloads.folder, "$name$FILE_SUFFIX")
    }

    /** Removes the file of an installation. */
    fun deleteFile(id: String) {
        digests.remove(id)
        file(id).delete()
    }

    /** Removes files of installations that are none of [ids]. */
    fun deleteStaleFiles(ids: Collection<String>) {
        val kept = ids.mapTo(mutableSetOf()) { file(it).name }
        ports.downloads.folder.listFiles().orEmpty()
            .filter { it.name.endsWith(FILE_SUFFIX) && it.name !in kept }
            .forEach { it.delete() }
    }

    private suspend fun ask(): InstallEvent {
        var failure = InstallEvent.LookFailed("unreachable", null)
        repeat(limits.askTriesMax) { tries ->
            if (tries > 0) delay(ports.randomness.below(limits.askAgainMs))
            ports.log.info("update.check", "version_code" to ports.facts.agentVersionCode())
            val path = "/v1/agent/update?package_name=${ports.facts.agentPackage()}" +
                "&current_version_code=${ports.facts.agentVersionCode()}"
            try {
                val answer = api.get(path)
                when {
                    answer.status == 304 -> return InstallEvent.NothingOffered(answer.header("x-update-reason")?.take(REASON_MAX_CHARS))
                    answer.status == 200 && answer.body.trimStart().startsWith("{") -> return offered(answer.body)
                    // HTML with 200 is a captive portal.
                    answer.status == 200 || answer.status in RETRIED || answer.status >= 500 -> Unit
                    else -> return InstallEvent.LookFailed("refused", "HTTP ${answer.status}")
                }
                failure = InstallEvent.LookFailed("unreachable", "HTTP ${answer.status}")
            } catch (e: NetworkException) {
                failure = InstallEvent.LookFailed("unreachable", e.failure.name.lowercase())
            }
        }
        return failure
    }

    private fun offered(body: String): InstallEvent {
        val order = try {
            InstallOrder.ofUpdate(WireJson.decodeFromString<UpdateOffer>(body))
        } catch (_: SerializationException) {
            null
        } catch (_: IllegalArgumentException) {
            null
        }
        return InstallEvent.Offered(order, ports.facts.agentPackage())
    }

    private suspend fun await(wait: InstallEffect.Wait): InstallEvent {
        withTimeoutOrNull(wait.delayMs) {
            if (wait.orChange) {
                merge(ports.monitor.network.drop(1), ports.monitor.power.drop(1)).first()
            } else {
                awaitCancellation()
            }
        }
        return InstallEvent.WaitEnded
    }

    private suspend fun send(effect: InstallEffect.SendIntent): ActionOutcome {
        val action = PlatformAction.RestartIntent(effect.packageName, effect.intent.action, effect.intent.extras)
        return withTimeoutOrNull(limits.intentMs) { ports.actions.perform(action) } ?: ActionOutcome("timeout")
    }

    private suspend fun condition(installation: Installation): DeviceCondition {
        val readings = attempt("facts") { ports.facts.read(null) }
        val network = ports.monitor.network.value
        val power = ports.monitor.power.value
        return DeviceCondition(
            batteryPct = readings?.batteryPct ?: power.batteryPct,
            charging = readings?.charging ?: power.charging,
            transport = readings?.transport ?: network.transport,
            metered = readings?.metered ?: network.metered,
            storageFreeBytes = readings?.storageFreeMb?.let { it shl MIB_SHIFT } ?: ports.downloads.freeBytes(),
            inCall = readings?.inCall,
            sdkInt = readings?.sdkInt,
            downloadedBytes = file(installation.id).length(),
        )
    }

    private suspend fun installed(order: InstallOrder): InstalledApp? = ports.installer.installed(order.apk.packageName)

    private suspend fun download(installation: Installation, order: InstallOrder, progress: suspend (Int) -> Unit): InstallEvent {
        val file = file(installation.id)
        ports.downloads.folder.mkdirs()
        ports.log.info("install.download", "package" to order.apk.packageName, "from_byte" to file.length(), "bytes" to order.apk.sizeBytes)
        var bytes: () -> Long = { 0 }
        val outcome = coroutineScope {
            val reporter = launch {
                while (true) {
                    delay(limits.progressEveryMs)
                    progress((bytes() * 100 / order.apk.sizeBytes).toInt())
                }
            }
            downloader.fetch(order, file, api::servers) { bytes = it }.also { reporter.cancel() }
        }
        return when (outcome) {
            is DownloadOutcome.Complete -> {
                digests[installation.id] = outcome.sha256
                InstallEvent.Downloaded
            }
            is DownloadOutcome.Failed -> InstallEvent.DownloadFailed(outcome.failure)
            is DownloadOutcome.Expired -> InstallEvent.AddressExpired(outcome.status)
        }
    }

    private suspend fun readFile(installation: Installation): FileFacts? {
        val file = file(installation.id)
        if (file.length() != installation.order?.apk?.sizeBytes) return null
        val sha256 = digests[installation.id] ?: digestOf(file) ?: return null
        return FileFacts(sha256, attempt("inspect") { ports.installer.inspect(file) })
    }

    private suspend fun digestOf(file: File): String? = try {
        withContext(blocking) { PartialFile.sha256Of(file) }
    } catch (_: IOException) {
        null
    }

    private suspend fun install(installation: Installation, order: InstallOrder): InstallEvent {
        val file = file(installation.id)
        val packageName = order.apk.packageName
        // The wait for the server's answer may have been long: what is installed is what was verified.
        if (digestOf(file) != order.apk.sha256) {
            val verdict = InstallVerdict.Failed(ErrorCodes.CHECKSUM_MISMATCH, "the file changed after it was verified")
            return InstallEvent.InstallEnded(verdict, null)
        }
        attempt("abandon") { ports.installer.abandonStale(packageName) }
        ports.log.info("install.commit", "package" to packageName, "version_code" to order.apk.versionCode)
        val verdict = withTimeoutOrNull(limits.verdictMs) {
            attempt("install") { ports.installer.install(file, packageName, order.apk.sizeBytes) }
                ?: InstallVerdict.Failed(ErrorCodes.INSTALL_FAILED, "the package manager broke off")
        }
        return ended(order, verdict)
    }

    /** How an installation ended whose verdict this process did not hear: it is there, it will be, or it was interrupted. */
    private suspend fun look(order: InstallOrder): InstallEvent {
        val packageName = order.apk.packageName
        val isDecided = withTimeoutOrNull(limits.verdictMs) {
            while (!isThere(order) && attempt("undecided") { ports.installer.isUndecided(packageName) } == true) delay(limits.lookEveryMs)
            true
        }
        attempt("abandon") { ports.installer.abandonStale(packageName) }
        return when {
            isThere(order) -> ended(order, InstallVerdict.Installed)
            isDecided == null -> ended(order, null)
            else -> InstallEvent.Interrupted
        }
    }

    private suspend fun isThere(order: InstallOrder) = attempt("installed") { installed(order) }?.versionCode == order.apk.versionCode

    private suspend fun ended(order: InstallOrder, verdict: InstallVerdict?): InstallEvent {
        val installed = attempt("installed") { installed(order) }
        if (verdict == InstallVerdict.Installed || installed?.versionCode == order.apk.versionCode) {
            ports.log.info("install.installed", "package" to order.apk.packageName, "version_code" to order.apk.versionCode)
        }
        return InstallEvent.InstallEnded(verdict, installed)
    }

    /** A call of the platform, whatever it throws; null when it threw. */
    @Suppress("TooGenericExceptionCaught")
    private suspend fun <T> attempt(call: String, block: suspend () -> T): T? = try {
        block()
    } catch (e: CancellationException) {
        throw e
    } catch (e: Exception) {
        ports.log.warn("install.platform_failed", "call" to call, "error" to e.javaClass.simpleName)
        null
    }

    private companion object {
        const val FILE_SUFFIX = ".apk"
        const val FILE_NAME_CHARS = 32
        const val REASON_MAX_CHARS = 100
        const val MIB_SHIFT = 20
        val RETRIED = setOf(401, 408, 425, 429)
    }
}
