package com.nexmdm.core.agent

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.PendingEnrollment
import java.net.URI
import java.net.URISyntaxException

/** Rules for enrollment requests: what is accepted, and what is answered. Pure. */
object Enrollment {
    /** What follows from a request. */
    sealed interface Decision {
        /** It is answered and changes nothing. */
        data class Answered(val answer: EnrollmentAnswer) : Decision

        /** It is to be kept, then answered with [EnrollmentAnswer.ACCEPTED]. */
        class Accepted(val pending: PendingEnrollment) : Decision
    }

    private const val SERVERS_MAX = 8
    private const val TOKEN_CHARS_MAX = 512
    private const val ALIAS_CHARS_MAX = 200
    private val TOKEN = Regex("[\\x21-\\x7e]+")
    private val PIN = Regex("sha256/[A-Za-z0-9+/]{43}=")

    /** Decides about [request] for a device that is [identity], if it is enrolled. */
    fun decide(identity: Identity?, request: EnrollmentRequest): Decision {
        val servers = request.serverUrl.split(',').map { it.trim() }.filter { it.isNotEmpty() }.map(::serverAddress)
        val problem = when {
            servers.isEmpty() -> "The server address is missing."
            servers.size > SERVERS_MAX -> "There are more than $SERVERS_MAX server addresses."
            servers.any { it == null } -> "The server address must look like https://mdm.example.com."
            else -> null
        }
        if (problem != null) return refused(problem)
        val addresses = servers.filterNotNull().distinct()
        if (identity != null) {
            val isSame = addresses.any { it in identity.servers }
            return Decision.Answered(
                if (isSame) {
                    EnrollmentAnswer(EnrollmentAnswer.ENROLLED_HERE, "The device is enrolled with this server already.")
                } else {
                    EnrollmentAnswer(EnrollmentAnswer.ENROLLED_ELSEWHERE, "The device is enrolled with ${identity.servers.first()}.")
                },
            )
        }
        return withToken(addresses, request)
    }

    private fun withToken(servers: List<String>, request: EnrollmentRequest): Decision {
        val token = request.token?.trim().orEmpty()
        val alias = request.alias?.trim()?.ifEmpty { null }
        val pins = request.certificatePins.orEmpty().split(',').map { it.trim() }.filter { it.isNotEmpty() }.toSet()
        return when {
            token.isEmpty() -> refused("The device is not enrolled, and there is no enrollment token.")
            token.length > TOKEN_CHARS_MAX || !TOKEN.matches(token) -> refused("The enrollment token is malformed.")
            alias != null && alias.length > ALIAS_CHARS_MAX -> refused("The alias has more than $ALIAS_CHARS_MAX characters.")
            !pins.all(PIN::matches) -> refused("A certificate pin must look like sha256/ and the Base64 of a digest.")
            else -> Decision.Accepted(
                PendingEnrollment(servers, token, alias, servers.mapNotNull(::cleartextHost).toSet(), pins),
            )
        }
    }

    /** Hosts that pins hold for. */
    fun pinnedHosts(pending: PendingEnrollment): Set<String> =
        if (pending.certificatePins.isEmpty()) emptySet() else pending.servers.filter { it.startsWith("https:") }.map(::host).toSet()

    private fun refused(message: String) = Decision.Answered(EnrollmentAnswer(EnrollmentAnswer.REFUSED, message))

    /** [text] as a base address without a slash at its end; null when it is none. */
    private fun serverAddress(text: String): String? {
        val uri = try {
            URI(text)
        } catch (_: URISyntaxException) {
            return null
        }
        val scheme = uri.scheme?.lowercase()
        val isBase = uri.rawUserInfo == null && uri.rawQuery == null && uri.rawFragment == null && uri.port in -1..PORT_MAX
        if (uri.host.isNullOrEmpty() || !isHostName(uri.host) || scheme !in setOf("http", "https") || !isBase) return null
        val port = if (uri.port == -1) "" else ":${uri.port}"
        return "$scheme://${uri.host.lowercase()}$port${uri.rawPath.orEmpty().trimEnd('/')}"
    }

    /** Whether connections and certificate pins take the host: no zone, and the lengths of RFC 1035, section 2.3.4. */
    private fun isHostName(host: String): Boolean =
        '%' !in host && host.length <= HOST_CHARS_MAX && host.split('.').all { it.length <= LABEL_CHARS_MAX || it.startsWith("[") }

    private fun cleartextHost(server: String): String? =
        if (server.startsWith("http:")) URI(server).let { "${host(server)}:${if (it.port == -1) HTTP_PORT else it.port}" } else null

    private fun host(server: String): String = URI(server).host.removeSurrounding("[", "]")

    private const val PORT_MAX = 65_535
    private const val HOST_CHARS_MAX = 253
    private const val LABEL_CHARS_MAX = 63
    private const val HTTP_PORT = 80
}
