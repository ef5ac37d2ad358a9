package com.nexmdm.fcm

import android.content.Context
import android.content.pm.PackageManager
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.push.PushSourceFactory
import java.io.IOException

/** Makes the source of FCM where Google's services are on the device. */
class FcmPushSourceFactory : PushSourceFactory {
    override fun create(context: Context, log: EventLog): PushSource? {
        if (!hasGoogleServices(context)) {
            log.info("push.unavailable", "reason" to "no_google_services")
            return null
        }
        val project = project(context)
        if (project == null) log.warn("push.unavailable", "reason" to "no_project")
        return project?.let { FcmPushSource(FirebaseLibrary(context, it), log) }
    }

    // The build checks the file; here it can be for another package than the one that the APK was renamed to afterwards.
    private fun project(context: Context): FirebaseProject? = try {
        FirebaseProject.parse(context.assets.open(FirebaseProject.FILE).use { it.readBytes().decodeToString() }, context.packageName)
    } catch (_: IOException) {
        null
    } catch (_: IllegalArgumentException) {
        null
    }
}

/** Package of Google's services, or of what stands in for them. */
internal const val GOOGLE_SERVICES: String = "com.google.android.gms"

/** Whether Google's services are on the device. */
internal fun hasGoogleServices(context: Context): Boolean = try {
    context.packageManager.getApplicationInfo(GOOGLE_SERVICES, 0).enabled
} catch (_: PackageManager.NameNotFoundException) {
    false
}
