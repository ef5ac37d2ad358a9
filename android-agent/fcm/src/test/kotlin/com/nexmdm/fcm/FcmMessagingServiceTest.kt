package com.nexmdm.fcm

import android.content.Intent
import com.google.android.gms.tasks.Tasks
import com.google.firebase.messaging.RemoteMessage
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Before
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf

internal class FcmMessagingServiceTest : FcmTest() {
    private val service = Robolectric.setupService(FcmMessagingService::class.java)
    private val fields = mapOf("action" to "ring", "request_id" to "r1", "v" to "1", "params" to """{"seconds":"5"}""", "text" to "ä \" \\")

    private val source = FcmPushSource(
        object : Messaging {
            override fun token() = Tasks.forResult("token")

            override fun deleteToken() = Tasks.forResult<Void>(null)
        },
        log,
    )

    @Before
    fun install() = installGoogleServices()

    @After
    fun stop() {
        source.stop()
        Mailbox.attach(listener)
        Mailbox.detach(listener)
    }

    private fun message(data: Map<String, String>): RemoteMessage = RemoteMessage.Builder("100000000001@fcm.example").setData(data).build()

    @Test
    fun `a message wakes the agent and arrives with all fields`() {
        source.start(listener)
        service.onMessageReceived(message(fields))
        assertEquals(listOf(fields), listener.messages)
        assertEquals(listOf("wake", "message"), happened)
    }

    @Test
    fun `what Google's services send is read by the library`() {
        source.start(listener)
        val intent = Intent("com.google.android.c2dm.intent.RECEIVE").putExtra("google.message_id", "m1").putExtra("from", "100000000001")
        fields.forEach { (name, value) -> intent.putExtra(name, value) }
        service.handleIntent(intent)
        service.handleIntent(intent)
        assertEquals("the second is the same message", listOf(fields), listener.messages)
        service.handleIntent(Intent("com.google.firebase.messaging.NEW_TOKEN").putExtra("token", "another"))
        assertEquals(listOf("token", "another"), listener.tokens)
    }

    @Test
    fun `messages that come before the source wait for it, the newest of them`() {
        repeat(Mailbox.EARLY_MAX + 4) { service.onMessageReceived(message(mapOf("n" to "$it"))) }
        assertEquals(0, listener.messages.size)
        source.start(listener)
        assertEquals((4 until Mailbox.EARLY_MAX + 4).map { "$it" }, listener.messages.map { it["n"] })
        source.stop()
        source.start(Listener().also { later -> assertEquals(0, later.messages.size) })
    }

    @Test
    fun `messages that were dropped are a reason to ask the server`() {
        service.onDeletedMessages()
        assertEquals(listOf("wake"), happened)
    }

    @Test
    fun `a token reaches a source that runs`() {
        service.onNewToken("too early")
        source.start(listener)
        service.onNewToken("new")
        assertEquals(listOf("token", "new"), listener.tokens)
    }

    @Test
    fun `without Google's services nobody wakes the agent or leaves a message`() {
        shadowOf(app.packageManager).removePackage(GOOGLE_SERVICES)
        service.onMessageReceived(message(fields))
        service.onDeletedMessages()
        source.start(listener)
        assertEquals(0, listener.messages.size + happened.size)
    }
}
