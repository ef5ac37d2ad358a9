package com.nexmdm.host.push

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.PushListener
import com.nexmdm.host.UsageException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import java.net.Socket
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

class PushListenerSocketTest {
    private val messages = LinkedBlockingQueue<Map<String, String>>()
    private val events = LinkedBlockingQueue<Pair<String, Map<String, Any?>>>()
    private val tokens = LinkedBlockingQueue<String>()
    private val log =
        object : EventLog {
            override fun log(level: Level, event: String, fields: Map<String, Any?>) {
                events += event to fields
            }
        }
    private val listener =
        object : PushListener {
            override fun onToken(token: String) {
                tokens += token
            }

            override fun onMessage(data: Map<String, String>) {
                messages += data
            }
        }

    private fun <T> LinkedBlockingQueue<T>.next(): T = checkNotNull(poll(10, TimeUnit.SECONDS))

    private fun send(port: Int, text: String) = Socket("127.0.0.1", port).use { it.getOutputStream().write(text.encodeToByteArray()) }

    @Test
    fun `every line is a message, and what is none does no harm`() {
        val source = PushListenerSocket(0, "sim-kiosk", log)
        source.start(listener)
        assertEquals("sim-kiosk", tokens.next())
        val (event, fields) = events.next()
        assertEquals("push.listen", event)
        val port = fields["port"] as Int
        send(port, "{\"request_id\":\"r1\",\"params\":\"{ \\\"a\\\":1 }\",\"v\":1}\n\nnonsense\n[1]\n{\"request_id\":\"r2\"}")
        assertEquals(mapOf("request_id" to "r1", "params" to "{ \"a\":1 }", "v" to "1"), messages.next())
        assertEquals(mapOf("request_id" to "r2"), messages.next())
        assertEquals(listOf("push.unreadable", "push.unreadable"), listOf(events.next().first, events.next().first))
        send(port, "x".repeat(70_000))
        assertEquals("push.broken", events.next().first)
        send(port, "{\"request_id\":\"r3\"}\n")
        assertEquals("r3", messages.next()["request_id"])
        assertThrows(UsageException::class.java) { PushListenerSocket(port, "sim-other", log) }
        source.close()
    }
}
