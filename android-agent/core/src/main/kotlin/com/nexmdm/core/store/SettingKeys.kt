package com.nexmdm.core.store

/** Keys of [AgentDatabase.setting] that more than one package uses. */
object SettingKeys {
    /** Package name of the app that the server wants watched. */
    const val MONITORED_APP: String = "monitored_app"

    /** Packages that were deployed, separated by blanks. */
    const val DEPLOYED_APPS: String = "deployed_apps"
}
