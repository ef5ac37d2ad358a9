package com.nexmdm

import android.app.Application
import android.app.admin.DevicePolicyManager
import android.content.ComponentName
import android.content.Intent
import android.content.IntentSender
import android.content.pm.PackageInfo
import android.content.pm.PackageInstaller
import android.os.BadParcelableException
import android.os.Build
import android.os.Looper
import android.provider.Settings
import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.Level
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.SecretKeySource
import com.nexmdm.platform.service
import kotlinx.coroutines.flow.MutableStateFlow
import org.junit.Assert.fail
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.shadows.ShadowDevicePolicyManager
import org.robolectric.shadows.ShadowPackageInstaller
import java.io.ByteArrayOutputStream
import java.io.OutputStream
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.Executor
import javax.crypto.SecretKey
import javax.crypto.spec.SecretKeySpec

/** An agent that keeps what the components ask of it. */
internal class RecordingAgent : AgentHandle {
    override val status = MutableStateFlow(AgentStatus(agentVersionCode = 7))
    override val versionName = "1.2.3"
    var answer = EnrollmentAnswer(EnrollmentAnswer.ACCEPTED, "accepted")
    val enrollments = CopyOnWriteArrayList<EnrollmentRequest>()
    val calls = CopyOnWriteArrayList<String>()

    override fun start() {
        calls += "start"
    }

    override suspend fun enroll(request: EnrollmentRequest): EnrollmentAnswer {
        enrollments += request
        return answer
    }

    override fun wake(reason: String) {
        calls += "wake $reason"
    }

    override fun syncNow() {
        calls += "sync"
    }

    override fun prepare() {
        calls += "prepare"
    }

    override fun exportLog(to: OutputStream) = to.write("the log".toByteArray())
}

internal class TestAgentApplication : AgentApplication() {
    val recorded = RecordingAgent()

    override fun createAgent(): AgentHandle = recorded
}

/** A log that keeps its lines. */
internal class MemoryLog : EventLog {
    val lines = CopyOnWriteArrayList<String>()

    override fun log(level: Level, event: String, fields: Map<String, Any?>) {
        lines += "$event $fields"
    }
}

/** Robolectric has no Android Keystore: a key in memory instead, used by the product's own code. */
internal class TestKeys(private val key: () -> SecretKey?) : SecretKeySource {
    @Volatile var generated = 0

    override fun existing(): SecretKey? = key()

    override fun existingOrGenerated(): SecretKey = existing() ?: SecretKeySpec(ByteArray(32) { 7 }, "AES").also { generated++ }
}

internal val testKeys = TestKeys { SecretKeySpec(ByteArray(32) { it.toByte() }, "AES") }

/**
 * An intent whose extras cannot be read: as when another app put an object of a class in that this app does not have, for which
 * Android up to 12 reads none of the extras.
 */
internal class UnreadableIntent(action: String) : Intent(action) {
    override fun getStringExtra(name: String): String? = throw BadParcelableException("ClassNotFoundException when unmarshalling")
}

@RunWith(RobolectricTestRunner::class)
internal abstract class FrameworkTest {
    val app: Application = RuntimeEnvironment.getApplication()
    val recorded: RecordingAgent get() = (app as TestAgentApplication).recorded
    val log = MemoryLog()
    val owner = DeviceOwner(app, log)
    val policy: DevicePolicyManager = app.service()

    fun becomeOwner() {
        shadowOf(policy).setActiveAdmin(ComponentName(app, NexDeviceAdminReceiver::class.java))
        shadowOf(policy).setDeviceOwner(ComponentName(app, NexDeviceAdminReceiver::class.java))
    }

    fun install(packageName: String, change: (PackageInfo) -> Unit = {}) {
        val info = PackageInfo().apply {
            this.packageName = packageName
            versionName = "2.0"
            @Suppress("DEPRECATION")
            versionCode = 20
            applicationInfo = android.content.pm.ApplicationInfo().apply { this.packageName = packageName }
        }
        change(info)
        shadowOf(app.packageManager).installPackage(info)
    }

    /** Runs the main thread until [condition] holds; other threads contribute to it. */
    fun awaitOnMain(what: String, condition: () -> Boolean) {
        val deadline = System.nanoTime() + 10_000_000_000
        while (!condition()) {
            if (System.nanoTime() > deadline) fail("not within 10 s: $what")
            shadowOf(Looper.getMainLooper()).idle()
            Thread.yield()
        }
    }

    companion object {
        val sdk: Int get() = Build.VERSION.SDK_INT
    }
}

/** Keeps calls that Robolectric has no shadow for. */
@Implements(DevicePolicyManager::class)
internal class RecordingPolicyManager : ShadowDevicePolicyManager() {
    @Implementation
    fun reboot(admin: ComponentName) {
        refusal?.let { throw it }
        calls += "reboot ${admin.flattenToShortString()}"
    }

    @Implementation
    override fun lockNow() {
        calls += "lock"
    }

    @Implementation(minSdk = 28)
    fun clearApplicationUserData(
        admin: ComponentName,
        packageName: String,
        executor: Executor,
        listener: DevicePolicyManager.OnClearApplicationUserDataListener,
    ) {
        calls += "clear $packageName ${admin.className}"
        executor.execute { listener.onApplicationUserDataCleared(packageName, packageName != "com.example.stubborn") }
    }

    @Implementation(minSdk = 28)
    fun setSystemSetting(admin: ComponentName, setting: String, value: String) {
        calls += "setting $setting $value ${admin.className}"
        if (!keepsSettings) Settings.System.putInt(RuntimeEnvironment.getApplication().contentResolver, setting, value.toInt())
    }

    @Implementation(minSdk = 30)
    fun setUserControlDisabledPackages(admin: ComponentName, packages: List<String>) {
        calls += "user control $packages ${admin.className}"
    }

    companion object {
        val calls = CopyOnWriteArrayList<String>()
        var refusal: RuntimeException? = null

        /** Whether the device keeps its settings whatever it is told. */
        var keepsSettings = false

        fun clear() {
            calls.clear()
            refusal = null
            keepsSettings = false
        }
    }
}

/** Keeps the parameters of sessions. */
@Implements(PackageInstaller::class)
internal class RecordingPackageInstaller : ShadowPackageInstaller() {
    @Implementation
    override fun createSession(params: PackageInstaller.SessionParams): Int {
        latest = params
        return super.createSession(params)
    }

    companion object {
        var latest: PackageInstaller.SessionParams? = null
    }
}

/** Keeps what was written and where the verdict goes; the test is the system that decides. */
@Implements(PackageInstaller.Session::class)
internal class RecordingSession : ShadowPackageInstaller.ShadowSession() {
    @Implementation
    override fun openWrite(name: String, offsetBytes: Long, lengthBytes: Long): OutputStream {
        failure?.let { throw it }
        return object : ByteArrayOutputStream() {
            override fun close() {
                written = name to toByteArray()
            }
        }
    }

    @Implementation
    override fun fsync(out: OutputStream) {
        synced = true
    }

    @Implementation
    override fun commit(statusReceiver: IntentSender) {
        receiver = statusReceiver
    }

    companion object {
        @Volatile var written: Pair<String, ByteArray>? = null

        @Volatile var receiver: IntentSender? = null

        @Volatile var synced = false
        var failure: java.io.IOException? = null

        fun clear() {
            written = null
            receiver = null
            synced = false
            failure = null
        }
    }
}
