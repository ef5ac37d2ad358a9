package com.nexmdm.core.install

import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.DownloadFolder
import com.nexmdm.core.port.DownloadRequest
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.Randomness
import com.nexmdm.core.port.Transport
import com.nexmdm.core.time.Backoff
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.drop
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.supervisorScope
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import java.io.File
import java.io.IOException
import kotlin.coroutines.CoroutineContext

/** Limits of downloads. */
class DownloadLimits(
    /** Requests in a row that bring nothing new before a download is given up. */
    val triesMax: Int = 20,
    /** Upper bound of the first wait between requests, ms; it doubles. */
    val backoffBaseMs: Long = Backoff.BASE_MS,
    /** Upper bound of a wait, ms. */
    val backoffMaxMs: Long = Backoff.CAP_MS,
    /** How long a whole download may take. */
    val totalMs: Long = 6 * 3_600_000L,
    /** How long Wi-Fi may be away during a download that wants it. */
    val networkWaitMs: Long = 1_800_000,
    /** How long a request may stand still. */
    val stallTimeoutMs: Long = 30_000,
    /** Free storage that downloads leave alone. */
    val reserveBytes: Long = 32L shl 20,
)

/** How a download ended. */
internal sealed interface DownloadOutcome {
    /** The file has its size; whether it is the right one tells [sha256]. */
    data class Complete(val sha256: String) : DownloadOutcome

    /** It did not come. */
    data class Failed(val failure: InstallFailure) : DownloadOutcome

    /** The address does not hold. */
    data class Expired(val status: Int) : DownloadOutcome
}

