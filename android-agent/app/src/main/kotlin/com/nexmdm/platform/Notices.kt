package com.nexmdm.platform

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context
import com.nexmdm.R

/** The agent's notifications and their channels. */
internal class Notices(private val context: Context) {
    private val manager = context.service<NotificationManager>()

    init {
        manager.createNotificationChannel(
            NotificationChannel(SERVICE_CHANNEL, context.getString(R.string.channel_service), NotificationManager.IMPORTANCE_MIN)
                .apply { description = context.getString(R.string.channel_service_description) },
        )
        manager.createNotificationChannel(
            NotificationChannel(ATTENTION_CHANNEL, context.getString(R.string.channel_attention), NotificationManager.IMPORTANCE_HIGH)
                .apply {
                    description = context.getString(R.string.channel_attention_description)
                    lockscreenVisibility = Notification.VISIBILITY_PUBLIC
                },
        )
    }

    /** The notification of the service that runs; [server] when enrolled. */
    fun service(server: String?, tapped: PendingIntent): Notification = Notification.Builder(context, SERVICE_CHANNEL)
        .setSmallIcon(R.drawable.ic_notification)
        .setContentTitle(context.getString(R.string.service_title))
        .setContentText(
            server?.let { context.getString(R.string.service_text_enrolled, it) } ?: context.getString(R.string.service_text_unenrolled),
        )
        .setContentIntent(tapped)
        .setOngoing(true)
        .setShowWhen(false)
        .build()

    /** Asks a person to confirm an installation. */
    fun askToInstall(sessionId: Int, app: String, confirm: PendingIntent) = manager.notify(
        INSTALL_TAG,
        sessionId,
        attention(R.string.install_prompt_title, context.getString(R.string.install_prompt_text, app))
            .setContentIntent(confirm).setAutoCancel(true).build(),
    )

    /** The installation needs no confirmation any more. */
    fun installDecided(sessionId: Int) = manager.cancel(INSTALL_TAG, sessionId)

    /** Says that the device rings, with a button that stops it. */
    fun ringing(stop: PendingIntent) = manager.notify(
        RING_ID,
        attention(R.string.ring_title, context.getString(R.string.ring_text))
            .setContentIntent(stop)
            .setDeleteIntent(stop)
            .setAutoCancel(true)
            .addAction(Notification.Action.Builder(null, context.getString(R.string.ring_stop), stop).build())
            .build(),
    )

    /** The device rings no more. */
    fun rang() = manager.cancel(RING_ID)

    /** Replaces the service's notification. */
    fun update(notification: Notification) = manager.notify(SERVICE_ID, notification)

    private fun attention(title: Int, text: String) = Notification.Builder(context, ATTENTION_CHANNEL)
        .setSmallIcon(R.drawable.ic_notification)
        .setContentTitle(context.getString(title))
        .setContentText(text)

    companion object {
        /** Id of the service's notification. */
        const val SERVICE_ID: Int = 1
        private const val RING_ID = 2
        private const val INSTALL_TAG = "install"
        private const val SERVICE_CHANNEL = "service"
        private const val ATTENTION_CHANNEL = "attention"
    }
}
