package com.nexmdm.core.port

import kotlinx.serialization.json.JsonObject

/** What the platform does for a command, parameters checked. Those that the core does itself are not among them. */
sealed interface PlatformAction {
    /** Makes a noise that stops after [durationS] or when a person stops it. */
    data class Ring(val durationS: Int) : PlatformAction

    /** Reboots. The process ends; the result is told after the boot. */
    data object Reboot : PlatformAction

    /** Brings an app to the front, by its launcher entry or by the action of an intent. */
    data class LaunchApp(val packageName: String, val intentAction: String?) : PlatformAction

    /** Stops an app and starts it. */
    data class RestartApp(val packageName: String) : PlatformAction

    /** Clears an app's data. */
    data class ClearAppData(val packageName: String) : PlatformAction

    /** Turns the screen on. */
    data object Wake : PlatformAction

    /** Locks the screen. */
    data object Lock : PlatformAction

    /** Sets the brightness of the screen, 0 to 100 percent, and turns the automatic one off. */
    data class SetBrightness(val levelPct: Int) : PlatformAction

    /** Watches another app from now on. */
    data class SetMonitoredApp(val packageName: String) : PlatformAction

    /** Joins a Wi-Fi; [security] is `open`, `wpa2` or `wpa3`. */
    class WifiConnect(val ssid: String, val security: String, val password: String?) : PlatformAction

    /** Runs a program that administrators allowed by [name]; no shell in between. */
    data class Exec(val name: String, val argv: List<String>) : PlatformAction

    /** Sends the intent that follows an installation. */
    data class RestartIntent(val packageName: String, val action: String, val extras: JsonObject) : PlatformAction
}

/** How an action ended. */
data class ActionOutcome(
    /** `success`, `failed`, `skipped` or `timeout`. */
    val outcome: String,
    /** For programs, such as `not_permitted`, `not_installed`, `bad_params`. */
    val code: String? = null,
    /** For people, at most 1,000 characters; no secrets. */
    val message: String? = null,
    /** What the action yields. */
    val data: JsonObject? = null,
) {
    companion object {
        /** It was done. */
        val SUCCESS: ActionOutcome = ActionOutcome("success")

        /** It could not be done. */
        fun failed(code: String, message: String? = null): ActionOutcome = ActionOutcome("failed", code, message)
    }
}

/** The platform's calls behind commands. */
interface Actions {
    /** Performs [action]; never throws but for cancellation. */
    suspend fun perform(action: PlatformAction): ActionOutcome
}
