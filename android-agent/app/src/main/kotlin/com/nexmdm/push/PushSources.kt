package com.nexmdm.push

import android.content.Context
import android.content.pm.PackageManager
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.warn

/** Chooses what receives push messages. */
internal object PushSources {
    /** Name of the application's `meta-data` that names a class with a constructor of a [Context]. */
    const val META_DATA: String = "com.nexmdm.PUSH_SOURCE"

    /** The source that the manifest names, so that a module such as FCM adds itself by its manifest alone; else UnifiedPush. */
    fun of(context: Context, log: EventLog): PushSource {
        val application = context.packageManager.getApplicationInfo(context.packageName, PackageManager.GET_META_DATA)
        val name = application.metaData?.getString(META_DATA)
        if (name != null) {
            try {
                return Class.forName(name).getConstructor(Context::class.java).newInstance(context) as PushSource
            } catch (e: ReflectiveOperationException) {
                log.warn("push.source", "class" to name, "error" to e.javaClass.simpleName)
            }
        }
        return UnifiedPushSource(context, log)
    }
}
