package com.nexmdm.platform

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.net.ConnectivityManager
import android.net.Network
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Handler
import android.os.Looper
import com.nexmdm.core.port.DeviceMonitor
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.NetworkState
import com.nexmdm.core.port.PowerState
import com.nexmdm.core.port.Transport
import com.nexmdm.core.port.warn
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow

/** Watches the default network and the battery from [start] to [stop]. */
internal class AndroidMonitor(private val context: Context, private val log: EventLog) : DeviceMonitor {
    private val mainThread = Handler(Looper.getMainLooper())
    private val connectivity = context.service<ConnectivityManager>()
    private val networkState = MutableStateFlow(OFFLINE)
    private val powerState = MutableStateFlow(PowerState(null, false))
    private var latest: NetworkCapabilities? = null
    private var started = false
    private var isNetworkWatched = false
    private var retryDelayMs = RETRY_MIN_MS

    override val network: StateFlow<NetworkState> = networkState.asStateFlow()
    override val power: StateFlow<PowerState> = powerState.asStateFlow()

    private val networkCallback = object : ConnectivityManager.NetworkCallback() {
        override fun onAvailable(network: Network) {
            mainThread.removeCallbacks(acceptUnvalidated)
            mainThread.postDelayed(acceptUnvalidated, UNVALIDATED_GRACE_MS)
        }

        override fun onCapabilitiesChanged(network: Network, capabilities: NetworkCapabilities) {
            latest = capabilities
            networkState.value = state(capabilities, networkState.value.validated && capabilities.inUseOnPurpose())
        }

        override fun onLost(network: Network) {
            latest = null
            mainThread.removeCallbacks(acceptUnvalidated)
            networkState.value = OFFLINE
        }
    }

    // A network without Internet is the default one only when there is no better or a person wants it; a server on the same
    // site is reached through it all the same. Not so a captive portal.
    private val acceptUnvalidated: Runnable = object : Runnable {
        override fun run() {
            latest?.let { networkState.value = state(it, it.inUseOnPurpose()) }
        }
    }

    private val watchAgain: Runnable = Runnable { watchNetwork() }

    private val batteryReceiver = object : BroadcastReceiver() {
        override fun onReceive(context: Context, intent: Intent) {
            powerState.value = powerOf(intent)
        }
    }

    /** Starts watching; once more is no change. */
    fun start() {
        if (started) return
        started = true
        context.registerReceiver(batteryReceiver, IntentFilter(Intent.ACTION_BATTERY_CHANGED))?.let { powerState.value = powerOf(it) }
        watchNetwork()
    }

    // Some makers' Android 11 refuses now and then, as does one whose limit of callbacks is used up.
    private fun watchNetwork() {
        try {
            connectivity.registerDefaultNetworkCallback(networkCallback, mainThread)
            isNetworkWatched = true
        } catch (e: RuntimeException) {
            log.warn("network.watch", "error" to e.javaClass.simpleName, "retry_ms" to retryDelayMs)
            mainThread.postDelayed(watchAgain, retryDelayMs)
            retryDelayMs = (retryDelayMs * 2).coerceAtMost(RETRY_MAX_MS)
        }
    }

    /** Stops watching. */
    fun stop() {
        if (!started) return
        started = false
        mainThread.removeCallbacks(acceptUnvalidated)
        mainThread.removeCallbacks(watchAgain)
        if (isNetworkWatched) connectivity.unregisterNetworkCallback(networkCallback)
        isNetworkWatched = false
        context.unregisterReceiver(batteryReceiver)
    }

    private fun state(capabilities: NetworkCapabilities, accepted: Boolean) =
        NetworkState(transportOf(capabilities), isValidated(capabilities) || accepted, isMetered(capabilities))

    private fun NetworkCapabilities.inUseOnPurpose() = !hasCapability(NetworkCapabilities.NET_CAPABILITY_CAPTIVE_PORTAL)

    companion object {
        /** How long the system may take to validate a network before it counts as one without Internet, ms. */
        const val UNVALIDATED_GRACE_MS: Long = 15_000

        private const val RETRY_MIN_MS = 5_000L
        private const val RETRY_MAX_MS = 300_000L

        private val OFFLINE = NetworkState(Transport.NONE, validated = false, metered = false)

        /** How a network connects; a VPN is reported as what carries it, where Android says so. */
        fun transportOf(capabilities: NetworkCapabilities): Transport = when {
            capabilities.hasTransport(NetworkCapabilities.TRANSPORT_WIFI) -> Transport.WIFI
            capabilities.hasTransport(NetworkCapabilities.TRANSPORT_ETHERNET) -> Transport.ETHERNET
            capabilities.hasTransport(NetworkCapabilities.TRANSPORT_CELLULAR) -> Transport.CELLULAR
            else -> Transport.OTHER
        }

        /** Whether the system reached the Internet through a network. */
        fun isValidated(capabilities: NetworkCapabilities): Boolean =
            capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_VALIDATED)

        /** Whether a network is metered. */
        fun isMetered(capabilities: NetworkCapabilities): Boolean =
            !capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)

        /** Reads `ACTION_BATTERY_CHANGED`. */
        fun powerOf(intent: Intent): PowerState {
            val level = intent.getIntExtra(BatteryManager.EXTRA_LEVEL, -1)
            val scale = intent.getIntExtra(BatteryManager.EXTRA_SCALE, -1)
            val status = intent.getIntExtra(BatteryManager.EXTRA_STATUS, BatteryManager.BATTERY_STATUS_UNKNOWN)
            val charging = status == BatteryManager.BATTERY_STATUS_CHARGING || status == BatteryManager.BATTERY_STATUS_FULL
            // A device without a battery, such as a box, lives on its plug.
            val present = intent.getBooleanExtra(BatteryManager.EXTRA_PRESENT, true)
            if (!present) return PowerState(null, charging = true)
            return PowerState(if (level < 0 || scale <= 0) null else (level * 100 / scale).coerceIn(0, 100), charging)
        }
    }
}
