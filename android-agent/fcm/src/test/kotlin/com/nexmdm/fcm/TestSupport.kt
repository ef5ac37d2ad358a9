package com.nexmdm.fcm

import android.app.Application
import android.content.pm.ApplicationInfo
import android.content.pm.PackageInfo
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.PushListener
import com.nexmdm.push.PushHost
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import java.util.concurrent.CopyOnWriteArrayList

/** What happened, in order. */
internal val happened = CopyOnWriteArrayList<String>()

/** An application that keeps what is asked of it. */
internal class TestApplication : Application(), PushHost {
    override fun wakeByPush() {
        happened += "wake"
    }
}

internal class Listener : PushListener {
    val tokens = CopyOnWriteArrayList<String>()
    val messages = CopyOnWriteArrayList<Map<String, String>>()

    override fun onToken(token: String) {
        tokens += token
    }

    override fun onMessage(data: Map<String, String>) {
        happened += "message"
        messages += data
    }
}

/** A log that keeps its lines. */
internal class MemoryLog : EventLog {
    val lines = CopyOnWriteArrayList<String>()

    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        lines += "$event $fields"
    }
}

@RunWith(RobolectricTestRunner::class)
internal abstract class FcmTest {
    val app: Application = RuntimeEnvironment.getApplication()
    val log = MemoryLog()
    val listener = Listener()

    init {
        happened.clear()
    }

    fun installGoogleServices(enabled: Boolean = true) {
        val info = PackageInfo().apply {
            packageName = GOOGLE_SERVICES
            applicationInfo = ApplicationInfo().also {
                it.packageName = packageName
                it.enabled = enabled
            }
        }
        shadowOf(app.packageManager).installPackage(info)
    }
}
