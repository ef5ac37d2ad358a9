package com.nexmdm

import android.app.admin.DeviceAdminReceiver
import android.app.admin.DeviceAdminService
import android.content.Context
import android.content.Intent

/** The device admin: becomes device owner by `adb shell dpm set-device-owner` or by provisioning with a QR code. */
internal class NexDeviceAdminReceiver : DeviceAdminReceiver() {
    override fun onEnabled(context: Context, intent: Intent) {
        context.agent.prepare()
        AgentService.start(context, "admin_enabled")
    }

    override fun onProfileProvisioningComplete(context: Context, intent: Intent) {
        context.agent.prepare()
        // From Android 12 on, PolicyComplianceActivity was asked before; the same token twice is answered as enrolled or accepted.
        ProvisioningExtras.enroll(context, intent, goAsync()::finish)
        AgentService.start(context, "provisioned")
    }
}

/** Android binds this service of a device owner from boot on and again after the process died, which keeps the agent running. */
internal class NexDeviceAdminService : DeviceAdminService() {
    override fun onCreate() {
        super.onCreate()
        AgentService.start(this, "admin_service")
    }
}
