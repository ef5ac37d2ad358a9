package com.nexmdm.fcm

import android.os.Looper
import com.google.android.gms.tasks.Task
import com.google.android.gms.tasks.TaskCompletionSource
import com.google.android.gms.tasks.Tasks
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import java.io.IOException
import java.time.Duration
import java.util.concurrent.ExecutionException

internal class FcmPushSourceTest : FcmTest() {
    private class Fake : Messaging {
        var answer: () -> Task<String> = { Tasks.forResult("token") }
        var deletion: Task<Void> = Tasks.forResult(null)
        var asked = 0
        var deleted = 0

        override fun token(): Task<String> {
            asked++
            return answer()
        }

        override fun deleteToken(): Task<Void> {
            deleted++
            return deletion
        }
    }

    private val firebase = Fake()
    private val source = FcmPushSource(firebase, log)
    private val mainThread = shadowOf(Looper.getMainLooper())

    private fun pass(ms: Long) = mainThread.idleFor(Duration.ofMillis(ms))

    @After
    fun stop() = source.stop()

    @Test
    fun `the token is told, and asked for again, since it may have become old`() {
        source.start(listener)
        assertEquals(listOf("token"), listener.tokens)
        assertTrue(log.lines.single().startsWith("push.register"))
        firebase.answer = { Tasks.forResult("renewed") }
        pass(FcmPushSource.RENEW_MS - 1)
        assertEquals(1, firebase.asked)
        pass(1)
        assertEquals(listOf("token", "renewed"), listener.tokens)
    }

    @Test
    fun `without a token it is asked for again, and says why there was none`() {
        firebase.answer = { Tasks.forException(ExecutionException(IOException("SERVICE_NOT_AVAILABLE"))) }
        source.start(listener)
        assertEquals("push.failed {reason=IOException: SERVICE_NOT_AVAILABLE}", log.lines.single())
        pass(FcmPushSource.ASK_AGAIN_MS - 1)
        assertEquals(1, firebase.asked)
        firebase.answer = { Tasks.forResult("late") }
        pass(1)
        assertEquals(listOf("late"), listener.tokens)
    }

    @Test
    fun `a library that breaks off does not break the agent`() {
        firebase.answer = { throw IllegalStateException("no Firebase") }
        source.start(listener)
        assertEquals("push.failed {reason=IllegalStateException: no Firebase}", log.lines.single())
    }

    @Test
    fun `stopped it deletes its token and is quiet`() {
        source.start(listener)
        source.stop()
        assertEquals(1, firebase.deleted)
        Mailbox.token("other")
        Mailbox.message(mapOf("action" to "sync"))
        pass(2 * FcmPushSource.RENEW_MS)
        assertEquals(listOf("token"), listener.tokens)
        assertEquals(0, listener.messages.size)
        assertEquals(1, firebase.asked)
        // For the next: what was kept is gone.
        Mailbox.attach(Listener().also(Mailbox::attach))
    }

    @Test
    fun `an answer that comes after the stop is not told`() {
        val late = TaskCompletionSource<String>()
        firebase.answer = { late.task }
        source.start(listener)
        source.stop()
        late.setResult("late")
        assertEquals(0, listener.tokens.size)
        pass(2 * FcmPushSource.RENEW_MS)
        assertEquals(1, firebase.asked)
    }

    @Test
    fun `started again it waits until the earlier token is deleted`() {
        val deletion = TaskCompletionSource<Void>()
        firebase.deletion = deletion.task
        source.start(listener)
        source.stop()
        val next = Listener()
        source.start(next)
        assertEquals(1, firebase.asked)
        // Offline the deletion fails; the token is good then.
        deletion.setException(IOException("offline"))
        assertEquals(listOf("token"), next.tokens)
    }
}
