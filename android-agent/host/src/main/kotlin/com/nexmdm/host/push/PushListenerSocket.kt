package com.nexmdm.host.push

import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushListener
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.host.UsageException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.io.BufferedInputStream
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.util.concurrent.Semaphore
import kotlin.concurrent.thread

/**
 * Push messages over TCP on the loopback address: every line of a connection is a JSON object, the data of one message. Nothing
 * is answered. Values that are no text become the text of their JSON; what is no object is dropped with an event.
 */
internal class PushListenerSocket(port: Int, private val token: String, private val log: EventLog) : PushSource, AutoCloseable {
    private val server = bind(port)
    private val connections = Semaphore(CONNECTIONS_MAX)

    /** Whoever takes messages; while nobody does they are lost, as push messages may be. */
    @Volatile
    private var listener: PushListener? = null

    init {
        log.info("push.listen", "port" to server.localPort)
        thread(isDaemon = true, name = "push-listen") { accept() }
    }

    override fun start(listener: PushListener) {
        this.listener = listener
        listener.onToken(token)
    }

    override fun stop() {
        listener = null
    }

    override fun close() = server.close()

    private fun bind(port: Int): ServerSocket =
        try {
            ServerSocket(port, CONNECTIONS_MAX, InetAddress.getByAddress(byteArrayOf(127, 0, 0, 1)))
        } catch (e: IOException) {
            throw UsageException("--push-listen: cannot listen at port $port (${e.message})")
        }

    private fun accept() {
        try {
            while (true) {
                connections.acquire()
                val connection = server.accept()
                thread(isDaemon = true, name = "push-connection") {
                    try {
                        connection.use(::serve)
                    } finally {
                        connections.release()
                    }
                }
            }
        } catch (_: IOException) {
            // The socket was closed: no more push.
            return
        }
    }

    private fun serve(connection: Socket) {
        try {
            val input = BufferedInputStream(connection.getInputStream())
            while (true) {
                val line = readLine(input) ?: return
                if (line.isNotBlank()) deliver(line)
            }
        } catch (e: IOException) {
            log.warn("push.broken", "error" to e.message)
        }
    }

    private fun deliver(line: String) {
        val data = runCatching { Json.parseToJsonElement(line) as JsonObject }.getOrNull()
        if (data == null) {
            log.warn("push.unreadable", "bytes" to line.length)
            return
        }
        listener?.onMessage(data.mapValues { (_, value) -> (value as? JsonPrimitive)?.content ?: value.toString() })
    }

    /** The next line, or null at the end. Throws [IOException] when it is too long. */
    private fun readLine(input: InputStream): String? {
        val line = ByteArrayOutputStream()
        while (true) {
            when (val byte = input.read()) {
                -1 -> return if (line.size() == 0) null else line.toString(Charsets.UTF_8)
                '\n'.code -> return line.toString(Charsets.UTF_8)
                else -> line.write(byte)
            }
            if (line.size() > LINE_MAX_BYTES) throw IOException("a message of more than $LINE_MAX_BYTES bytes")
        }
    }

    private companion object {
        const val CONNECTIONS_MAX = 4
        const val LINE_MAX_BYTES = 64 * 1024
    }
}
