package com.nexmdm.push

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
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
    private val store = context.deviceProtected().getSharedPreferences("unified_push", Context.MODE_PRIVATE)

    override fun start(listener: PushListener) {
        store.getString(ENDPOINT, null)?.let(listener::onToken)
        register()
        attach(this, listener)
    }

    override fun stop() {
        detach(this)
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

    /** Takes a broadcast that says that it comes from the distributor. */
    private fun receive(intent: Intent, listener: PushListener) {
        val secret = store.getString(SECRET, null)
        // Any app can send these: only the distributor knows the secret of the registration.
        val claimed = intent.getStringExtra(EXTRA_TOKEN).orEmpty()
        if (secret == null || !MessageDigest.isEqual(claimed.toByteArray(), secret.toByteArray())) {
            log.warn("push.refused", "reason" to "foreign")
            return
        }
        when (intent.action) {
            ACTION_NEW_ENDPOINT -> endpoint(intent.getStringExtra(EXTRA_ENDPOINT), listener)
            ACTION_MESSAGE -> message(intent, listener)
            ACTION_UNREGISTERED -> {
                store.edit().clear().apply()
                log.warn("push.unregistered")
            }
            ACTION_REGISTRATION_FAILED -> {
                log.warn("push.failed", "reason" to intent.getStringExtra("reason"))
                // The specification asks for another secret at the next attempt, which the next start makes.
                store.edit().clear().apply()
            }
        }
    }

    private fun endpoint(url: String?, listener: PushListener) {
        if (url == null || url.length > URL_MAX_CHARS || SCHEMES.none(url::startsWith)) return
        store.edit().putString(ENDPOINT, url).apply()
        listener.onToken(url)
    }

    private fun message(intent: Intent, listener: PushListener) {
        val bytes = intent.getByteArrayExtra(EXTRA_BYTES_MESSAGE) ?: intent.getStringExtra(EXTRA_MESSAGE)?.toByteArray() ?: return
        intent.getStringExtra(EXTRA_MESSAGE_ID)?.let { id -> store.getString(DISTRIBUTOR, null)?.let { send(it, ACTION_MESSAGE_ACK, id) } }
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

        private const val EARLY_MAX = 16
        private val early = ArrayDeque<Intent>()
        private var active: Pair<UnifiedPushSource, PushListener>? = null

        /** Hands a broadcast over, or keeps it for a source that is about to start: a broadcast may be what started the process. */
        @Synchronized
        internal fun deliver(intent: Intent) {
            val (source, listener) = active ?: run {
                if (early.size == EARLY_MAX) early.removeFirst()
                early += intent
                return
            }
            source.receive(intent, listener)
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

/** Takes the broadcasts of a UnifiedPush distributor. */
internal class UnifiedPushReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) = UnifiedPushSource.deliver(Intent(intent))
}
