package com.nexmdm.push

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.SharedPreferences
import android.os.Handler
import android.os.Looper
import com.nexmdm.agent
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PushListener
import com.nexmdm.core.port.PushSource
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.platform.deviceProtected
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.contentOrNull
import java.security.MessageDigest
import java.security.SecureRandom

/**
 * UnifiedPush by its broadcast protocol (github.com/UnifiedPush/specifications, specifications/android.md, AND_2): an app on the
 * device, the distributor, holds the connection and hands messages on. The address that the server is told is the URL of the
 * distributor's push server; a message is the JSON object of a command's fields, all text.
 *
 * A distributor is taken where there is just one, or the one that was taken before; with several, the first by name, so that every
 * device of a fleet takes the same one.
 */
internal class UnifiedPushSource(private val context: Context, private val log: EventLog) : PushSource {
    private val store = store(context)
    private val mainThread = Handler(Looper.getMainLooper())
    private val registerAgain = Runnable { register() }

    override fun start(listener: PushListener) {
        store.getString(ENDPOINT, null)?.let(listener::onToken)
        register()
        attach(this, listener)
    }

    override fun stop() {
        detach(this)
        mainThread.removeCallbacks(registerAgain)
        val distributor = store.getString(DISTRIBUTOR, null) ?: return
        send(distributor, ACTION_UNREGISTER)
        store.edit().clear().apply()
    }

    private fun register() {
        val distributor = distributor()
        if (distributor == null) {
            log.info("push.none")
            return
        }
        if (distributor != store.getString(DISTRIBUTOR, null) || store.getString(SECRET, null) == null) renew(distributor)
        send(distributor, ACTION_REGISTER)
        log.info("push.register", "distributor" to distributor)
    }

    /** A new secret for a registration that does not exist or failed: a distributor may not take the old one again. */
    private fun renew(distributor: String) {
        val secret = ByteArray(SECRET_BYTES).also(SecureRandom()::nextBytes).joinToString("") { "%02x".format(it) }
        store.edit().clear().putString(DISTRIBUTOR, distributor).putString(SECRET, secret).commit()
    }

    private fun distributor(): String? {
        val known = context.packageManager.queryBroadcastReceivers(Intent(ACTION_REGISTER), 0)
            .mapNotNull { it.activityInfo?.packageName }.filter { it != context.packageName }.distinct().sorted()
        return store.getString(DISTRIBUTOR, null)?.takeIf(known::contains) ?: known.firstOrNull()
    }

    private fun send(distributor: String, action: String, messageId: String? = null) {
        val intent = Intent(action).setPackage(distributor)
            .putExtra(EXTRA_TOKEN, store.getString(SECRET, null))
            .putExtra(EXTRA_APPLICATION, context.packageName)
        messageId?.let { intent.putExtra(EXTRA_MESSAGE_ID, it) }
        context.sendBroadcast(intent)
    }

    /** Takes a broadcast that says that it comes from the distributor; false when it does not. */
    private fun receive(broadcast: DistributorBroadcast, listener: PushListener): Boolean {
        if (!isAuthentic(broadcast, store)) {
            log.warn("push.refused", "reason" to "foreign")
            return false
        }
        when (broadcast.action) {
            ACTION_NEW_ENDPOINT -> endpoint(broadcast.endpoint, listener)
            ACTION_MESSAGE -> message(broadcast, listener)
            ACTION_UNREGISTERED -> {
                log.warn("push.unregistered")
                lookAgainLater()
            }
            ACTION_REGISTRATION_FAILED -> {
                log.warn("push.failed", "reason" to broadcast.reason)
                lookAgainLater()
            }
        }
        return true
    }

    /** The specification asks for another secret at the next attempt: nothing of this registration is kept. */
    private fun lookAgainLater() {
        store.edit().clear().apply()
        mainThread.removeCallbacks(registerAgain)
        mainThread.postDelayed(registerAgain, REGISTER_AGAIN_MS)
    }

    private fun endpoint(url: String?, listener: PushListener) {
        if (url == null || url.length > URL_MAX_CHARS || SCHEMES.none(url::startsWith)) return
        store.edit().putString(ENDPOINT, url).apply()
        listener.onToken(url)
    }

    private fun message(broadcast: DistributorBroadcast, listener: PushListener) {
        val bytes = broadcast.message ?: return
        broadcast.messageId?.let { id -> store.getString(DISTRIBUTOR, null)?.let { send(it, ACTION_MESSAGE_ACK, id) } }
        val data = if (bytes.size > MESSAGE_MAX_BYTES) null else fields(String(bytes))
        if (data == null) log.warn("push.refused", "reason" to "unreadable", "bytes" to bytes.size) else listener.onMessage(data)
    }

    private fun fields(text: String): Map<String, String>? = try {
        (Json.parseToJsonElement(text) as? JsonObject)?.mapNotNull { (name, value) ->
            (value as? JsonPrimitive)?.contentOrNull?.let { name to it }
        }?.toMap()
    } catch (_: SerializationException) {
        null
    }

