package com.nexmdm.core.agent

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.PendingEnrollment
import com.nexmdm.core.identity.Vault
import com.nexmdm.core.link.Reply
import com.nexmdm.core.link.Signal
import com.nexmdm.core.link.isBearerToken
import com.nexmdm.core.port.ConnectionPolicy
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.time.Backoff
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.RegisterRequest
import com.nexmdm.core.wire.RegisterResponse
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.delay
import kotlinx.serialization.SerializationException
import java.io.IOException

/** Registers the device with its enrollment token: until it is enrolled, or a server refuses for good. */
internal class Registration(
    private val ports: Ports,
    private val vault: Vault,
    private val time: TrustedTime,
    private val settings: AgentSettings,
    /** Given when it is worth trying at once. */
    private val signal: Signal,
    /** Told about every failure, in words. */
    private val onTrouble: (String) -> Unit,
) {
    /** How it ended. */
    sealed interface End {
        /** The identity is in the vault. */
        data object Enrolled : End

        /** The token is gone; [reason] is for a person. */
        data class Refused(val reason: String) : End
    }

    private sealed interface Attempt {
        class Done(val response: RegisterResponse) : Attempt

        class Refused(val status: Int, val reason: String) : Attempt

        class Failed(val retryAfterMs: Long?, val error: String) : Attempt
    }

    private val backoff = Backoff(settings.retryBaseMs, settings.retryCapMs)

    /** Works on the vault's pending enrollment until there is none. */
    suspend fun run(): End {
        var failures = 0
        while (true) {
            val pending = vault.pending ?: return End.Enrolled
            val server = pending.servers[failures % pending.servers.size]
            when (val attempt = attempt(pending, server)) {
                is Attempt.Done -> {
                    keep(pending, attempt.response)
                    ports.log.info("register.ok", "device_id" to attempt.response.deviceId, "server" to server)
                    return End.Enrolled
                }
                is Attempt.Refused -> {
                    ports.log.warn("register.fail", "status" to attempt.status, "server" to server, "final" to true)
                    // Another token may have come meanwhile.
                    if (vault.pending == pending) written { vault.update { it.copy(pending = null) } } else continue
                    return End.Refused(attempt.reason)
                }
                is Attempt.Failed -> {
                    val delayMs = backoff.delayMs(failures++, attempt.retryAfterMs, ports.randomness)
                    ports.log.warn("register.fail", "error" to attempt.error, "server" to server, "final" to false)
                    ports.log.info("retry.schedule", "what" to "register", "delay_ms" to delayMs)
                    onTrouble(attempt.error)
                    ports.wakeUps.schedule(delayMs)
                    signal.await(delayMs)
                }
            }
        }
    }

    private suspend fun attempt(pending: PendingEnrollment, server: String): Attempt {
        val policy = ConnectionPolicy(pending.cleartextHosts, pending.certificatePins, Enrollment.pinnedHosts(pending))
        ports.http.apply(policy)
        val readings = readings()
        val body = WireJson.encodeToString(RegisterRequest.serializer(), registerRequest(pending, readings))
        val sentMonotonicMs = ports.clock.monotonicMs()
        val answer = try {
            ports.http.call(HttpRequest("POST", "$server/v1/register", pending.token, body, timeoutMs = settings.callTimeoutMs))
        } catch (e: NetworkException) {
            return Attempt.Failed(null, e.failure.name.lowercase())
        }
        return judged(answer).also { attempt ->
            val serverTime = (attempt as? Attempt.Done)?.response?.serverTime?.let(Rfc3339::parseMs)
            if (serverTime != null) time.learn(serverTime, sentMonotonicMs, ports.clock.monotonicMs())
        }
    }

    private suspend fun readings(): DeviceReadings =
        ports.readings(null, emptySet())
            ?: ports.facts.agentVersionCode().let { DeviceReadings(it.toString(), it, ports.facts.bootId()) }

    private fun registerRequest(pending: PendingEnrollment, readings: DeviceReadings) = RegisterRequest(
        alias = pending.alias,
        hardwareId = readings.hardwareId,
        model = readings.model,
        manufacturer = readings.manufacturer,
        androidVersion = readings.androidVersion,
        sdkInt = readings.sdkInt,
        appVersion = readings.agentVersionName,
        appVersionCode = readings.agentVersionCode,
    )

    private fun judged(answer: HttpAnswer): Attempt = when (val reply = Reply.of(answer)) {
        is Reply.Ok -> response(reply)?.let(Attempt::Done) ?: Attempt.Failed(null, "answer_not_understood")
        is Reply.Unauthorized -> Attempt.Refused(answer.status, "The enrollment token is unknown, used, expired or revoked.")
        is Reply.Refused -> Attempt.Refused(reply.status, reply.detail ?: "The server refused the registration (${reply.status}).")
        is Reply.DeviceDeleted -> Attempt.Refused(answer.status, "The server refused the registration (${answer.status}).")
        is Reply.Unavailable -> Attempt.Failed(reply.retryAfterMs, reply.error)
        is Reply.NotModified -> Attempt.Failed(null, "answer_not_understood")
    }

    private fun response(reply: Reply.Ok): RegisterResponse? = try {
        WireJson.decodeFromJsonElement(RegisterResponse.serializer(), reply.body)
            .takeIf { it.deviceId.isNotEmpty() && isBearerToken(it.deviceToken) }
    } catch (_: SerializationException) {
        null
    } catch (_: IllegalArgumentException) {
        null
    }

    /** The identity first of all: the token is used up, and the secrets are told this once. */
    private suspend fun keep(pending: PendingEnrollment, response: RegisterResponse) {
        val identity = Identity(
            deviceId = response.deviceId,
            deviceToken = response.deviceToken,
            deviceKey = response.deviceKey,
            servers = pending.servers,
            alias = pending.alias,
            cleartextHosts = pending.cleartextHosts,
            certificatePins = pending.certificatePins,
            pinnedHosts = Enrollment.pinnedHosts(pending),
        )
        written { vault.update { it.copy(pending = null, identity = identity, session = null) } }
    }

    private suspend fun written(write: () -> Unit) {
        while (true) {
            try {
                return write()
            } catch (e: IOException) {
                ports.log.warn("store.fail", "what" to "identity", "error" to e.javaClass.simpleName)
                onTrouble("storage")
                delay(STORAGE_RETRY_MS)
            }
        }
    }

    private companion object {
        const val STORAGE_RETRY_MS = 5_000L
    }
}
