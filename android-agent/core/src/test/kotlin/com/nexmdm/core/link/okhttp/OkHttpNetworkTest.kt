package com.nexmdm.core.link.okhttp

import com.nexmdm.core.port.ConnectionPolicy
import com.nexmdm.core.port.DownloadHead
import com.nexmdm.core.port.DownloadRequest
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import com.nexmdm.core.port.SocketRefused
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import okhttp3.CertificatePinner
import okhttp3.OkHttpClient
import okhttp3.Response
import okhttp3.WebSocket
import okhttp3.WebSocketListener
import okhttp3.mockwebserver.MockResponse
import okhttp3.mockwebserver.MockWebServer
import okhttp3.mockwebserver.SocketPolicy
import okhttp3.tls.HandshakeCertificates
import okhttp3.tls.HeldCertificate
import okio.Buffer
import okio.ByteString.Companion.encodeUtf8
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.OutputStream
import java.net.InetAddress
import java.net.ServerSocket
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread

/** The adapter against a real server on this machine; TLS with certificates made for the test. */
class OkHttpNetworkTest {
    private val server = MockWebServer()
    private val other = MockWebServer()
    private val address by lazy { server.url("/v1/x").toString() }

    @AfterEach
    fun stop() {
        server.shutdown()
        other.shutdown()
    }

    private fun plain(vararg allowed: MockWebServer) = OkHttpNetwork().also { network ->
        network.apply(ConnectionPolicy(allowed.map { "${it.hostName}:${it.port}" }.toSet(), emptySet(), emptySet()))
    }

    private fun failure(call: suspend () -> Unit): NetworkFailure =
        assertThrows(NetworkException::class.java) { runBlocking { call() } }.failure

    private fun post(url: String, timeoutMs: Long = 5_000, maxBytes: Int = 1 shl 20) =
        HttpRequest("POST", url, bearer = "tok", body = "{}", answerMaxBytes = maxBytes, timeoutMs = timeoutMs)

    @Test
    fun `a call brings token and body, and the answer its headers in lower case`() {
        server.enqueue(MockResponse().setResponseCode(503).setHeader("Retry-After", "7").setBody("""{"detail":"busy"}"""))
        val answer = runBlocking { plain(server).call(post(address)) }
        assertEquals(listOf("503", "7", """{"detail":"busy"}"""), listOf("${answer.status}", answer.header("retry-after"), answer.body))
        val request = server.takeRequest()
        assertEquals(listOf("Bearer tok", "{}"), listOf(request.getHeader("Authorization"), request.body.readUtf8()))
        assertTrue(request.getHeader("Content-Type").orEmpty().startsWith("application/json"))
    }

    @Test
    fun `a redirection to another host is an answer, and the token goes nowhere else`() {
        for (status in listOf(301, 302, 307, 308)) {
            server.enqueue(MockResponse().setResponseCode(status).setHeader("Location", other.url("/stolen")))
            assertEquals(status, runBlocking { plain(server, other).call(post(address)) }.status)
        }
        assertEquals(0, other.requestCount)
    }

    @Test
    fun `an answer of 10 MB is too large, with or without its length, compressed or not`() {
        val tenMb = Buffer().apply { repeat(10) { write(ByteArray(1_000_000)) } }
        server.enqueue(MockResponse().setBody(tenMb.clone()))
        server.enqueue(MockResponse().setChunkedBody(tenMb.clone(), 65_536))
        val zipped = Buffer().also { okio.GzipSink(it).use { zip -> zip.write(tenMb.clone(), tenMb.size) } }
        assertTrue(zipped.size < 100_000)
        server.enqueue(MockResponse().setHeader("Content-Encoding", "gzip").setBody(zipped))
        val network = plain(server)
        repeat(3) { assertEquals(NetworkFailure.TOO_LARGE, failure { network.call(post(address)) }) }
        server.enqueue(MockResponse().setBody("x".repeat(100)))
        assertEquals(100, runBlocking { network.call(post(address, maxBytes = 100)) }.body.length)
    }

