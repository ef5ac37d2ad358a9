package com.nexmdm.core.link

import com.nexmdm.core.identity.StoredSession
import com.nexmdm.core.identity.Vault
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.SessionResponse
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.serialization.SerializationException
import java.io.IOException

/** The session token: kept over restarts, renewed ahead of its end. */
internal class Sessions(private val state: LinkState, private val vault: Vault, private val time: TrustedTime) {
    private val renewal = Mutex()

    /** End of a session that this process asked for, by the monotonic clock: no wrong wall clock shortens it. */
    private var endsAtMonotonicMs: Long? = null
    private var unsaved: StoredSession? = null

    /** A token that was refused, should the storage not let go of it. */
    private var refusedToken: String? = null

    /** A token that holds for a while, asked for if need be; null when there is none now, what follows is decided already. */
    suspend fun token(): String? = renewal.withLock { present()?.token ?: renew() }

    /** The session is worthless. */
    fun discard() {
        refusedToken = (unsaved ?: vault.session)?.token ?: refusedToken
        unsaved = null
        endsAtMonotonicMs = null
        save(null)
    }

    private fun present(): StoredSession? {
        val session = (unsaved ?: vault.session)?.takeIf { it.token != refusedToken } ?: return null
        val end = endsAtMonotonicMs
        val isGood = if (end != null) state.nowMs() + AHEAD_MS < end else time.nowMs() + AHEAD_MS < session.expiresAtMs
        return session.takeIf { isGood }
    }

    private suspend fun renew(): String? {
        val server = state.server
        val sentAtMs = state.ports.clock.wallMs()
        val sentMonotonicMs = state.nowMs()
        val request = HttpRequest(
            "POST", server + PATH, state.identity.deviceToken, "{}", timeoutMs = state.settings.callTimeoutMs,
        )
        val answer = try {
            state.ports.http.call(request)
        } catch (e: NetworkException) {
            state.exchangeFailed(state.exchange(server, sentAtMs), null, e.failure.name.lowercase())
            state.apply(ConnectionEvent.Failed(null, elsewhere = true))
            return null
        }
        val reply = Reply.of(answer)
        val granted = (reply as? Reply.Ok)?.let(::granted)
        if (granted == null) {
            refused(reply, answer.status, server, sentAtMs)
            return null
        }
        answer.header("date")?.let(Rfc3339::parseHttpDateMs)?.let {
            time.learn(it, sentMonotonicMs, state.nowMs(), resolutionMs = 1_000)
        }
        val expiresAtMs = Rfc3339.parseMs(granted.expiresAt) ?: (time.nowMs() + DEFAULT_LIFETIME_MS)
        val lifetimeMs = (expiresAtMs - time.nowMs()).coerceIn(MIN_LIFETIME_MS, MAX_LIFETIME_MS)
        endsAtMonotonicMs = state.nowMs() + lifetimeMs
        save(StoredSession(granted.sessionToken, expiresAtMs))
        state.ports.log.info("session.ok")
        return granted.sessionToken
    }

    private fun granted(reply: Reply.Ok): SessionResponse? = try {
        WireJson.decodeFromJsonElement(SessionResponse.serializer(), reply.body).takeIf { isBearerToken(it.sessionToken) }
    } catch (_: SerializationException) {
        null
    } catch (_: IllegalArgumentException) {
        null
    }

    private fun refused(reply: Reply, status: Int, server: String, sentAtMs: Long) {
        val error = (reply as? Reply.Unavailable)?.error ?: "http_$status"
        state.exchangeFailed(state.exchange(server, sentAtMs), status, error)
        when (reply) {
            is Reply.Unauthorized -> {
                discard()
                state.credentials(CredentialEvent.REFUSED)
                // The device's own token was refused: asking again at once is pointless.
                state.apply(ConnectionEvent.Failed(null, elsewhere = false))
            }
            is Reply.DeviceDeleted -> state.credentials(CredentialEvent.DEVICE_DELETED)
            is Reply.Unavailable -> state.apply(ConnectionEvent.Failed(reply.retryAfterMs, reply.elsewhere))
            is Reply.Ok, is Reply.NotModified, is Reply.Refused -> state.apply(ConnectionEvent.Failed(null, elsewhere = true))
        }
    }

    private fun save(session: StoredSession?) {
        unsaved = session
        try {
            vault.update { it.copy(session = session) }
        } catch (e: IOException) {
            // It serves this process; the next one asks for another.
            state.ports.log.warn("store.fail", "what" to "session", "error" to e.javaClass.simpleName)
        }
    }

    private companion object {
        const val PATH = "/v1/agent/session"

        /** A session is renewed this long before its end. */
        const val AHEAD_MS = 300_000L

        /** For a server that does not say: short enough to be safe. */
        const val DEFAULT_LIFETIME_MS = 3_600_000L
        const val MIN_LIFETIME_MS = 600_000L
        const val MAX_LIFETIME_MS = 86_400_000L
    }
}
