package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.AppInstaller
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.DownloadFolder
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import java.io.File

/** The Android below the agent: it outlives the agent's process. */
class FakePlatform(private val switch: KillSwitch, override val folder: File) :
    AppInstaller, Actions, DeviceFacts, DeviceMonitor, DownloadFolder {
    /** Installed apps. */
    val apps: MutableMap<String, InstalledApp> = mutableMapOf(AGENT to InstalledApp(AGENT_VERSION, "1.0", setOf(SIGNER)))

    /** What is read in any file. */
    var apk: ApkFacts? = null

    /** What installing comes to; null: never a verdict. */
    var verdict: InstallVerdict? = InstallVerdict.Installed
    var installMs = 1_000L

    /** Packages that were given to the package manager, in order. */
    val commits: MutableList<String> = mutableListOf()

    /** Whether a commit is still undecided for a process that missed it. */
    var undecided = false

    /** Checks that are made when something is committed. */
    var onCommit: () -> Unit = {}

    /** Intents that were sent. */
    val intents: MutableList<PlatformAction> = mutableListOf()
    var intentOutcome = ActionOutcome.SUCCESS

    /** State of the device. */
    var readings = DeviceReadings(
        "1.0", AGENT_VERSION, "boot", batteryPct = 80, charging = false, transport = Transport.WIFI, metered = false,
        inCall = false, storageFreeMb = 4_096, sdkInt = 33,
    )
    var free: Long = 1L shl 32
    override val network = MutableStateFlow(NetworkState(Transport.WIFI, validated = true, metered = false))
    override val power = MutableStateFlow(PowerState(80, charging = false))

    /** Changes network in readings and callbacks alike. */
    fun connect(transport: Transport, metered: Boolean = false) {
        readings = readings.copy(transport = transport, metered = metered)
        network.value = NetworkState(transport, transport != Transport.NONE, metered)
    }

    override suspend fun installed(packageName: String): InstalledApp? {
        switch.tick("installed?")
        return apps[packageName]
    }

    override suspend fun inspect(apk: File): ApkFacts? {
        switch.tick("inspect")
        return this.apk
    }

    override suspend fun install(apk: File, packageName: String, sizeBytes: Long): InstallVerdict {
        switch.tick("commit session")
        check(apk.length() == sizeBytes) { "a file of ${apk.length()} bytes is installed" }
        commits += packageName
        onCommit()
        delay(installMs)
        val end = verdict ?: awaitCancellation()
        if (end == InstallVerdict.Installed) {
            val facts = checkNotNull(this.apk)
            apps[packageName] = InstalledApp(facts.versionCode, "new", facts.signerSha256 + facts.lineageSha256)
            // Android replaces the agent: its process dies in here.
            if (packageName == AGENT) switch.kill("replaced")
        }
        switch.tick("verdict")
        return end
    }

    override suspend fun isUndecided(packageName: String): Boolean = undecided

    override suspend fun abandonStale(packageName: String) = Unit

    override suspend fun perform(action: PlatformAction): ActionOutcome {
        switch.tick("intent")
        intents += action
        switch.tick("intent sent")
        return intentOutcome
    }

    override suspend fun read(monitoredApp: String?, deployedApps: Set<String>): DeviceReadings = readings

    override fun bootId(): String = "boot"

    override fun agentVersionCode(): Long = apps.getValue(AGENT).versionCode

    override fun agentPackage(): String = AGENT

    override fun freeBytes(): Long = free

    companion object {
        const val AGENT = "com.nexmdm"
        const val AGENT_VERSION = 140L
        val SIGNER = "ab".repeat(32)
    }
}