    @Test
    fun `a slow answer fails at its deadline, however it dribbles`() {
        val network = plain(server)
        server.enqueue(MockResponse().setBody("x".repeat(1_000)).throttleBody(1, 50, TimeUnit.MILLISECONDS))
        assertEquals(NetworkFailure.TIMEOUT, failure { network.call(post(address, timeoutMs = 400)) })
        server.enqueue(MockResponse().setSocketPolicy(SocketPolicy.NO_RESPONSE))
        assertEquals(NetworkFailure.TIMEOUT, failure { network.call(post(address, timeoutMs = 400)) })
    }

    @Test
    fun `no server, no name and no address are failures to connect`() {
        val network = plain(server)
        val gone = address
        server.shutdown()
        assertEquals(NetworkFailure.CONNECT, failure { network.call(post(gone)) })
        assertEquals(NetworkFailure.CONNECT, failure { network.call(post("https://no-such-host.invalid/")) })
        assertEquals(NetworkFailure.CONNECT, failure { network.call(post("not an address")) })
    }

    @Test
    fun `a connection that breaks in the middle is broken`() {
        server.enqueue(MockResponse().setBody("x".repeat(10_000)).setSocketPolicy(SocketPolicy.DISCONNECT_DURING_RESPONSE_BODY))
        assertEquals(NetworkFailure.BROKEN, failure { plain(server).call(post(address)) })
    }

    @Test
    fun `plain http goes to hosts that enrollment allowed only`() {
        assertEquals(NetworkFailure.CLEARTEXT_FORBIDDEN, failure { OkHttpNetwork().call(post(address)) })
        assertEquals(NetworkFailure.CLEARTEXT_FORBIDDEN, failure { plain(other).call(post(address)) })
        assertEquals(NetworkFailure.CLEARTEXT_FORBIDDEN, failure { plain(other).openSocket(address, "tok", Inbox()) })
        assertEquals(NetworkFailure.CLEARTEXT_FORBIDDEN, failure { plain(other).download(DownloadRequest(address, 0)) { null } })
        assertEquals(0, server.requestCount)
    }

    private val certificate = HeldCertificate.Builder().addSubjectAlternativeName("localhost").build()

    private fun trusting(): OkHttpClient {
        val trusted = HandshakeCertificates.Builder().addTrustedCertificate(certificate.certificate).build()
        return OkHttpClient.Builder().sslSocketFactory(trusted.sslSocketFactory(), trusted.trustManager).build()
    }

    private fun serveTls() {
        server.useHttps(HandshakeCertificates.Builder().heldCertificate(certificate).build().sslSocketFactory(), false)
    }

    @Test
    fun `a certificate that nobody vouches for is a TLS failure, and the token is not sent`() {
        serveTls()
        server.enqueue(MockResponse().setBody("{}"))
        assertEquals(NetworkFailure.TLS, failure { OkHttpNetwork().call(post(server.url("/").toString())) })
        server.takeRequest(100, TimeUnit.MILLISECONDS)?.let { assertNull(it.getHeader("Authorization")) }
    }

    @Test
    fun `https where plain http is spoken is a TLS failure`() {
        ServerSocket(0, 1, InetAddress.getLoopbackAddress()).use { plain ->
            thread { plain.accept().use { it.getOutputStream().write("HTTP/1.1 400 Bad Request\r\n\r\n".toByteArray()) } }
            assertEquals(NetworkFailure.TLS, failure { OkHttpNetwork().call(post("https://localhost:${plain.localPort}/")) })
        }
    }

