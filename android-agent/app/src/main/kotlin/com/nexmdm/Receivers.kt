package com.nexmdm

import android.app.PendingIntent
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeoutOrNull

/** Starts the agent after boot, before and after the first unlocking, and after its own update. */
internal class BootReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        val reason = when (intent.action) {
            Intent.ACTION_LOCKED_BOOT_COMPLETED -> "locked_boot"
            Intent.ACTION_BOOT_COMPLETED -> "boot"
            Intent.ACTION_MY_PACKAGE_REPLACED -> "package_replaced"
            else -> return
        }
        // Permissions that an update brought, and configuration that can be read once the device is unlocked.
        context.agent.prepare()
        AgentService.start(context, reason)
    }
}

/** The alarm that wakes the agent, also in Doze and after Android ended its service. */
internal class AlarmReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        // Takes the wake lock before Android may let the device sleep again; the service comes later, if at all.
        context.agent.wake("alarm")
        AgentService.start(context, "alarm")
    }

    companion object {
        /** What an alarm fires. */
        fun target(context: Context): PendingIntent = PendingIntent.getBroadcast(
            context,
            0,
            Intent(context, AlarmReceiver::class.java),
            PendingIntent.FLAG_UPDATE_CURRENT or PendingIntent.FLAG_IMMUTABLE,
        )
    }
}

/** Takes server and token from the enrollment script, by adb (docs/enrollment.md); answers with result code and data. */
internal class EnrollReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        if (intent.action != ACTION) return
        val request = EnrollmentRequest.fromValues(intent::getStringExtra)
        if (request == null) {
            answer(EnrollmentAnswer(EnrollmentAnswer.REFUSED, "server_url is missing"), this::setResult)
            return
        }
        val pending = goAsync()
        CoroutineScope(Dispatchers.Default).launch {
            try {
                val answer = withTimeoutOrNull(ANSWER_TIMEOUT_MS) { context.agent.enroll(request) }
                    ?: EnrollmentAnswer(EnrollmentAnswer.REFUSED, "the agent did not answer in time; try again")
                answer(answer, pending::setResult)
                if (answer.code == EnrollmentAnswer.ACCEPTED) AgentService.start(context, "enroll")
            } finally {
                pending.finish()
            }
        }
    }

    private fun answer(answer: EnrollmentAnswer, set: (Int, String?, android.os.Bundle?) -> Unit) = set(answer.code, answer.message, null)

    private companion object {
        const val ACTION = "com.nexmdm.ENROLL"

        // Android ends a foreground broadcast after 10 s.
        const val ANSWER_TIMEOUT_MS = 8_000L
    }
}
