package com.nexmdm

import android.app.Activity
import android.app.admin.DevicePolicyManager
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Bundle
import android.os.PersistableBundle
import com.nexmdm.core.agent.AgentPhase
import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.core.agent.EnrollmentAnswer
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowService
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

internal class ComponentsTest : FrameworkTest() {
    private fun startedService(): String? = shadowOf(app).nextStartedService?.component?.className

    @Test
    fun `boot, update and first boot before unlocking start the service`() {
        for (action in listOf(Intent.ACTION_LOCKED_BOOT_COMPLETED, Intent.ACTION_BOOT_COMPLETED, Intent.ACTION_MY_PACKAGE_REPLACED)) {
            val intent = Intent(action).setPackage(app.packageName)
            assertEquals(action, 1, app.packageManager.queryBroadcastReceivers(intent, 0).size)
            app.sendBroadcast(intent)
            awaitOnMain(action) { startedService() == AgentService::class.java.name }
        }
        assertEquals(3, recorded.calls.count { it == "prepare" })
    }

    @Test
    fun `an intent of another name starts nothing`() {
        BootReceiver().onReceive(app, Intent("com.example.OTHER"))
        assertNull(startedService())
    }

    @Test
    fun `the alarm starts the service`() {
        AlarmReceiver.target(app).send()
        awaitOnMain("service") { startedService() == AgentService::class.java.name }
        assertTrue("the service may come late or never", "wake alarm" in recorded.calls)
    }

    @Test
    fun `the process runs the agent and the service goes to the foreground`() {
        assertEquals("start", recorded.calls.first())
        val service = Robolectric.buildService(AgentService::class.java, Intent().putExtra("reason", "boot")).create()
        val sticky = service.get().onStartCommand(Intent().putExtra("reason", "boot"), 0, 1)
        assertEquals(android.app.Service.START_STICKY, sticky)
        assertTrue("wake boot" in recorded.calls)
        val notification = shadowOf(service.get()).lastForegroundNotification
        assertNotNull(notification)
        assertEquals("Not enrolled: tap to enroll", notification.extras.getString("android.text"))
        recorded.status.value = AgentStatus(AgentPhase.ENROLLED, server = "https://mdm.example")
        val manager = app.getSystemService(android.app.NotificationManager::class.java)
        awaitOnMain("server shown") {
            shadowOf(manager).allNotifications.any { it.extras.getString("android.text") == "Connected to https://mdm.example" }
        }
        service.destroy()
    }

    @Test
    @Config(sdk = [35])
    fun `a device owner's service is exempt, another's is of special use`() {
        val other = Robolectric.buildService(AgentService::class.java).create().get()
        assertEquals(ServiceInfo.FOREGROUND_SERVICE_TYPE_SPECIAL_USE, other.foregroundServiceType)
        becomeOwner()
        val owners = Robolectric.buildService(AgentService::class.java).create().get()
        assertEquals(ServiceInfo.FOREGROUND_SERVICE_TYPE_SYSTEM_EXEMPTED, owners.foregroundServiceType)
    }

    @Test
    @Config(sdk = [31, 35])
    fun `a service that Android keeps out of the foreground ends without a crash`() {
        val controller = Robolectric.buildService(AgentService::class.java)
        val shadow: ShadowService = shadowOf(controller.get())
        shadow.setThrowInStartForeground(IllegalStateException("not allowed"))
        controller.create()
        assertTrue(shadow.isStoppedBySelf)
        assertEquals(android.app.Service.START_NOT_STICKY, controller.get().onStartCommand(null, 0, 1))
        assertTrue("the agent works on", "wake restart" in recorded.calls)
    }

    @Test
    fun `the service of the device admin starts the agent's`() {
        Robolectric.buildService(NexDeviceAdminService::class.java).create()
        assertEquals(AgentService::class.java.name, startedService())
    }

    private class Answers : BroadcastReceiver() {
        val got = CountDownLatch(1)

        @Volatile var code = -1

        @Volatile var data: String? = null

        override fun onReceive(context: Context, intent: Intent) {
            code = resultCode
            data = resultData
            got.countDown()
        }
    }

