package com.nexmdm.core.install

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
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.coroutines.withTimeoutOrNull
import java.io.OutputStream

/** How a node answers one request for a file. */
sealed interface Reply {
    /** As it should; with [cutAfter] bytes the connection breaks, with [stallAfter] it stands still. */
    data class Serve(
        val cutAfter: Int? = null,
        val stallAfter: Int? = null,
        val ignoresRange: Boolean = false,
        val etag: String? = "\"v1\"",
        val endsQuietly: Boolean = false,
    ) : Reply

    /** Nothing but a status. */
    data class Status(val status: Int, val headers: Map<String, String> = emptyMap()) : Reply

    /** A page with 200, as captive portals have it. */
    data object Page : Reply

    /** Another file than announced, by its headers. */
    data class OtherSize(val bytes: Int) : Reply

    /** More bytes than announced, without a word. */
    data class TooLong(val bytes: Int) : Reply

    /** The right bytes, but from another place. */
    data object OtherRange : Reply

    /** Altered bytes. */
    data object Altered : Reply

    /** No answer. */
    data class Nothing(val failure: NetworkFailure = NetworkFailure.CONNECT) : Reply
}

/** Nodes that serve one file as the test wants it. */
class FakeDownloads(private val content: ByteArray, private val switch: KillSwitch) : Http {
    /** Replies to come; then everything is served. */
    val replies: ArrayDeque<Reply> = ArrayDeque()

    /** Replies of a host, whenever it is asked. */
    val byHost: MutableMap<String, Reply> = mutableMapOf()

    /** Requests so far. */
    val requests: MutableList<DownloadRequest> = mutableListOf()

    /** Bytes at a time, and the time that they take. */
    var chunkBytes = 1_000
    var chunkMs = 10L

    override suspend fun call(request: HttpRequest): HttpAnswer = error("no call belongs here")

    override suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead {
        switch.tick("request")
        requests += request
        val host = request.url.substringAfter("//").substringBefore('/')
        return when (val reply = byHost[host] ?: replies.removeFirstOrNull() ?: Reply.Serve()) {
            is Reply.Serve -> serve(request, reply, content, onHead)
            is Reply.Status -> headOnly(reply.status, reply.headers, onHead)
            is Reply.Page -> body(200, mapOf("content-type" to "text/html; charset=utf-8"), "<html>log in</html>".toByteArray(), onHead)
            is Reply.OtherSize -> serve(request, Reply.Serve(), ByteArray(reply.bytes), onHead)
            is Reply.TooLong -> body(200, APK, ByteArray(content.size + reply.bytes), onHead)
            is Reply.OtherRange -> body(206, APK + ("content-range" to "bytes 1-5/${content.size}"), ByteArray(5), onHead)
            is Reply.Altered -> serve(request, Reply.Serve(), content.copyOf().also { it[it.size - 1] = (it.last() + 1).toByte() }, onHead)
            is Reply.Nothing -> throw NetworkException(reply.failure, "no answer")
        }
    }

    private suspend fun serve(
        request: DownloadRequest,
        how: Reply.Serve,
        file: ByteArray,
        onHead: (DownloadHead) -> OutputStream?,
    ): DownloadHead {
        val from = if (how.ignoresRange) 0 else request.fromByte.toInt()
        if (from >= file.size) return headOnly(416, mapOf("content-range" to "bytes */${file.size}"), onHead)
        val tag = how.etag?.let { mapOf("etag" to it) }.orEmpty()
        val range = "content-range" to "bytes $from-${file.size - 1}/${file.size}"
        val length = mapOf(if (from == 0) "content-length" to "${file.size}" else range)
        val head = DownloadHead(if (from == 0) 200 else 206, APK + tag + length)
        val out = onHead(head) ?: return head
        var sent = 0
        val part = file.copyOfRange(from, file.size)
        while (sent < part.size) {
            delay(chunkMs)
            val stop = how.cutAfter ?: how.stallAfter ?: part.size
            val count = minOf(chunkBytes, part.size - sent, stop - sent)
            if (count > 0) {
                switch.tick("bytes")
                out.write(part, sent, count)
                sent += count
            }
            if (sent >= stop && sent < part.size) {
                if (how.endsQuietly) return head
                if (how.stallAfter != null) withTimeoutOrNull<Unit>(request.stallTimeoutMs) { awaitCancellation() }
                throw NetworkException(if (how.stallAfter != null) NetworkFailure.TIMEOUT else NetworkFailure.BROKEN, "lost")
            }
        }
        return head
    }

    private fun headOnly(status: Int, headers: Map<String, String>, onHead: (DownloadHead) -> OutputStream?): DownloadHead =
        body(status, headers, ByteArray(0), onHead)

    private fun body(status: Int, headers: Map<String, String>, bytes: ByteArray, onHead: (DownloadHead) -> OutputStream?): DownloadHead {
        val head = DownloadHead(status, headers)
        onHead(head)?.write(bytes)
        return head
    }

    override suspend fun openSocket(url: String, bearer: String, listener: SocketListener): Socket = error("no socket belongs here")

    override fun apply(policy: ConnectionPolicy) = Unit

    private companion object {
        val APK = mapOf("content-type" to "application/vnd.android.package-archive")
    }
}
