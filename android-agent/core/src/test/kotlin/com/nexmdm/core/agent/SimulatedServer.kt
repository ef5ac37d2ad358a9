package com.nexmdm.core.agent

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
import com.nexmdm.core.port.SocketRefused
import com.nexmdm.core.testing.TestClock
import com.nexmdm.core.time.Rfc3339
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.contentOrNull
import kotlinx.serialization.json.put
import java.io.OutputStream
import java.security.MessageDigest
import java.time.ZoneOffset
import java.time.format.DateTimeFormatter
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec

/** How a call or a frame is disturbed. */
enum class Fault {
    NONE,

    /** Nobody answers. */
    CONNECT,

    /** The request is lost, after the deadline. */
    LOST_REQUEST,

    /** The request is served and the answer lost. */
    LOST_ANSWER,
    TLS,
    TOO_LARGE,

    /** 200 with HTML, as captive portals answer. */
    PORTAL,

    /** 302 to another host. */
    REDIRECT,

    /** 401 with HTML. */
    PORTAL_401,

    /** 503 with `Retry-After: 7`. */
    BUSY,
    BAD_GATEWAY,
    UNAUTHORIZED,
    DELETED,

    /** 422 with a problem document. */
    UNPROCESSABLE,

    /** 200 with `{}`. */
    EMPTY,
}

/** The server's side of the agent API in virtual time, as far as agents see it; [clock] is the true time. */
class SimulatedServer(private val scope: CoroutineScope, private val clock: TestClock) : Http {
    /** What disturbs a call to a path, or a frame, whose path is its type. */
    var fault: (path: String) -> Fault = { Fault.NONE }

    /** How long an answer takes, ms; for frames each on its own, so that answers overtake each other. */
    var latencyMs: () -> Long = { 20 }

    /** How often each frame of the node arrives. */
    var copies: () -> Int = { 1 }
    var nextHeartbeatSeconds: Long = 300

    /** Whether answers carry a `Date` header. */
    var sendsDate = true
    val tokens = mutableMapOf("enroll-1" to "")
    val deviceId = "00000000-0000-0000-0000-000000000001"
    val deviceKey = "11".repeat(32)
    private var deviceToken = "none"
    private val sessions = mutableSetOf<String>()
    private var sessionCount = 0

    /** Every call and frame as `path` at a time of the scheduler. */
    val calls = mutableListOf<Pair<Long, String>>()
    val servers = mutableListOf<String>()
    val heartbeats = LinkedHashMap<String, JsonObject>()

    /** Final outcomes by request id. */
    val outcomes = LinkedHashMap<String, String>()
    val conflicts = mutableListOf<String>()
    private val commands = LinkedHashMap<String, JsonObject>()
    val openSockets = mutableSetOf<NodeSocket>()
    var bytesUp = 0L
    var bytesDown = 0L

    /** A signed command that waits for the device from now on; its request id. */
    fun issue(action: String, params: String = "{}", lifetimeMs: Long = 86_400_000): String {
        val requestId = uuidV7(clock.wallMs(), commands.size)
        val now = Rfc3339.format(clock.wallMs())
        val expires = Rfc3339.format(clock.wallMs() + lifetimeMs)
        val text = listOf("nexmdm-command-v1", requestId, deviceId, action, now, expires, hex(sha256(params))).joinToString("\n")
        val key = deviceKey.chunked(2).map { it.toInt(16).toByte() }.toByteArray()
        val mac = Mac.getInstance("HmacSHA256").apply { init(SecretKeySpec(key, "HmacSHA256")) }
        val command = buildJsonObject {
            put("request_id", requestId)
            put("device_id", deviceId)
            put("action", action)
            put("ts", now)
            put("expires_at", expires)
            put("params", params)
            put("signature", hex(mac.doFinal(text.toByteArray())))
            put("v", "1")
        }
        commands[requestId] = command
        openSockets.toList().forEach { it.command(command) }
        return requestId
    }

    /** Commands without a final outcome. */
    fun unfinished(): List<JsonObject> = commands.filterKeys { it !in outcomes }.values.toList()

    /** Every session ends, as when the device's token is revoked. */
    fun revoke() {
        sessions.clear()
        deviceToken = "revoked"
    }

    override fun apply(policy: ConnectionPolicy) = Unit

    override suspend fun call(request: HttpRequest): HttpAnswer {
        val (server, path) = split(request.url)
        calls += now() to path
        servers += server
        bytesUp += request.body.orEmpty().length + HEADER_BYTES
        val fault = fault(path)
        val slowMs = latencyMs()
        if (slowMs >= request.timeoutMs) {
            delay(request.timeoutMs)
            throw NetworkException(NetworkFailure.TIMEOUT, "timeout")
        }
        delay(slowMs)
        return when (fault) {
            Fault.CONNECT -> throw NetworkException(NetworkFailure.CONNECT, "refused")
            Fault.TLS -> throw NetworkException(NetworkFailure.TLS, "tls")
            Fault.TOO_LARGE -> throw NetworkException(NetworkFailure.TOO_LARGE, "10 MB")
            Fault.LOST_REQUEST -> {
                delay(request.timeoutMs - slowMs)
                throw NetworkException(NetworkFailure.TIMEOUT, "timeout")
            }
            Fault.LOST_ANSWER -> {
                serve(request, path)
                throw NetworkException(NetworkFailure.BROKEN, "reset")
            }
            else -> disturbed(fault) ?: serve(request, path)
        }.also { bytesDown += it.body.length + HEADER_BYTES }
    }

