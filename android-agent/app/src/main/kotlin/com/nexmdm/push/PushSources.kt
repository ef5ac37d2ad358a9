package com.nexmdm.push

import android.content.Context
import android.content.pm.PackageManager
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.warn

/** Makes a source of push messages for [PushSources]; has a constructor without parameters. */
interface PushSourceFactory {
    /** The source, or null where the device or the build lacks what it needs. */
    fun create(context: Context, log: EventLog): PushSource?
}

/** The application, as a source of another module sees it. */
interface PushHost {
    /** Keeps the device awake and lets the agent look what there is to do. */
    fun wakeByPush()
}

/** Chooses what receives push messages. */
internal object PushSources {
    /** Name of the application's `meta-data` that names a [PushSourceFactory]. */
    const val META_DATA: String = "com.nexmdm.PUSH_SOURCE"

    /** The source of the factory that the manifest names, so that a module adds itself by its manifest alone; else UnifiedPush. */
    fun of(context: Context, log: EventLog): PushSource {
        val application = context.packageManager.getApplicationInfo(context.packageName, PackageManager.GET_META_DATA)
        val name = application.metaData?.getString(META_DATA)
        return name?.let { make(it, context, log) } ?: UnifiedPushSource(context, log)
    }

    private fun make(name: String, context: Context, log: EventLog): PushSource? = try {
        (Class.forName(name).getConstructor().newInstance() as PushSourceFactory).create(context, log)
    } catch (e: ReflectiveOperationException) {
        log.warn("push.source", "class" to name, "error" to e.javaClass.simpleName)
        null
    }
}