    companion object {
        private const val DISTRIBUTOR_PREFIX = "org.unifiedpush.android.distributor."
        private const val CONNECTOR_PREFIX = "org.unifiedpush.android.connector."
        internal const val ACTION_REGISTER = DISTRIBUTOR_PREFIX + "REGISTER"
        internal const val ACTION_UNREGISTER = DISTRIBUTOR_PREFIX + "UNREGISTER"
        internal const val ACTION_MESSAGE_ACK = DISTRIBUTOR_PREFIX + "MESSAGE_ACK"
        internal const val ACTION_NEW_ENDPOINT = CONNECTOR_PREFIX + "NEW_ENDPOINT"
        internal const val ACTION_MESSAGE = CONNECTOR_PREFIX + "MESSAGE"
        internal const val ACTION_UNREGISTERED = CONNECTOR_PREFIX + "UNREGISTERED"
        internal const val ACTION_REGISTRATION_FAILED = CONNECTOR_PREFIX + "REGISTRATION_FAILED"
        internal const val EXTRA_TOKEN = "token"
        internal const val EXTRA_APPLICATION = "application"
        internal const val EXTRA_ENDPOINT = "endpoint"
        internal const val EXTRA_MESSAGE = "message"
        internal const val EXTRA_BYTES_MESSAGE = "bytesMessage"
        internal const val EXTRA_MESSAGE_ID = "id"
        private const val DISTRIBUTOR = "distributor"
        private const val SECRET = "secret"
        private const val ENDPOINT = "endpoint"
        private const val SECRET_BYTES = 32
        private val SCHEMES = listOf("https://", "http://")
        private const val URL_MAX_CHARS = 1_000
        private const val MESSAGE_MAX_BYTES = 64 shl 10

        /** After how long a distributor is asked again once a registration ended or failed, ms. */
        internal const val REGISTER_AGAIN_MS = 600_000L

        private const val EARLY_MAX = 16
        private val early = ArrayDeque<DistributorBroadcast>()
        private var active: Pair<UnifiedPushSource, PushListener>? = null

        private fun store(context: Context): SharedPreferences =
            context.deviceProtected().getSharedPreferences("unified_push", Context.MODE_PRIVATE)

        /** Any app can send these broadcasts: only the distributor knows the secret of the registration. */
        private fun isAuthentic(broadcast: DistributorBroadcast, store: SharedPreferences): Boolean {
            val secret = store.getString(SECRET, null) ?: return false
            return MessageDigest.isEqual(broadcast.token.toByteArray(), secret.toByteArray())
        }

        /**
         * Hands a broadcast over, or keeps it for a source that is about to start: a broadcast may be what started the process.
         * False when it is not the distributor's.
         */
        @Synchronized
        internal fun deliver(context: Context, intent: Intent): Boolean {
            val broadcast = DistributorBroadcast.of(intent) ?: return false
            val (source, listener) = active ?: run {
                if (!isAuthentic(broadcast, store(context))) return false
                if (early.size == EARLY_MAX) early.removeFirst()
                early += broadcast
                return true
            }
            return source.receive(broadcast, listener)
        }

        @Synchronized
        private fun attach(source: UnifiedPushSource, listener: PushListener) {
            active = source to listener
            while (early.isNotEmpty()) source.receive(early.removeFirst(), listener)
        }

        @Synchronized
        private fun detach(source: UnifiedPushSource) {
            if (active?.first === source) active = null
        }
    }
}

/** What a broadcast to the connector says. */
private class DistributorBroadcast(
    val action: String?,
    val token: String,
    val endpoint: String?,
    val message: ByteArray?,
    val messageId: String?,
    val reason: String?,
) {
    companion object {
        /** Reads [intent]; null when its extras cannot be read, as with an object of a class unknown here: any app may send that. */
        fun of(intent: Intent): DistributorBroadcast? = try {
            DistributorBroadcast(
                intent.action,
                intent.getStringExtra(UnifiedPushSource.EXTRA_TOKEN).orEmpty(),
                intent.getStringExtra(UnifiedPushSource.EXTRA_ENDPOINT),
                intent.getByteArrayExtra(UnifiedPushSource.EXTRA_BYTES_MESSAGE)
                    ?: intent.getStringExtra(UnifiedPushSource.EXTRA_MESSAGE)?.toByteArray(),
                intent.getStringExtra(UnifiedPushSource.EXTRA_MESSAGE_ID),
                intent.getStringExtra("reason"),
            )
        } catch (_: RuntimeException) {
            null
        }
    }
}

/** Takes the broadcasts of a UnifiedPush distributor. */
internal class UnifiedPushReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        // Waking takes the wake lock before Android may let the device sleep again; no other app can cause that.
        if (UnifiedPushSource.deliver(context, intent)) context.agent.wake("push")
    }
}
