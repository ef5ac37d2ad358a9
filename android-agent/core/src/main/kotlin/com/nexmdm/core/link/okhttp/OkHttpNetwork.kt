package com.nexmdm.core.link.okhttp

import com.nexmdm.core.link.isBearerToken
import com.nexmdm.core.port.ConnectionPolicy
import com.nexmdm.core.port.DownloadHead
import com.nexmdm.core.port.DownloadRequest
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import okhttp3.CertificatePinner
import okhttp3.Headers
import okhttp3.HttpUrl
import okhttp3.HttpUrl.Companion.toHttpUrlOrNull
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import java.io.IOException
import java.io.OutputStream
import java.util.concurrent.TimeUnit

/**
 * [Http] by OkHttp: no redirections, so that a bearer token reaches no other address than the one it was meant for; plain http
 * and certificates as the [ConnectionPolicy] says; every wait and every body limited.
 */
class OkHttpNetwork(
    base: OkHttpClient = OkHttpClient(),
    /** Where blocking reads happen. */
    private val blocking: CoroutineDispatcher = Dispatchers.IO,
) : Http {
    private class Policed(val client: OkHttpClient, val policy: ConnectionPolicy)

    @Volatile
    private var policed = Policed(
        base.newBuilder()
            .followRedirects(false)
            .followSslRedirects(false)
            .connectTimeout(CONNECT_TIMEOUT_MS, TimeUnit.MILLISECONDS)
            .readTimeout(READ_TIMEOUT_MS, TimeUnit.MILLISECONDS)
            .writeTimeout(READ_TIMEOUT_MS, TimeUnit.MILLISECONDS)
            .build(),
        ConnectionPolicy(emptySet(), emptySet(), emptySet()),
    )

    override fun apply(policy: ConnectionPolicy) {
        if (policy == policed.policy) return
        val pinner = CertificatePinner.Builder()
        for (host in policy.pinnedHosts) pinner.add(host, *policy.certificatePins.toTypedArray())
        val client = policed.client.newBuilder().certificatePinner(pinner.build()).build()
        policed = Policed(client, policy)
        // Connections that the former policy allowed.
        client.connectionPool.evictAll()
    }

    override suspend fun call(request: HttpRequest): HttpAnswer {
        val builder = request(request.url, request.bearer)
        when (request.method) {
            "GET" -> builder.get()
            "POST" -> builder.post((request.body ?: "{}").toRequestBody(JSON))
            else -> throw IllegalArgumentException("method ${request.method}")
        }
        val call = policed.client.newCall(builder.build())
        call.timeout().timeout(request.timeoutMs, TimeUnit.MILLISECONDS)
        val host = call.request().url.host
        return call.await(host) { response -> answerOf(response, request.answerMaxBytes, host) }
    }

    override suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead {
        val builder = request(request.url, null)
            // Bytes are counted: a compressing proxy would spoil the count.
            .header("Accept-Encoding", "identity")
        if (request.fromByte > 0) builder.header("Range", "bytes=${request.fromByte}-")
        val client = policed.client.newBuilder().readTimeout(request.stallTimeoutMs, TimeUnit.MILLISECONDS).build()
        val call = client.newCall(builder.build())
        val host = call.request().url.host
        call.await(host) { it }.use { response ->
            val head = DownloadHead(response.code, response.headers.inLowerCase())
            val sink = onHead(head) ?: return head
            coroutineScope {
                // A blocked read ends only with its connection.
                val guard = launch {
                    try {
                        awaitCancellation()
                    } finally {
                        call.cancel()
                    }
                }
                try {
                    withContext(blocking) { copy(response, sink, host) }
                } catch (e: NetworkException) {
                    // A connection that was cut because of a cancellation is no failure.
                    ensureActive()
                    throw e
                } finally {
                    guard.cancel()
                }
            }
            return head
        }
    }

    private fun copy(response: Response, sink: OutputStream, host: String) {
        val source = response.body?.source() ?: return
        val buffer = ByteArray(COPY_BYTES)
        while (true) {
            val count = try {
                source.read(buffer)
            } catch (e: IOException) {
                throw networkException(e, host)
            }
            if (count < 0) return
            sink.write(buffer, 0, count)
        }
    }

    override suspend fun openSocket(url: String, bearer: String, listener: SocketListener): Socket {
        val client = policed.client.newBuilder().pingInterval(PING_INTERVAL_MS, TimeUnit.MILLISECONDS).build()
        return OkHttpSocket.open(client, request(url, bearer).build(), listener)
    }

    /** A request to [url] if the policy allows the address. */
    private fun request(url: String, bearer: String?): Request.Builder {
        val address = url.toHttpUrlOrNull() ?: throw NetworkException(NetworkFailure.CONNECT, "no http address")
        if (!address.isHttps && !policed.policy.allowsCleartext(address)) {
            throw NetworkException(NetworkFailure.CLEARTEXT_FORBIDDEN, "plain http to ${address.host} is not allowed")
        }
        val builder = Request.Builder().url(address)
        if (bearer != null) {
            if (!isBearerToken(bearer)) throw NetworkException(NetworkFailure.BROKEN, "the token is no header value")
            builder.header("Authorization", "Bearer $bearer")
        }
        return builder
    }

    private fun ConnectionPolicy.allowsCleartext(address: HttpUrl): Boolean =
        address.host in cleartextHosts || "${address.host}:${address.port}" in cleartextHosts

    private companion object {
        const val CONNECT_TIMEOUT_MS = 10_000L
        const val READ_TIMEOUT_MS = 20_000L

        /** A socket whose ping is not answered until the next one is due is dead: after a silence of 30 to 60 s. */
        const val PING_INTERVAL_MS = 30_000L
        const val COPY_BYTES = 64 shl 10
        val JSON = "application/json".toMediaType()
    }
}

/** The answer with a body of at most [maxBytes]. */
internal fun answerOf(response: Response, maxBytes: Int, host: String): HttpAnswer {
    val body = response.body
    val tooLarge = NetworkException(NetworkFailure.TOO_LARGE, "answer of $host over $maxBytes bytes")
    if (body == null) return HttpAnswer(response.code, response.headers.inLowerCase(), "")
    if (body.contentLength() > maxBytes) throw tooLarge
    // Read on, not trusted: the length may be missing, and it is that of compressed bytes.
    val source = body.source()
    if (source.request(maxBytes + 1L)) throw tooLarge
    return HttpAnswer(response.code, response.headers.inLowerCase(), source.buffer.readUtf8())
}

internal fun Headers.inLowerCase(): Map<String, String> = names().associate { it.lowercase() to get(it).orEmpty() }
