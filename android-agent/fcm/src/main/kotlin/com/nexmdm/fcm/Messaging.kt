package com.nexmdm.fcm

import android.content.Context
import com.google.android.gms.tasks.Task
import com.google.firebase.FirebaseApp
import com.google.firebase.FirebaseOptions
import com.google.firebase.messaging.FirebaseMessaging

/** What a source asks of Firebase. */
internal interface Messaging {
    /** The registration token; one is made if there is none. */
    fun token(): Task<String>

    /** Ends the registration. */
    fun deleteToken(): Task<Void>
}

/** Firebase's library, initialized for [project] when it is asked first. */
internal class FirebaseLibrary(private val context: Context, private val project: FirebaseProject) : Messaging {
    private val messaging: FirebaseMessaging by lazy {
        if (FirebaseApp.getApps(context).isEmpty()) {
            val options = FirebaseOptions.Builder().setProjectId(project.projectId).setGcmSenderId(project.senderId)
                .setApplicationId(project.applicationId).setApiKey(project.apiKey)
            FirebaseApp.initializeApp(context, options.build())
        }
        FirebaseMessaging.getInstance()
    }

    override fun token(): Task<String> = messaging.token

    override fun deleteToken(): Task<Void> = messaging.deleteToken()
}
