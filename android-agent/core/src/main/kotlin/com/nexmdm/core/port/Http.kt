package com.nexmdm.core.port

import java.io.OutputStream

/** Why there was no usable answer. */
enum class NetworkFailure {
    /** No connection: refused, unreachable, no such host. */
    CONNECT,

    /** No answer in time. */
    TIMEOUT,

    /** TLS failed: certificate, pin, protocol. */
    TLS,

    /** The connection broke. */
    BROKEN,

    /** The body is larger than allowed. */
    TOO_LARGE,

    /** Plain http to an address for which enrollment did not allow it. */
    CLEARTEXT_FORBIDDEN,
}

/** A call that had no usable answer. */
class NetworkException(val failure: NetworkFailure, message: String, cause: Throwable? = null) : Exception(message, cause)

/** A request. */
class HttpRequest(
    /** `GET` or `POST`. */
    val method: String,
    /** Absolute address. */
    val url: String,
    /** Bearer token, if any. */
    val bearer: String? = null,
    /** JSON body of a POST. */
    val body: String? = null,
    /** Limit of the answer's body, bytes; beyond it the call fails with [NetworkFailure.TOO_LARGE]. */
    val answerMaxBytes: Int = 1 shl 20,
    /** Deadline of the whole call. */
    val timeoutMs: Long = 20_000,
)

/** An answer. Redirections are not followed: they are answers like any other. */
class HttpAnswer(
    val status: Int,
    /** Names in lower case. */
    val headers: Map<String, String>,
    val body: String,
) {
    /** A header by its lower-case name. */
    fun header(name: String): String? = headers[name]
}

/** A request for a part of a file. */
class DownloadRequest(
    /** Absolute address, signed. */
    val url: String,
    /** First byte wanted. */
    val fromByte: Long,
    /** How long the download may stand still, ms. */
    val stallTimeoutMs: Long = 30_000,
)

/** The head of a download's answer. */
class DownloadHead(val status: Int, val headers: Map<String, String>)

/** An open web socket. */
interface Socket {
    /** Queues a text frame; false when the socket is closed or its buffer is full. */
    fun send(text: String): Boolean

    /** Closes it in an orderly way. */
    fun close()

    /** Drops it at once. */
    fun drop()
}

/** What happens on a web socket; called from any thread, [onClosed] exactly once and last. */
interface SocketListener {
    /** A text frame arrived. */
    fun onText(text: String)

    /** The socket is gone. */
    fun onClosed(failure: NetworkException?)
}

/** The network. */
interface Http {
    /** Performs a call. Throws [NetworkException]. */
    suspend fun call(request: HttpRequest): HttpAnswer

    /**
     * Downloads from a byte on. [onHead] sees status and headers first and returns where the bytes go, or null to stop there.
     * Throws [NetworkException], and what the stream throws.
     */
    suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead

    /**
     * Opens a web socket with a ping interval and a dead time. Throws [NetworkException] when there is no answer, and
     * [SocketRefused] when the answer is no upgrade.
     */
    suspend fun openSocket(url: String, bearer: String, listener: SocketListener): Socket

    /** Which addresses may be reached how, from enrollment. */
    fun apply(policy: ConnectionPolicy)
}

/** The upgrade was answered with a status instead. */
class SocketRefused(val answer: HttpAnswer) : Exception("socket refused with ${answer.status}")

/** Rules for connections, fixed by enrollment. */
data class ConnectionPolicy(
    /** Hosts (host or host:port) that may be reached by plain http. */
    val cleartextHosts: Set<String>,
    /** Pins, `sha256/<base64 of the SubjectPublicKeyInfo's digest>`; empty: none. Hold for every https host of the servers. */
    val certificatePins: Set<String>,
    /** Hosts that the pins hold for. */
    val pinnedHosts: Set<String>,
)
