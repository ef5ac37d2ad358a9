package com.nexmdm.action

import android.content.Context
import android.net.wifi.WifiConfiguration
import android.net.wifi.WifiManager
import android.net.wifi.WifiNetworkSuggestion
import android.os.Build
import com.nexmdm.action.AndroidActions.Companion.NOT_OWNER
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.GuardedBySdk
import com.nexmdm.platform.NetworkFacts
import kotlinx.coroutines.delay

/**
 * Joins a Wi-Fi: by a saved configuration, which any app may make below Android 10 and a device owner on every version; else by a
 * suggestion, which a person has to accept.
 */
@Suppress("DEPRECATION") // WifiConfiguration is deprecated for all but device owners.
internal class WifiJoiner(
    private val context: Context,
    private val owner: DeviceOwner,
    private val joinTimeoutMs: Long = 30_000,
    private val facts: NetworkFacts = NetworkFacts(context),
    /** Name of the Wi-Fi that the device is in, if that can be read. */
    private val currentSsid: () -> String? = facts::ssid,
) {

    /** Saves the network, makes Android prefer it and waits until the device is in it. */
    suspend fun join(wanted: PlatformAction.WifiConnect): ActionOutcome {
        val wifi = context.getSystemService(WifiManager::class.java)
            ?: return ActionOutcome.failed("not_supported", "the device has no Wi-Fi")
        if (wanted.security == WPA3 && Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) {
            return ActionOutcome.failed("not_supported", "WPA3 needs Android 10 or newer")
        }
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q && !owner.isOwner) return suggest(wifi, wanted)
        if (!wifi.isWifiEnabled && !wifi.setWifiEnabled(true)) return NOT_OWNER
        val configuration = configuration(wanted)
        val id = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) addPrivileged(wifi, configuration) else wifi.addNetwork(configuration)
        if (id < 0) return ActionOutcome.failed("not_permitted", "Android did not take the network")
        if (!wifi.enableNetwork(id, true)) return ActionOutcome.failed("not_permitted", "Android did not switch to the network")
        wifi.reconnect()
        return when {
            isIn(wanted.ssid) -> ActionOutcome.SUCCESS
            currentSsid() == null && facts.isOnWifi() ->
                ActionOutcome("success", message = "saved; without location permission the agent cannot see which Wi-Fi the device is in")
            else -> {
                val why = "saved, but not joined within ${joinTimeoutMs / 1_000} s: out of range, or the password is wrong"
                ActionOutcome.failed("not_connected", why)
            }
        }
    }

    private suspend fun isIn(ssid: String): Boolean {
        var waitedMs = 0L
        while (currentSsid() != ssid) {
            if (waitedMs >= joinTimeoutMs) return false
            delay(CHECK_MS)
            waitedMs += CHECK_MS
        }
        return true
    }

    private fun configuration(wanted: PlatformAction.WifiConnect) = WifiConfiguration().apply {
        SSID = "\"${wanted.ssid}\""
        when (wanted.security) {
            OPEN -> allowedKeyManagement.set(WifiConfiguration.KeyMgmt.NONE)
            WPA3 -> {
                if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) useSae(this) else useSaeBefore30(this)
                preSharedKey = "\"${wanted.password.orEmpty()}\""
            }
            else -> {
                allowedKeyManagement.set(WifiConfiguration.KeyMgmt.WPA_PSK)
                preSharedKey = "\"${wanted.password.orEmpty()}\""
            }
        }
    }

    @GuardedBySdk
    private fun addPrivileged(wifi: WifiManager, configuration: WifiConfiguration) = wifi.addNetworkPrivileged(configuration).networkId

    @GuardedBySdk
    private fun useSae(configuration: WifiConfiguration) = configuration.setSecurityParams(WifiConfiguration.SECURITY_TYPE_SAE)

    @GuardedBySdk
    private fun useSaeBefore30(configuration: WifiConfiguration) {
        configuration.allowedKeyManagement.set(KEY_MGMT_SAE)
        // WPA3 asks for protected management frames. The field is public on Android 10 and hidden from the SDK; where it cannot be
        // set, the access point decides.
        runCatching { configuration.javaClass.getField("requirePMF").setBoolean(configuration, true) }
    }

    @GuardedBySdk
    private fun suggest(wifi: WifiManager, wanted: PlatformAction.WifiConnect): ActionOutcome {
        val suggestion = WifiNetworkSuggestion.Builder().setSsid(wanted.ssid).apply {
            val password = wanted.password
            if (password != null && wanted.security == WPA3) setWpa3Passphrase(password)
            if (password != null && wanted.security != WPA3) setWpa2Passphrase(password)
        }.build()
        val status = wifi.addNetworkSuggestions(listOf(suggestion))
        val done = status == WifiManager.STATUS_NETWORK_SUGGESTIONS_SUCCESS ||
            status == WifiManager.STATUS_NETWORK_SUGGESTIONS_ERROR_ADD_DUPLICATE
        val why = if (done) "suggested; a person has to accept it, since the agent is not device owner" else "refused with $status"
        return ActionOutcome.failed("not_permitted", why)
    }

    private companion object {
        const val OPEN = "open"
        const val WPA3 = "wpa3"
        const val CHECK_MS = 1_000L

        /** `WifiConfiguration.KeyMgmt.SAE`, public since API 29. */
        const val KEY_MGMT_SAE = 8
    }
}
