package com.nexmdm.core.link

import com.nexmdm.core.port.HttpAnswer
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

class ReplyTest {
    private val html = "<html><body>Please sign in</body></html>"
    private val problem = """{"title":"no","detail":"what to do"}"""

    private fun of(status: Int, body: String, vararg headers: Pair<String, String>): Reply =
        Reply.of(HttpAnswer(status, mapOf(*headers), body))

    @Test
    fun `a JSON object with 2xx is an answer`() {
        assertEquals(true, Reply.confirms(assertInstanceOf(Reply.Ok::class.java, of(200, """{"ok":true}""")).body))
        assertEquals(false, Reply.confirms(assertInstanceOf(Reply.Ok::class.java, of(201, """{"ok":1}""")).body))
    }

    @Test
    fun `a captive portal decides nothing, whatever its status`() {
        for (status in listOf(200, 301, 302, 307, 400, 401, 403, 404, 410, 413, 451)) {
            val reply = assertInstanceOf(Reply.Unavailable::class.java, of(status, html), "$status")
            assertEquals(true, reply.elsewhere)
        }
        for (body in listOf("", "[]", "null", "true", "\"x\"", "{", "{\"a\":", "[1,2]", "\u0000")) {
            assertInstanceOf(Reply.Unavailable::class.java, of(200, body), body)
        }
    }

    @Test
    fun `redirections count as no answer even with JSON`() {
        assertInstanceOf(Reply.Unavailable::class.java, of(302, problem, "location" to "https://elsewhere.example/"))
    }

    @Test
    fun `nodes refuse with problem documents`() {
        assertEquals(Reply.Unauthorized, of(401, problem))
        assertEquals(Reply.DeviceDeleted, of(410, problem))
        assertEquals(Reply.Refused(422, "what to do"), of(422, problem))
        assertEquals(Reply.Refused(409, null), of(409, "{}"))
        assertEquals(Reply.NotModified, of(304, ""))
    }

    @Test
    fun `overload means later, and at the same server`() {
        assertEquals(Reply.Unavailable(503, 7_000, "http_503", elsewhere = false), of(503, problem, "retry-after" to "7"))
        assertEquals(Reply.Unavailable(429, null, "http_429", elsewhere = false), of(429, html))
        assertEquals(Reply.Unavailable(502, null, "http_502", elsewhere = true), of(502, html))
        assertEquals(Reply.Unavailable(408, null, "http_408", elsewhere = true), of(408, problem))
    }

    @Test
    fun `a wait that cannot be read is none`() {
        for (text in listOf("-1", "soon", "", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT")) {
            assertNull(Reply.retryAfterMs(HttpAnswer(503, mapOf("retry-after" to text), "")), text)
        }
    }

    @Test
    fun `deeply nested JSON is no answer`() {
        assertInstanceOf(Reply::class.java, of(200, "{\"a\":".repeat(200_000)))
    }
}