    @Test
    fun `a pin holds for its hosts`() {
        serveTls()
        val url = server.url("/").toString()
        val right = CertificatePinner.pin(certificate.certificate)
        val wrong = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        val network = OkHttpNetwork(trusting())
        server.enqueue(MockResponse().setBody("{}"))
        server.enqueue(MockResponse().setBody("{}"))
        network.apply(ConnectionPolicy(emptySet(), setOf(right), setOf("localhost")))
        assertEquals(200, runBlocking { network.call(post(url)) }.status)
        network.apply(ConnectionPolicy(emptySet(), setOf(wrong), setOf("localhost")))
        assertEquals(NetworkFailure.TLS, failure { network.call(post(url)) })
        network.apply(ConnectionPolicy(emptySet(), setOf(wrong), setOf("elsewhere.example")))
        assertEquals(200, runBlocking { network.call(post(url)) }.status)
    }

    @Test
    fun `a download goes on from a byte and carries no token`() {
        server.enqueue(MockResponse().setResponseCode(206).setHeader("Content-Range", "bytes 3-9/10").setBody("defghij"))
        val file = ByteArrayOutputStream()
        val head = runBlocking { plain(server).download(DownloadRequest(address, fromByte = 3)) { file } }
        assertEquals(206 to "bytes 3-9/10", head.status to head.headers["content-range"])
        assertEquals("defghij", file.toString())
        val request = server.takeRequest()
        assertEquals("bytes=3-" to "identity", request.getHeader("Range") to request.getHeader("Accept-Encoding"))
        assertNull(request.getHeader("Authorization"))
    }

    @Test
    fun `a download that is not wanted, stands still, breaks or cannot be written ends`() {
        val network = plain(server)
        var seen: DownloadHead? = null
        server.enqueue(MockResponse().setResponseCode(403).setBody("expired"))
        runBlocking { network.download(DownloadRequest(address, 0)) { head -> null.also { seen = head } } }
        assertEquals(403, seen?.status)
        server.enqueue(MockResponse().setBody("x".repeat(100_000)).throttleBody(1_000, 1, TimeUnit.SECONDS))
        val stalling = DownloadRequest(address, 0, stallTimeoutMs = 300)
        assertEquals(NetworkFailure.TIMEOUT, failure { network.download(stalling) { ByteArrayOutputStream() } })
        server.enqueue(MockResponse().setBody("x".repeat(100_000)).setSocketPolicy(SocketPolicy.DISCONNECT_DURING_RESPONSE_BODY))
        val part = ByteArrayOutputStream()
        assertEquals(NetworkFailure.BROKEN, failure { network.download(DownloadRequest(address, 0)) { part } })
        assertTrue(part.size() < 100_000)
        server.enqueue(MockResponse().setBody("x".repeat(100_000)))
        val full = object : OutputStream() {
            override fun write(b: Int) = throw IOException("no space left")
        }
        val storage = assertThrows(IOException::class.java) { runBlocking { network.download(DownloadRequest(address, 0)) { full } } }
        assertEquals("no space left", storage.message)
    }

    @Test
    fun `a cancelled download lets go of its connection at once`() {
        server.enqueue(MockResponse().setBody("x".repeat(100_000)).throttleBody(1_000, 1, TimeUnit.SECONDS))
        runBlocking {
            val started = LinkedBlockingQueue<Unit>()
            val job = launch(Dispatchers.Default) {
                plain(server).download(DownloadRequest(address, 0, stallTimeoutMs = 60_000)) {
                    object : OutputStream() {
                        override fun write(b: Int) = Unit

                        override fun write(b: ByteArray, off: Int, len: Int) {
                            started.offer(Unit)
                        }
                    }
                }
            }
            assertEquals(Unit, started.poll(10, TimeUnit.SECONDS))
            job.cancel()
            job.join()
        }
    }

    /** What arrives on a socket. */
    private class Inbox : SocketListener {
        val texts = LinkedBlockingQueue<String>()
        val ends = LinkedBlockingQueue<String>()

        override fun onText(text: String) {
            texts.add(text)
        }

        override fun onClosed(failure: NetworkException?) {
            ends.add(failure?.failure?.name ?: "orderly")
        }
    }