    private fun disturbed(fault: Fault): HttpAnswer? = when (fault) {
        Fault.PORTAL -> HttpAnswer(200, emptyMap(), "<html>sign in</html>")
        Fault.PORTAL_401 -> HttpAnswer(401, emptyMap(), "<html>sign in</html>")
        Fault.REDIRECT -> HttpAnswer(302, mapOf("location" to "https://portal.example/"), "")
        Fault.BUSY -> HttpAnswer(503, mapOf("retry-after" to "7"), """{"detail":"busy"}""")
        Fault.BAD_GATEWAY -> HttpAnswer(502, emptyMap(), "<html>bad gateway</html>")
        Fault.UNAUTHORIZED -> problem(401)
        Fault.DELETED -> problem(410)
        Fault.UNPROCESSABLE -> problem(422)
        Fault.EMPTY -> HttpAnswer(200, emptyMap(), "{}")
        else -> null
    }

    private fun problem(status: Int) = HttpAnswer(status, emptyMap(), """{"title":"no","detail":"status $status"}""")

    private fun serve(request: HttpRequest, path: String): HttpAnswer = when {
        path == "/v1/register" -> register(request)
        path == "/v1/agent/session" -> session(request)
        request.bearer !in sessions -> problem(401)
        path == "/v1/heartbeat" -> {
            store(parse(request.body))
            ok(heartbeatAnswer { put("ok", true) })
        }
        path == "/v1/heartbeats" -> {
            val list = Json.parseToJsonElement(request.body.orEmpty()) as JsonArray
            check(list.size <= 100 && request.body.orEmpty().length <= 64 * 1024) { "list over the limits" }
            list.forEach { store(it as JsonObject) }
            ok(
                heartbeatAnswer {
                    put("results", JsonArray(list.indices.map { buildJsonObject { put("index", it).also { put("status", 200) } } }))
                },
            )
        }
        path == "/v1/action-result" -> status(result(parse(request.body)))
        path.startsWith("/v1/agent/update?") -> HttpAnswer(304, mapOf("x-update-reason" to "already_current"), "")
        path.startsWith("/v1/agent/") -> status(200)
        else -> problem(404)
    }

    private fun status(status: Int) = if (status == 200) ok(buildJsonObject { put("ok", true) }) else problem(status)

    private fun ok(body: JsonObject): HttpAnswer {
        val date = if (sendsDate) mapOf("date" to httpDate()) else emptyMap()
        return HttpAnswer(200, date + ("x-nexmdm-owner" to "node-1;epoch=1"), body.toString())
    }

    private fun register(request: HttpRequest): HttpAnswer {
        val hardware = tokens[request.bearer] ?: return problem(401)
        val body = parse(request.body)
        if (hardware.isNotEmpty() && hardware != text(body, "hardware_id")) return problem(401)
        tokens[request.bearer.orEmpty()] = text(body, "hardware_id").orEmpty()
        deviceToken = "device-token-${calls.size}"
        return ok(
            buildJsonObject {
                put("device_id", deviceId)
                put("device_token", deviceToken)
                put("device_key", deviceKey)
                put("server_time", Rfc3339.format(clock.wallMs()))
                put("heartbeat_interval_seconds", nextHeartbeatSeconds)
            },
        )
    }

    private fun session(request: HttpRequest): HttpAnswer {
        if (request.bearer != deviceToken) return problem(401)
        val token = "session-${++sessionCount}".also(sessions::add)
        return ok(
            buildJsonObject {
                put("session_token", token)
                put("expires_at", Rfc3339.format(clock.wallMs() + 86_400_000))
            },
        )
    }

    private fun store(heartbeat: JsonObject) {
        heartbeats[text(heartbeat, "boot_id") + "/" + heartbeat["seq"]] = heartbeat
    }

    private fun heartbeatAnswer(more: JsonObjectBuilder.() -> Unit) = buildJsonObject {
        more()
        put("next_heartbeat_seconds", nextHeartbeatSeconds)
        put("server_time", Rfc3339.format(clock.wallMs()))
        put("commands", JsonArray(unfinished()))
    }

    private fun result(body: JsonObject): Int {
        val requestId = text(body, "request_id")
        val outcome = text(body, "outcome").orEmpty()
        if (requestId !in commands) return 404
        val known = outcomes[requestId]
        return when {
            outcome == "received" -> 200
            known == null -> 200.also { outcomes[requestId.orEmpty()] = outcome }
            known == outcome -> 200
            else -> 409.also { conflicts += "$requestId $known $outcome" }
        }
    }

    override suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead =
        throw NetworkException(NetworkFailure.CONNECT, "no downloads here")