    private fun broadcast(extras: Bundle): Answers {
        val answers = Answers()
        val intent = Intent("com.nexmdm.ENROLL").setClassName(app, "com.nexmdm.EnrollReceiver").putExtras(extras)
        app.sendOrderedBroadcast(intent, null, answers, null, 0, null, null)
        awaitOnMain("answer") { answers.got.await(0, TimeUnit.MILLISECONDS) }
        return answers
    }

    private fun enrollExtras() = Bundle().apply {
        putString("server_url", "https://mdm.example")
        putString("enrollment_token", "tok-secret")
        putString("alias", "kiosk-17")
    }

    @Test
    fun `the enroll broadcast answers with the agent's code and words`() {
        val codes = listOf(
            EnrollmentAnswer.ACCEPTED to "registering",
            EnrollmentAnswer.ENROLLED_HERE to "enrolled",
            EnrollmentAnswer.ENROLLED_ELSEWHERE to "elsewhere",
            EnrollmentAnswer.REFUSED to "no",
        )
        for ((code, words) in codes) {
            recorded.answer = EnrollmentAnswer(code, words)
            val answers = broadcast(enrollExtras())
            assertEquals(code, answers.code)
            assertEquals(words, answers.data)
        }
        val request = recorded.enrollments.first()
        assertEquals(listOf("https://mdm.example", "tok-secret", "kiosk-17"), listOf(request.serverUrl, request.token, request.alias))
        // Only what was accepted needs the service at once.
        awaitOnMain("service") { startedService() == AgentService::class.java.name }
        assertNull(startedService())
    }

    @Test
    fun `the enroll broadcast without a server is refused and asks nobody`() {
        val answers = broadcast(Bundle())
        assertEquals(4, answers.code)
        assertEquals("server_url is missing", answers.data)
        assertEquals(0, recorded.enrollments.size)
    }

    private fun provisioned(action: String) = Intent(action).putExtra(
        DevicePolicyManager.EXTRA_PROVISIONING_ADMIN_EXTRAS_BUNDLE,
        PersistableBundle().apply {
            putString("server_url", "https://mdm.example")
            putString("enrollment_token", "tok-secret")
        },
    )

    @Test
    fun `provisioning enrolls with the code's extras`() {
        val complete = provisioned("android.app.action.PROFILE_PROVISIONING_COMPLETE")
        app.sendBroadcast(complete.setClassName(app, "com.nexmdm.NexDeviceAdminReceiver"))
        awaitOnMain("enrollment") { recorded.enrollments.isNotEmpty() }
        assertEquals("tok-secret", recorded.enrollments.single().token)
        assertEquals(AgentService::class.java.name, startedService())
        assertTrue("prepare" in recorded.calls)
    }

    @Test
    @Config(sdk = [31, 35])
    fun `provisioning from Android 12 on asks for the mode and for compliance`() {
        val asked = provisioned("android.app.action.GET_PROVISIONING_MODE")
        val mode = Robolectric.buildActivity(ProvisioningModeActivity::class.java, asked).create()
        val result = shadowOf(mode.get())
        assertEquals(Activity.RESULT_OK, result.resultCode)
        assertEquals(1, result.resultIntent.getIntExtra("android.app.extra.PROVISIONING_MODE", -1))
        val key = DevicePolicyManager.EXTRA_PROVISIONING_ADMIN_EXTRAS_BUNDLE

        @Suppress("DEPRECATION")
        val handedOn = result.resultIntent.getParcelableExtra<PersistableBundle>(key)
        assertEquals("tok-secret", handedOn?.getString("enrollment_token"))

        val last = provisioned("android.app.action.ADMIN_POLICY_COMPLIANCE")
        val compliance = Robolectric.buildActivity(PolicyComplianceActivity::class.java, last).create()
        awaitOnMain("finished") { compliance.get().isFinishing }
        assertEquals(Activity.RESULT_OK, shadowOf(compliance.get()).resultCode)
        assertEquals("https://mdm.example", recorded.enrollments.single().serverUrl)
    }
}