    private class Peer(private val greeting: (WebSocket) -> Unit = {}) : WebSocketListener() {
        val texts = LinkedBlockingQueue<String>()

        override fun onOpen(webSocket: WebSocket, response: Response): Unit = greeting(webSocket)

        override fun onMessage(webSocket: WebSocket, text: String) {
            texts.add(text)
            webSocket.send("ack $text")
        }

        override fun onClosing(webSocket: WebSocket, code: Int, reason: String) {
            webSocket.close(code, reason)
        }
    }

    private fun open(peer: WebSocketListener, inbox: Inbox): Socket {
        server.enqueue(MockResponse().withWebSocketUpgrade(peer))
        return runBlocking { plain(server).openSocket(address, "tok", inbox) }
    }

    @Test
    fun `frames go and come, and the end is told once`() {
        val inbox = Inbox()
        val socket = open(Peer(), inbox)
        assertTrue(socket.send("one") && socket.send("two"))
        assertEquals(listOf("ack one", "ack two"), List(2) { inbox.texts.poll(10, TimeUnit.SECONDS) })
        assertEquals("Bearer tok", server.takeRequest().getHeader("Authorization"))
        socket.close()
        assertEquals("orderly", inbox.ends.poll(10, TimeUnit.SECONDS))
        assertFalse(socket.send("three"))
        assertEquals(0, inbox.ends.size)
    }

    @Test
    fun `an end by the node, a drop, a binary frame and a huge frame end the socket`() {
        val greetings = listOf<(WebSocket) -> Unit>(
            { it.close(1001, "reconnect") },
            { it.send("x".encodeUtf8()) },
            { it.send("x".repeat(2_000_000)) },
        )
        val ends = greetings.map { greeting ->
            val inbox = Inbox()
            open(Peer(greeting), inbox)
            inbox.ends.poll(10, TimeUnit.SECONDS) to inbox.texts.size
        }
        assertEquals(listOf("orderly" to 0, "BROKEN" to 0, "TOO_LARGE" to 0), ends)
        val inbox = Inbox()
        open(Peer(), inbox).drop()
        assertEquals("BROKEN", inbox.ends.poll(10, TimeUnit.SECONDS))
    }

    @Test
    fun `the send buffer is bounded`() {
        val socket = open(Peer(), Inbox())
        assertFalse(socket.send("x".repeat(300_000)))
        assertTrue(socket.send("x"))
    }

    @Test
    fun `an upgrade that is answered otherwise says how`() {
        server.enqueue(MockResponse().setResponseCode(401).setBody("""{"detail":"no"}"""))
        server.enqueue(MockResponse().setResponseCode(200).setBody("<html>"))
        server.enqueue(MockResponse().setResponseCode(302).setHeader("Location", other.url("/stolen")))
        val network = plain(server, other)
        val statuses = List(3) {
            assertThrows(SocketRefused::class.java) { runBlocking { network.openSocket(address, "tok", Inbox()) } }.answer
        }
        assertEquals(listOf(401, 200, 302), statuses.map { it.status })
        assertEquals("""{"detail":"no"}""", statuses.first().body)
        assertEquals(0, other.requestCount)
        server.shutdown()
        assertEquals(NetworkFailure.CONNECT, failure { network.openSocket(address, "tok", Inbox()) })
    }

    @Test
    fun `no failure names the address, which may be a signed one`() {
        val secret = "http://${server.hostName}:${server.port}/f?signature=s3cret"
        server.enqueue(MockResponse().setSocketPolicy(SocketPolicy.DISCONNECT_AFTER_REQUEST))
        val e = assertThrows(NetworkException::class.java) { runBlocking { plain(server).call(post(secret)) } }
        assertFalse("s3cret" in e.toString())
        assertArrayEquals(arrayOf(NetworkFailure.BROKEN), arrayOf(e.failure))
    }
}
