package com.nexmdm.core.store

/** Packages that the server deploys to this device: heartbeats report their versions. */
class DeployedApps(private val database: AgentDatabase) {
    /** Their names, the one that was deployed last at the end. Throws [com.nexmdm.core.port.SqlException]. */
    fun names(): Set<String> =
        database.setting(SettingKeys.DEPLOYED_APPS)?.split(SEPARATOR)?.filterTo(linkedSetOf()) { it.isNotEmpty() }.orEmpty()

    /** Adds a package; beyond [APPS_MAX] the one that was deployed longest ago goes. Throws [com.nexmdm.core.port.SqlException]. */
    fun add(packageName: String) {
        val names = (names() - packageName + packageName).toList().takeLast(APPS_MAX)
        database.putSetting(SettingKeys.DEPLOYED_APPS, names.joinToString(SEPARATOR))
    }

    private companion object {
        /** Number of packages whose versions a heartbeat reports. */
        const val APPS_MAX = 50

        /** No package name holds a blank. */
        const val SEPARATOR = " "
    }
}
