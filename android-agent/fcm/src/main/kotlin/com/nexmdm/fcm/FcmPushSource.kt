package com.nexmdm.fcm

import android.os.Handler
import android.os.Looper
import com.google.android.gms.tasks.Task
import com.google.android.gms.tasks.Tasks
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushListener
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import java.util.concurrent.Executor

/**
 * Firebase Cloud Messaging: Google's services on the device hold the connection and hand messages to [FcmMessagingService]. The address
 * that the server is told is the registration token.
 *
 * The library's own initialization stays off: it would ask for a token before the agent is enrolled, and gives up at errors that pass.
 */
internal class FcmPushSource(private val messaging: Messaging, private val log: EventLog) : PushSource {
    private val mainThread = Handler(Looper.getMainLooper())
    private val askAgain = Runnable { ask() }
    private var listener: PushListener? = null
    private var deletion: Task<Void> = Tasks.forResult(null)

    @Synchronized
    override fun start(listener: PushListener) {
        this.listener = listener
        Mailbox.attach(listener)
        ask()
    }

    @Synchronized
    override fun stop() {
        Mailbox.detach(listener)
        listener = null
        mainThread.removeCallbacks(askAgain)
        deletion = attempt(messaging::deleteToken)
    }

    @Synchronized
    private fun ask() {
        val asking = listener ?: return
        // A token whose deletion is under way is none any more.
        deletion.continueWithTask(DIRECT) { attempt(messaging::token) }.addOnCompleteListener(DIRECT) { answered(it, asking) }
    }

    @Synchronized
    private fun answered(answer: Task<String>, asking: PushListener) {
        if (listener !== asking) return
        if (answer.isSuccessful) {
            log.info("push.register", "distributor" to "fcm")
            asking.onToken(answer.result)
        } else {
            log.warn("push.failed", "reason" to reason(answer.exception))
        }
        mainThread.removeCallbacks(askAgain)
        mainThread.postDelayed(askAgain, if (answer.isSuccessful) RENEW_MS else ASK_AGAIN_MS)
    }

    private fun <T> attempt(call: () -> Task<T>): Task<T> = try {
        call()
    } catch (e: RuntimeException) {
        // Whatever ails Google's services, commands still come by socket and heartbeat.
        Tasks.forException(e)
    }

    private fun reason(e: Exception?): String {
        val cause = generateSequence<Throwable>(e) { it.cause }.lastOrNull() ?: return "canceled"
        return "${cause.javaClass.simpleName}: ${cause.message}".take(REASON_MAX_CHARS)
    }

    companion object {
        private val DIRECT = Executor(Runnable::run)
        private const val REASON_MAX_CHARS = 200

        /** After how long a token is asked for again when there was none, ms. */
        internal const val ASK_AGAIN_MS = 600_000L

        /** After how long the token is asked for again, ms: the library renews one that is a week old, but only when asked. */
        internal const val RENEW_MS = 86_400_000L
    }
}
