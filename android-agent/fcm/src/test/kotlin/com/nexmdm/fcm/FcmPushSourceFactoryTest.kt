package com.nexmdm.fcm

import android.content.Context
import com.google.firebase.FirebaseApp
import com.google.firebase.messaging.FirebaseMessaging
import com.nexmdm.core.port.EventLog
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

internal class FcmPushSourceFactoryTest : FcmTest() {
    /** The source that the agent takes: the app's choice is not visible to other modules. */
    private fun chosen(): Any {
        val sources = Class.forName("com.nexmdm.push.PushSources")
        return sources.getMethod("of", Context::class.java, EventLog::class.java).invoke(sources.getField("INSTANCE").get(null), app, log)
    }

    @Test
    fun `with Google's services FCM is chosen, without UnifiedPush`() {
        assertEquals("com.nexmdm.push.UnifiedPushSource", chosen().javaClass.name)
        assertEquals("push.unavailable {reason=no_google_services}", log.lines.single())
        installGoogleServices(enabled = false)
        assertEquals("com.nexmdm.push.UnifiedPushSource", chosen().javaClass.name)
        installGoogleServices()
        assertTrue(chosen() is FcmPushSource)
    }

    @Test
    fun `a package that the project does not have gets no FCM`() {
        installGoogleServices()
        val renamed = object : android.content.ContextWrapper(app) {
            override fun getPackageName(): String = "com.example.mdm"
        }
        assertNull(FcmPushSourceFactory().create(renamed, log))
        assertEquals("push.unavailable {reason=no_project}", log.lines.single())
        assertNotNull(FcmPushSourceFactory().create(app, log))
    }

    @Test
    fun `choosing does not initialize Firebase, asking does, with the project of the file`() {
        installGoogleServices()
        chosen()
        assertTrue(FirebaseApp.getApps(app).isEmpty())
        val project = FirebaseProject.parse(app.assets.open("google-services.json").use { it.readBytes().decodeToString() }, "com.nexmdm")
        // The library's parts are found by what is left of its manifests. Without a token there is nothing to delete, and nobody is asked.
        assertTrue(FirebaseLibrary(app, project).deleteToken().isSuccessful)
        val options = FirebaseApp.getInstance().options
        assertEquals("made-up-for-tests", options.projectId)
        assertEquals("100000000001", options.gcmSenderId)
        assertEquals("1:100000000001:android:00000000000000000000bb", options.applicationId)
        assertEquals("A-made-up-key-for-tests-of-the-agent-00", options.apiKey)
        val messaging = FirebaseMessaging.getInstance()
        assertFalse(messaging.isAutoInitEnabled)
        assertFalse(messaging.deliveryMetricsExportToBigQueryEnabled())
        assertFalse(FirebaseApp.getInstance().isDataCollectionDefaultEnabled)
    }
}