/** Downloads of files of known size and digest, going on where they broke off, at whichever node answers. */
internal class Downloader(
    private val http: Http,
    private val monitor: DeviceMonitor,
    private val randomness: Randomness,
    private val folder: DownloadFolder,
    private val limits: DownloadLimits,
    private val blocking: CoroutineContext,
) {
    private val backoff = Backoff(limits.backoffBaseMs, limits.backoffMaxMs)

    /**
     * Brings [file] to the size of [order]'s APK. [servers] are the base addresses that may serve the same path; [onBytes] is given
     * a function that tells how many bytes are there.
     */
    suspend fun fetch(order: InstallOrder, file: File, servers: () -> List<String>, onBytes: (() -> Long) -> Unit): DownloadOutcome {
        val partial = PartialFile(file, order.apk.sizeBytes, folder::freeBytes, limits.reserveBytes)
        onBytes { partial.have }
        return partial.use {
            try {
                withContext(blocking) { partial.open() }
                withTimeoutOrNull(limits.totalMs) { Run(order, partial, servers).run() }
                    ?: failed(ErrorCodes.DOWNLOAD_FAILED, "it took longer than ${limits.totalMs / MS_PER_MINUTE} minutes")
            } catch (e: IOException) {
                failed(ErrorCodes.DOWNLOAD_FAILED, "storage: ${e.message}")
            }
        }
    }

    private fun failed(code: String, message: String) = DownloadOutcome.Failed(InstallFailure(code, message))

    /** How one request went. */
    private sealed interface Attempt {
        data class Answered(val verdict: HeadVerdict) : Attempt

        data class Broken(val why: String) : Attempt

        data class Sunk(val exception: SinkException) : Attempt

        data object NetworkUnfit : Attempt
    }

    private inner class Run(private val order: InstallOrder, private val partial: PartialFile, private val servers: () -> List<String>) {
        private val refusing = mutableSetOf<String>()
        private var mirror = 0
        private var hasStartedOver = false
        private var failures = 0
        private var most = 0L

        suspend fun run(): DownloadOutcome {
            most = partial.have
            while (true) {
                if (partial.isComplete) complete()?.let { return it } ?: continue
                val missingBytes = order.apk.sizeBytes - partial.have
                if (folder.freeBytes() < missingBytes + limits.reserveBytes) {
                    return failed(ErrorCodes.LOW_STORAGE, "$missingBytes bytes do not fit")
                }
                if (!hasNetwork()) {
                    return failed(obstacle(monitor.network.value) ?: ErrorCodes.NO_WIFI, "the download waited for Wi-Fi too long")
                }
                val urls = mirrors(order.apk.url, servers()).filterNot { it in refusing }
                val url = urls[mirror % urls.size]
                val outcome = after(request(url), url)
                if (outcome != null) return outcome
            }
        }

        private suspend fun complete(): DownloadOutcome? {
            val sha256 = withContext(blocking) { partial.finish() }
            // What an earlier process left may not be what it kept: power was lost, or another file is there now.
            if (sha256 == order.apk.sha256 || !partial.isResumed || hasStartedOver) return DownloadOutcome.Complete(sha256)
            hasStartedOver = true
            partial.reset()
            return null
        }

        private suspend fun request(url: String): Attempt = supervisorScope {
            var verdict: HeadVerdict = HeadVerdict.Later("no answer")
            val call = async {
                http.download(DownloadRequest(url, partial.have, limits.stallTimeoutMs)) { head ->
                    verdict = judgeHead(head, partial.have, order.apk.sizeBytes, partial.etag)
                    if (verdict == HeadVerdict.FromStart) partial.reset()
                    if (verdict != HeadVerdict.FromStart && verdict != HeadVerdict.Append) return@download null
                    partial.etag = head.headers["etag"] ?: partial.etag
                    partial.sink()
                }
            }
            val watch = launch {
                monitor.network.first { it.transport != Transport.NONE && obstacle(it) != null }
                call.cancel()
            }
            try {
                call.await()
                partial.failure?.let { Attempt.Sunk(it) } ?: Attempt.Answered(verdict)
            } catch (_: CancellationException) {
                currentCoroutineContext().ensureActive()
                Attempt.NetworkUnfit
            } catch (e: SinkException) {
                Attempt.Sunk(e)
            } catch (e: NetworkException) {
                partial.failure?.let { Attempt.Sunk(it) } ?: Attempt.Broken(e.failure.name.lowercase())
            } catch (e: IOException) {
                partial.failure?.let { Attempt.Sunk(it) } ?: Attempt.Broken(e.javaClass.simpleName)
            } finally {
                watch.cancel()
                partial.close()
            }
        }

        private suspend fun after(attempt: Attempt, url: String): DownloadOutcome? = when (attempt) {
            is Attempt.Answered -> afterAnswer(attempt.verdict, url)
            is Attempt.Broken -> {
                // A node that does not answer may be gone for good; what breaks in the middle too.
                mirror++
                again(attempt.why, null)
            }
            is Attempt.Sunk -> when (attempt.exception.failure) {
                SinkFailure.LOW_STORAGE -> failed(ErrorCodes.LOW_STORAGE, attempt.exception.message.orEmpty())
                SinkFailure.STORAGE -> failed(ErrorCodes.DOWNLOAD_FAILED, attempt.exception.message.orEmpty())
                SinkFailure.TOO_LONG -> startOver(attempt.exception.message.orEmpty())
            }
            Attempt.NetworkUnfit -> null
        }

        private suspend fun afterAnswer(verdict: HeadVerdict, url: String): DownloadOutcome? = when (verdict) {
            HeadVerdict.Append, HeadVerdict.FromStart -> if (partial.isComplete) null else again("the download broke off", null)
            is HeadVerdict.StartOver -> startOver(verdict.why)
            is HeadVerdict.Later -> again(verdict.why, verdict.afterMs)
            is HeadVerdict.Expired -> if (url == order.apk.url) DownloadOutcome.Expired(verdict.status) else refused(url)
            is HeadVerdict.Never -> if (url == order.apk.url) failed(ErrorCodes.DOWNLOAD_FAILED, verdict.why) else refused(url)
        }

        /** Another server that has no such file says nothing about the address itself. */
        private suspend fun refused(url: String): DownloadOutcome? {
            refusing += url
            return again("no other server has it", null)
        }

        private suspend fun startOver(why: String): DownloadOutcome? {
            if (hasStartedOver) return failed(ErrorCodes.DOWNLOAD_FAILED, why)
            hasStartedOver = true
            partial.reset()
            return again(why, null)
        }

        private suspend fun again(why: String, afterMs: Long?): DownloadOutcome? {
            if (partial.have > most) {
                most = partial.have
                failures = 0
            }
            if (++failures >= limits.triesMax) {
                return failed(ErrorCodes.DOWNLOAD_FAILED, "$failures requests in a row brought nothing: $why")
            }
            val waitMs = backoff.delayMs(failures - 1, afterMs, randomness)
            // A network that comes back ends the wait, but not what a server asked for.
            if (afterMs == null) {
                withTimeoutOrNull(waitMs) { monitor.network.drop(1).first { it.validated } }
            } else {
                delay(waitMs)
            }
            return null
        }

        private fun obstacle(network: NetworkState): String? =
            if (order.constraints.wifiOnly) networkObstacle(network.transport, network.metered) else null

        /** Waits for a network that may be used; one that is away altogether is found out by the request. */
        private suspend fun hasNetwork(): Boolean = withTimeoutOrNull(limits.networkWaitMs) {
            monitor.network.first { it.transport == Transport.NONE || obstacle(it) == null }
        } != null
    }

    private companion object {
        const val MS_PER_MINUTE = 60_000L
    }
}
