package com.nexmdm.platform

import android.Manifest
import android.app.admin.DevicePolicyManager
import android.content.ComponentName
import android.content.Context
import android.os.Build
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn

/** Name of the device admin's class, which enrollment scripts and QR codes name too. */
internal const val ADMIN_CLASS = "com.nexmdm.NexDeviceAdminReceiver"

/** What the agent may do because it owns the device. */
internal class DeviceOwner(private val context: Context, private val log: EventLog) {
    /** The policy manager. */
    val policy: DevicePolicyManager = context.service()

    /** The agent's device admin. */
    val admin: ComponentName = ComponentName(context.packageName, ADMIN_CLASS)

    /** Whether the agent is device owner. */
    val isOwner: Boolean get() = policy.isDeviceOwnerApp(context.packageName)

    /**
     * Grants the agent the permissions that it asks for and keeps people from stopping it. Does nothing unless it is device
     * owner; may be repeated. Usage access is an app operation, which no device owner can grant: the enrollment script does, or a
     * person in the settings.
     */
    fun grantItself() {
        if (!isOwner) return
        for (permission in permissions()) {
            val name = permission.substringAfterLast('.')
            attempt("grant", name) {
                val granted = DevicePolicyManager.PERMISSION_GRANT_STATE_GRANTED
                if (!policy.setPermissionGrantState(admin, context.packageName, permission, granted)) {
                    log.warn("owner.refused", "what" to "grant", "permission" to name)
                }
            }
        }
        attempt("uninstall_block", null) { policy.setUninstallBlocked(admin, context.packageName, true) }
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) attempt("user_control", null) { keepFromBeingStopped() }
        log.info("owner.prepared", "sdk" to Build.VERSION.SDK_INT)
    }

    private fun permissions(): List<String> = buildList {
        add(Manifest.permission.ACCESS_COARSE_LOCATION)
        add(Manifest.permission.ACCESS_FINE_LOCATION)
        // The name of the Wi-Fi, read by a service: from Android 10 on that takes this one.
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) add("android.permission.ACCESS_BACKGROUND_LOCATION")
        add(Manifest.permission.READ_PHONE_STATE)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) add("android.permission.POST_NOTIFICATIONS")
    }

    @GuardedBySdk
    private fun keepFromBeingStopped() = policy.setUserControlDisabledPackages(admin, listOf(context.packageName))

    /** Makers change what an owner may do; one refusal must not keep the agent from the rest. */
    private inline fun attempt(what: String, permission: String?, block: () -> Unit) = try {
        block()
    } catch (e: RuntimeException) {
        log.warn("owner.refused", "what" to what, "permission" to permission, "error" to e.message)
    }
}
