package com.nexmdm.core.link.okhttp

import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import com.nexmdm.core.port.SocketRefused
import kotlinx.coroutines.CancellableContinuation
import kotlinx.coroutines.suspendCancellableCoroutine
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response
import okhttp3.WebSocket
import okhttp3.WebSocketListener
import okio.ByteString
import java.io.IOException
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.coroutines.resumeWithException

/** A web socket of OkHttp with a bounded send buffer. */
internal class OkHttpSocket private constructor(private val webSocket: WebSocket) : Socket {
    override fun send(text: String): Boolean = webSocket.queueSize() + text.length <= SEND_BUFFER_BYTES && webSocket.send(text)

    override fun close() {
        webSocket.close(NORMAL_CLOSURE, null)
    }

    override fun drop(): Unit = webSocket.cancel()

    /** Passes on what happens to the socket, and first how opening it ended. */
    private class Events(
        private val host: String,
        private val listener: SocketListener,
        private val opened: CancellableContinuation<Socket>,
    ) : WebSocketListener() {
        private val isOpen = AtomicBoolean()
        private val isClosed = AtomicBoolean()

        override fun onOpen(webSocket: WebSocket, response: Response) {
            isOpen.set(true)
            opened.resume(OkHttpSocket(webSocket)) { _, _, _ -> webSocket.cancel() }
        }

        override fun onMessage(webSocket: WebSocket, text: String) {
            if (text.length > FRAME_MAX_CHARS) {
                closed(NetworkException(NetworkFailure.TOO_LARGE, "frame of $host over $FRAME_MAX_CHARS characters"))
                return webSocket.cancel()
            }
            if (!isClosed.get()) listener.onText(text)
        }

        override fun onMessage(webSocket: WebSocket, bytes: ByteString) {
            closed(NetworkException(NetworkFailure.BROKEN, "binary frame of $host"))
            webSocket.cancel()
        }

        override fun onClosing(webSocket: WebSocket, code: Int, reason: String) {
            webSocket.close(NORMAL_CLOSURE, null)
            closed(null)
        }

        override fun onClosed(webSocket: WebSocket, code: Int, reason: String) = closed(null)

        override fun onFailure(webSocket: WebSocket, t: Throwable, response: Response?) {
            val failure = if (t is IOException) networkException(t, host) else NetworkException(NetworkFailure.BROKEN, "broken at $host", t)
            if (isOpen.get()) return closed(failure)
            if (opened.isCompleted) return
            val refusal = response?.takeIf { it.code != SWITCHING_PROTOCOLS }
            opened.resumeWithException(if (refusal == null) failure else refused(refusal) ?: failure)
        }

        private fun refused(response: Response): SocketRefused? = try {
            SocketRefused(answerOf(response, REFUSAL_MAX_BYTES, host))
        } catch (_: IOException) {
            null
        } catch (_: NetworkException) {
            null
        }

        private fun closed(failure: NetworkException?) {
            if (isClosed.compareAndSet(false, true)) listener.onClosed(failure)
        }
    }

    companion object {
        /** Frames that do not leave fill this much at most. */
        private const val SEND_BUFFER_BYTES = 256L shl 10

        /** Longest frame that is taken. */
        private const val FRAME_MAX_CHARS = 1 shl 20
        private const val REFUSAL_MAX_BYTES = 64 shl 10
        private const val NORMAL_CLOSURE = 1000
        private const val SWITCHING_PROTOCOLS = 101

        /** Opens a socket; see [com.nexmdm.core.port.Http.openSocket]. */
        suspend fun open(client: OkHttpClient, request: Request, listener: SocketListener): Socket =
            suspendCancellableCoroutine { continuation ->
                val webSocket = client.newWebSocket(request, Events(request.url.host, listener, continuation))
                continuation.invokeOnCancellation { webSocket.cancel() }
            }
    }
}
