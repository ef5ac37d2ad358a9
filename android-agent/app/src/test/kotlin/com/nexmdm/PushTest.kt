package com.nexmdm

import android.content.ComponentName
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.Bundle
import android.os.Looper
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushListener
import com.nexmdm.core.port.PushSource
import com.nexmdm.push.PushHost
import com.nexmdm.push.PushSourceFactory
import com.nexmdm.push.PushSources
import com.nexmdm.push.UnifiedPushReceiver
import com.nexmdm.push.UnifiedPushSource
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import java.time.Duration

internal class PushTest : FrameworkTest() {
    private class Listener : PushListener {
        val tokens = mutableListOf<String>()
        val messages = mutableListOf<Map<String, String>>()

        override fun onToken(token: String) {
            tokens += token
        }

        override fun onMessage(data: Map<String, String>) {
            messages += data
        }
    }

    private val listener = Listener()
    private val source = UnifiedPushSource(app, log)

    @After
    fun stop() = source.stop()

    private fun addDistributor(packageName: String) {
        install(packageName)
        val receiver = ComponentName(packageName, "$packageName.Register")
        shadowOf(app.packageManager).addReceiverIfNotPresent(receiver)
        shadowOf(app.packageManager).addIntentFilterForReceiver(receiver, IntentFilter("org.unifiedpush.android.distributor.REGISTER"))
    }

    private fun sent(action: String): List<Intent> =
        shadowOf(app).broadcastIntents.filter { it.action == "org.unifiedpush.android.distributor.$action" }

    private fun fromDistributor(action: String, secret: String?, change: Intent.() -> Unit = {}) =
        UnifiedPushReceiver().onReceive(app, Intent("org.unifiedpush.android.connector.$action").putExtra("token", secret).apply(change))

    @Test
    fun `without a distributor nothing is registered`() {
        source.start(listener)
        assertEquals(0, sent("REGISTER").size)
        assertTrue(log.lines.any { it.startsWith("push.none") })
    }

    @Test
    fun `a registration ends in an address and messages in fields`() {
        addDistributor("org.example.distributor")
        addDistributor("org.example.another")
        source.start(listener)
        val registration = sent("REGISTER").single()
        assertEquals("org.example.another", registration.`package`)
        assertEquals(app.packageName, registration.getStringExtra("application"))
        val secret = registration.getStringExtra("token")!!
        assertEquals(64, secret.length)
        fromDistributor("NEW_ENDPOINT", secret) { putExtra("endpoint", "https://push.example/up?id=7") }
        assertEquals(listOf("https://push.example/up?id=7"), listener.tokens)
        fromDistributor("MESSAGE", secret) {
            putExtra("bytesMessage", """{"action":"ring","request_id":"r1","v":1}""".toByteArray())
            putExtra("id", "m1")
        }
        assertEquals(mapOf("action" to "ring", "request_id" to "r1", "v" to "1"), listener.messages.single())
        assertEquals("m1", sent("MESSAGE_ACK").single().getStringExtra("id"))
    }

    @Test
    fun `what does not carry the secret is refused, and so is what is unreadable`() {
        addDistributor("org.example.distributor")
        source.start(listener)
        val secret = sent("REGISTER").single().getStringExtra("token")
        for (wrong in listOf(null, "", "guess", secret!!.dropLast(1))) {
            fromDistributor("NEW_ENDPOINT", wrong) { putExtra("endpoint", "https://evil.example") }
            fromDistributor("MESSAGE", wrong) { putExtra("message", "{}") }
        }
        fromDistributor("MESSAGE", secret) { putExtra("message", "no json") }
        fromDistributor("MESSAGE", secret) { putExtra("message", "[1]") }
        fromDistributor("MESSAGE", secret) { putExtra("bytesMessage", ByteArray(100_000)) }
        fromDistributor("NEW_ENDPOINT", secret) { putExtra("endpoint", "ftp://evil.example") }
        assertEquals(0, listener.tokens.size + listener.messages.size)
        assertTrue(log.lines.none { secret in it })
    }