    override suspend fun openSocket(url: String, bearer: String, listener: SocketListener): Socket {
        val (server, path) = split(url)
        calls += now() to path
        servers += server
        delay(latencyMs())
        when (val fault = fault(path)) {
            Fault.NONE -> Unit
            Fault.CONNECT, Fault.LOST_REQUEST, Fault.LOST_ANSWER -> throw NetworkException(NetworkFailure.CONNECT, "refused")
            Fault.TLS -> throw NetworkException(NetworkFailure.TLS, "tls")
            Fault.TOO_LARGE -> throw NetworkException(NetworkFailure.TOO_LARGE, "10 MB")
            else -> throw SocketRefused(disturbed(fault) ?: problem(500))
        }
        if (bearer !in sessions) throw SocketRefused(problem(401))
        return NodeSocket(listener).also { openSockets += it }
    }

    /** A node's end of a socket. */
    inner class NodeSocket(private val listener: SocketListener) : Socket {
        private var isOpen = true

        override fun send(text: String): Boolean {
            if (!isOpen) return false
            bytesUp += text.length + FRAME_BYTES
            val frame = parse(text)
            val type = text(frame, "type").orEmpty()
            calls += now() to type
            val fault = fault(type)
            when (fault) {
                Fault.LOST_REQUEST -> Unit
                Fault.CONNECT, Fault.TLS, Fault.TOO_LARGE -> end(NetworkException(NetworkFailure.BROKEN, "cut"))
                Fault.LOST_ANSWER -> {
                    take(type, frame)
                    end(NetworkException(NetworkFailure.BROKEN, "cut"))
                }
                Fault.NONE -> {
                    val status = take(type, frame)
                    if (status == 200) acknowledge(type, frame) else refuse(frame, status)
                }
                Fault.BUSY -> refuse(frame, 503, retryAfterS = 7)
                Fault.UNAUTHORIZED -> refuse(frame, 401)
                Fault.DELETED -> refuse(frame, 410)
                Fault.UNPROCESSABLE -> refuse(frame, 422)
                else -> down("{\"type\":\"nonsense\"")
            }
            return true
        }

        private fun take(type: String, frame: JsonObject): Int = when (type) {
            "heartbeat" -> 200.also { store(JsonObject(frame - "type" - "id")) }
            "action_result" -> result(frame)
            else -> 200
        }

        private fun acknowledge(type: String, frame: JsonObject) {
            down(
                buildJsonObject {
                    put("type", "ack")
                    put("id", frame.getValue("id"))
                    if (type == "heartbeat") {
                        put("next_heartbeat_seconds", nextHeartbeatSeconds)
                        put("owner", "node-1;epoch=1")
                    }
                }.toString(),
            )
            if (type == "heartbeat") unfinished().forEach(::command)
        }

        private fun refuse(frame: JsonObject, status: Int, retryAfterS: Int? = null) = down(
            buildJsonObject {
                put("type", "refused")
                put("id", frame.getValue("id"))
                put("status", status)
                put("detail", "status $status")
                retryAfterS?.let { put("retry_after_s", it) }
            }.toString(),
        )

        fun command(command: JsonObject): Unit =
            down(JsonObject(mapOf<String, JsonElement>("type" to JsonPrimitive("command")) + command).toString())

        /** Sends a frame after the latency, as often as [copies] says. */
        fun down(text: String) {
            repeat(copies()) {
                scope.launch {
                    delay(latencyMs())
                    if (!isOpen) return@launch
                    bytesDown += text.length + FRAME_BYTES
                    listener.onText(text)
                }
            }
        }

        /** Ends the socket from the node's side. */
        fun end(failure: NetworkException?) {
            if (!isOpen) return
            isOpen = false
            openSockets -= this
            listener.onClosed(failure)
        }

        override fun close(): Unit = end(null)

        override fun drop(): Unit = end(NetworkException(NetworkFailure.BROKEN, "dropped"))
    }

    private fun now(): Long = clock.wallMs() - TestClock.START_MS

    private fun split(url: String): Pair<String, String> {
        val slash = url.indexOf('/', url.indexOf("://") + 3)
        return url.substring(0, slash) to url.substring(slash)
    }

    private fun parse(body: String?) = Json.parseToJsonElement(body.orEmpty()) as JsonObject

    private fun text(body: JsonObject, key: String): String? = (body[key] as? JsonPrimitive)?.contentOrNull

    private fun httpDate(): String =
        DateTimeFormatter.RFC_1123_DATE_TIME.format(java.time.Instant.ofEpochMilli(clock.wallMs()).atOffset(ZoneOffset.UTC))

    private companion object {
        /** What HTTP/1.1 adds to a call in one direction, roughly. */
        const val HEADER_BYTES = 300

        /** What TCP, TLS and the frame add to a message, roughly. */
        const val FRAME_BYTES = 90

        fun sha256(text: String): ByteArray = MessageDigest.getInstance("SHA-256").digest(text.toByteArray())

        fun hex(bytes: ByteArray): String = bytes.joinToString("") { "%02x".format(it) }

        fun uuidV7(atMs: Long, number: Int): String {
            val time = "%012x".format(atMs)
            return "${time.take(8)}-${time.drop(8)}-7000-8000-%012x".format(number)
        }
    }
}
