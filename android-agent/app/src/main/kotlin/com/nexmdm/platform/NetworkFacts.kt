package com.nexmdm.platform

import android.Manifest
import android.content.Context
import android.content.pm.PackageManager
import android.media.AudioManager
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.net.wifi.WifiManager
import android.telephony.TelephonyManager
import java.net.Inet4Address
import java.net.InetAddress

/** Addresses, names and calls. */
internal class NetworkFacts(private val context: Context) {
    private val connectivity = context.service<ConnectivityManager>()

    /** The device's address on the default network, IPv4 where there is one. */
    fun ip(): String? {
        val addresses = connectivity.getLinkProperties(connectivity.activeNetwork)?.linkAddresses.orEmpty().map { it.address }
        val usable = addresses.filterNot(InetAddress::isLoopbackAddress).filterNot(InetAddress::isLinkLocalAddress)
        return (usable.firstOrNull { it is Inet4Address } ?: usable.firstOrNull())?.hostAddress?.substringBefore('%')
    }

    /** Name of the Wi-Fi in use; null without location permission, with location turned off, or when there is none. */
    fun ssid(): String? {
        val manager = context.getSystemService(WifiManager::class.java) ?: return null
        val name = try {
            @Suppress("DEPRECATION")
            manager.connectionInfo?.ssid
        } catch (_: SecurityException) {
            null
        }
        return name?.takeIf { it.length > 2 && it.startsWith('"') && it.endsWith('"') }?.let { it.substring(1, it.length - 1) }
    }

    /** Whether the default network is a Wi-Fi. */
    fun isOnWifi(): Boolean =
        connectivity.getNetworkCapabilities(connectivity.activeNetwork)?.hasTransport(NetworkCapabilities.TRANSPORT_WIFI) == true

    /** Name of the mobile network's operator. */
    fun carrier(): String? = context.getSystemService(TelephonyManager::class.java)?.networkOperatorName?.ifBlank { null }

    /** Whether a call rings or is on, by telephone or by an app; null when that cannot be told. */
    fun inCall(): Boolean? {
        if (context.service<AudioManager>().mode in CALL_MODES) return true
        val telephony = context.getSystemService(TelephonyManager::class.java) ?: return false
        if (telephony.phoneType == TelephonyManager.PHONE_TYPE_NONE) return false
        if (context.checkSelfPermission(Manifest.permission.READ_PHONE_STATE) != PackageManager.PERMISSION_GRANTED) return null
        return try {
            @Suppress("DEPRECATION")
            telephony.callState != TelephonyManager.CALL_STATE_IDLE
        } catch (_: SecurityException) {
            null
        }
    }

    private companion object {
        val CALL_MODES = setOf(AudioManager.MODE_IN_CALL, AudioManager.MODE_IN_COMMUNICATION, AudioManager.MODE_RINGTONE)
    }
}
