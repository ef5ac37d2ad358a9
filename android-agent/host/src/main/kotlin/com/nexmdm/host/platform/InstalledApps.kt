package com.nexmdm.host.platform

import com.nexmdm.host.device.AppProfile
import com.nexmdm.host.device.DeviceProfile
import com.nexmdm.host.device.SimulatedDevice
import com.nexmdm.host.storage.AtomicFile
import kotlinx.serialization.builtins.MapSerializer
import kotlinx.serialization.builtins.serializer
import kotlinx.serialization.json.Json
import java.io.File

/** The apps of the simulated device, by package; read anew each time, since tests change the file too. */
internal class InstalledApps(platformFolder: File) {
    private val file = platformFolder.resolve("apps.json")

    /** Installs what a new device has, if it is new. */
    fun seed(profile: DeviceProfile) {
        if (!file.isFile) write(profile.apps + (SimulatedDevice.AGENT_PACKAGE to profile.agent))
    }

    /** All of them. */
    fun all(): Map<String, AppProfile> = AtomicFile.read(file)?.let { json.decodeFromString(serializer, it) }.orEmpty()

    /** One of them. */
    fun find(packageName: String): AppProfile? = all()[packageName]

    /** Installs or replaces one. */
    @Synchronized
    fun put(packageName: String, app: AppProfile) = write(all() + (packageName to app))

    private fun write(apps: Map<String, AppProfile>) = AtomicFile.write(file, json.encodeToString(serializer, apps))

    private companion object {
        val serializer = MapSerializer(String.serializer(), AppProfile.serializer())
        val json = Json { ignoreUnknownKeys = true }
    }
}
