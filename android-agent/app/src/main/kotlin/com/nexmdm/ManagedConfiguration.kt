package com.nexmdm

import android.content.Context
import android.content.RestrictionsManager
import android.os.UserManager
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.platform.service

/** Managed configuration (`res/xml/app_restrictions.xml`), by which another management system enrolls the agent. */
internal class ManagedConfiguration(private val context: Context) {
    /** What is configured, or null: nothing, no token, or the device was not unlocked since boot. */
    fun read(): EnrollmentRequest? {
        if (!context.service<UserManager>().isUserUnlocked) return null
        val values = context.service<RestrictionsManager>().applicationRestrictions ?: return null
        return EnrollmentRequest.fromValues(values::getString)?.takeIf { !it.token.isNullOrBlank() }
    }
}
