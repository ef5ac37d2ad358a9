package com.nexmdm.core.link

import com.nexmdm.core.install.AgentApi
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime

/** How a call ended. */
internal sealed interface CallOutcome {
    /** A node decided: [reply] is neither a refusal of the credentials nor a "later". */
    class Decided(val reply: Reply, val answer: HttpAnswer, val exchange: Exchange, val sentMonotonicMs: Long) : CallOutcome

    /** There was no decision; what follows for the connection is decided already. */
    data object Undecided : CallOutcome
}

/** Calls with the device's credentials, at the server in use. */
internal class ApiClient(private val state: LinkState, private val sessions: Sessions, private val time: TrustedTime) : AgentApi {
    /** Performs a call that delivers [items], if any. */
    suspend fun call(method: String, pathAndQuery: String, body: String?, items: List<OutboxItem>): CallOutcome {
        // Twice: a refused session is replaced once at once.
        repeat(2) {
            val token = sessions.token() ?: return CallOutcome.Undecided
            val server = state.server
            val sentAtMs = state.ports.clock.wallMs()
            val sentMonotonicMs = state.nowMs()
            val answer = try {
                state.ports.http.call(
                    HttpRequest(method, server + pathAndQuery, token, body, timeoutMs = state.settings.callTimeoutMs),
                )
            } catch (e: NetworkException) {
                state.failed(items, state.exchange(server, sentAtMs), null, e.failure.name.lowercase())
                state.apply(ConnectionEvent.Failed(null, elsewhere = true))
                return CallOutcome.Undecided
            }
            val exchange = state.exchange(server, sentAtMs)
            val reply = Reply.of(answer)
            if (reply is Reply.Ok) learnTime(answer, sentMonotonicMs)
            when (reply) {
                is Reply.Ok, is Reply.NotModified, is Reply.Refused ->
                    return CallOutcome.Decided(reply, answer, exchange, sentMonotonicMs)
                is Reply.Unavailable -> {
                    state.failed(items, exchange, reply.status, reply.error)
                    state.apply(ConnectionEvent.Failed(reply.retryAfterMs, reply.elsewhere))
                    return CallOutcome.Undecided
                }
                is Reply.Unauthorized -> {
                    state.failed(items, exchange, answer.status, "http_401")
                    sessions.discard()
                    if (state.credentials(CredentialEvent.REFUSED) != CredentialEffect.RENEW_NOW) {
                        state.apply(ConnectionEvent.Failed(null, elsewhere = false))
                        return CallOutcome.Undecided
                    }
                }
                is Reply.DeviceDeleted -> {
                    state.failed(items, exchange, answer.status, "http_410")
                    state.credentials(CredentialEvent.DEVICE_DELETED)
                    return CallOutcome.Undecided
                }
            }
        }
        return CallOutcome.Undecided
    }

    /** Every answer of a node tells its time, if only to a second. */
    private fun learnTime(answer: HttpAnswer, sentMonotonicMs: Long) {
        val dateMs = answer.header("date")?.let(Rfc3339::parseHttpDateMs) ?: return
        time.learn(dateMs, sentMonotonicMs, state.nowMs(), resolutionMs = 1_000)
    }

    override suspend fun get(pathAndQuery: String): HttpAnswer {
        if (!state.mayTalk()) throw NetworkException(NetworkFailure.CONNECT, "no calls for now")
        return when (val outcome = call("GET", pathAndQuery, null, emptyList())) {
            is CallOutcome.Decided -> outcome.answer.also { state.served() }
            is CallOutcome.Undecided -> throw NetworkException(NetworkFailure.BROKEN, "no answer to go by")
        }
    }

    override fun servers(): List<String> {
        val servers = state.identity.servers
        return List(servers.size) { servers[(state.connection.server + it) % servers.size] }
    }
}