    @Test
    fun `the same registration is used again, a failed one is not`() {
        addDistributor("org.example.distributor")
        source.start(listener)
        val secret = sent("REGISTER").single().getStringExtra("token")
        fromDistributor("NEW_ENDPOINT", secret) { putExtra("endpoint", "https://push.example/1") }
        val later = Listener()
        val again = UnifiedPushSource(app, log).apply { start(later) }
        assertEquals(listOf("https://push.example/1"), later.tokens)
        assertEquals(secret, sent("REGISTER").last().getStringExtra("token"))
        fromDistributor("REGISTRATION_FAILED", secret)
        again.stop()
        val last = UnifiedPushSource(app, log).apply { start(later) }
        assertNotEquals(secret, sent("REGISTER").last().getStringExtra("token"))
        last.stop()
    }

    @Test
    fun `a message that starts the process waits for the source`() {
        addDistributor("org.example.distributor")
        // As after the end of the process: registered on disk, no source in memory.
        app.createDeviceProtectedStorageContext().getSharedPreferences("unified_push", 0).edit()
            .putString("distributor", "org.example.distributor").putString("secret", "known").commit()
        fromDistributor("MESSAGE", "known") { putExtra("message", """{"action":"sync"}""") }
        assertEquals(0, listener.messages.size)
        source.start(listener)
        assertEquals("sync", listener.messages.single()["action"])
    }

    @Test
    fun `other apps neither crash the agent nor take the places of messages that wait`() {
        addDistributor("org.example.distributor")
        app.createDeviceProtectedStorageContext().getSharedPreferences("unified_push", 0).edit()
            .putString("distributor", "org.example.distributor").putString("secret", "known").commit()
        fromDistributor("MESSAGE", "known") { putExtra("message", """{"action":"sync"}""") }
        assertEquals(1, recorded.calls.count { it == "wake push" })
        repeat(20) { fromDistributor("MESSAGE", "guess") { putExtra("message", "{}") } }
        UnifiedPushReceiver().onReceive(app, UnreadableIntent("org.unifiedpush.android.connector.MESSAGE"))
        source.start(listener)
        UnifiedPushReceiver().onReceive(app, UnreadableIntent("org.unifiedpush.android.connector.MESSAGE"))
        assertEquals("sync", listener.messages.single()["action"])
        assertEquals("only the distributor wakes", 1, recorded.calls.count { it == "wake push" })
    }

    @Test
    fun `a registration that failed is asked for again, with another secret, after a while`() {
        addDistributor("org.example.distributor")
        source.start(listener)
        val secret = sent("REGISTER").single().getStringExtra("token")
        fromDistributor("REGISTRATION_FAILED", secret)
        val main = shadowOf(Looper.getMainLooper())
        main.idleFor(Duration.ofMillis(UnifiedPushSource.REGISTER_AGAIN_MS - 1))
        assertEquals(1, sent("REGISTER").size)
        main.idleFor(Duration.ofMillis(1))
        assertEquals(2, sent("REGISTER").size)
        assertNotEquals(secret, sent("REGISTER").last().getStringExtra("token"))
    }

    @Test
    fun `the default source is UnifiedPush`() {
        assertTrue(PushSources.of(app, log) is UnifiedPushSource)
        assertEquals(emptyList<String>(), log.lines)
    }

    internal class Factory : PushSourceFactory {
        override fun create(context: Context, log: EventLog): PushSource? = made
    }

    private fun name(factory: String) {
        val metaData = Bundle().apply { putString(PushSources.META_DATA, factory) }
        shadowOf(app.packageManager).getInternalMutablePackageInfo(app.packageName).applicationInfo!!.metaData = metaData
    }

    @Test
    fun `a factory that the manifest names makes the source, unless it cannot`() {
        name(Factory::class.java.name)
        made = PushSource.None
        assertEquals(PushSource.None, PushSources.of(app, log))
        made = null
        assertTrue(PushSources.of(app, log) is UnifiedPushSource)
        assertEquals(emptyList<String>(), log.lines)
        name("com.nexmdm.Missing")
        assertTrue(PushSources.of(app, log) is UnifiedPushSource)
        assertEquals("push.source {class=com.nexmdm.Missing, error=ClassNotFoundException}", log.lines.single())
    }

    @Test
    fun `a source of another module wakes the agent by the application`() {
        (app as PushHost).wakeByPush()
        assertEquals(listOf("wake push"), recorded.calls.filter { it.startsWith("wake") })
    }

    private companion object {
        var made: PushSource? = null
    }
}
