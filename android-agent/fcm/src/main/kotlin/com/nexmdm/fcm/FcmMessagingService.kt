package com.nexmdm.fcm

import com.google.firebase.messaging.FirebaseMessagingService
import com.google.firebase.messaging.RemoteMessage
import com.nexmdm.push.PushHost

/** Takes messages and tokens from Google's services. */
class FcmMessagingService : FirebaseMessagingService() {
    override fun onMessageReceived(message: RemoteMessage) {
        if (wake()) Mailbox.message(message.data)
    }

    /** Messages were dropped, because there were too many or they were too old: what they said is on the server. */
    override fun onDeletedMessages() {
        wake()
    }

    override fun onNewToken(token: String) = Mailbox.token(token)

    /**
     * Wakes the agent, before a message is handed over: Google's services let the device sleep again when this service is through with it.
     * False without Google's services: any app can hold the permission that guards the library's receiver then.
     */
    private fun wake(): Boolean {
        if (!hasGoogleServices(this)) return false
        (applicationContext as PushHost).wakeByPush()
        return true
    }
}
