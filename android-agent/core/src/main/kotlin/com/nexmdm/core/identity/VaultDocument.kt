package com.nexmdm.core.identity

import com.nexmdm.core.port.ConnectionPolicy
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** Everything secret that the agent keeps. The serial names are the format on disk. */
@Serializable
data class VaultDocument(
    /** An enrollment that was asked for and has not come to an end. */
    val pending: PendingEnrollment? = null,
    /** Who the device is, once enrolled. */
    val identity: Identity? = null,
    /** Its session, if it has one. */
    val session: StoredSession? = null,
) {
    /** Without secrets. */
    override fun toString(): String = "VaultDocument(pending=$pending, identity=$identity, session=${session != null})"
}

/** An enrollment to be done. */
@Serializable
data class PendingEnrollment(
    /** Base addresses of the servers. */
    val servers: List<String>,
    /** Enrollment token; single use. */
    val token: String,
    /** Name that the device asks for. */
    val alias: String? = null,
    /** Hosts that may be reached by plain http. */
    @SerialName("cleartext_hosts") val cleartextHosts: Set<String> = emptySet(),
    /** Certificate pins, as [ConnectionPolicy.certificatePins] has them. */
    @SerialName("certificate_pins") val certificatePins: Set<String> = emptySet(),
) {
    /** Without the token. */
    override fun toString(): String = "PendingEnrollment(servers=$servers, alias=$alias)"
}

/** An enrolled device. */
@Serializable
data class Identity(
    /** Identity that the server gave. */
    @SerialName("device_id") val deviceId: String,
    /** Long-lived credential. */
    @SerialName("device_token") val deviceToken: String,
    /** Key of command signatures, hex. */
    @SerialName("device_key") val deviceKey: String,
    /** Key of a rotation whose result is not acknowledged yet, hex. */
    @SerialName("next_device_key") val nextDeviceKey: String? = null,
    /** Commands `rotate_key` that brought [nextDeviceKey]. */
    @SerialName("rotation_request_ids") val rotationRequestIds: List<String> = emptyList(),
    /** Base addresses of the servers. */
    val servers: List<String>,
    /** Name of the device, if it asked for one. */
    val alias: String? = null,
    /** What the device was registered as. */
    @SerialName("hardware_id") val hardwareId: String? = null,
    /** Hosts that may be reached by plain http. */
    @SerialName("cleartext_hosts") val cleartextHosts: Set<String> = emptySet(),
    /** Certificate pins. */
    @SerialName("certificate_pins") val certificatePins: Set<String> = emptySet(),
    /** Hosts that the pins hold for. */
    @SerialName("pinned_hosts") val pinnedHosts: Set<String> = emptySet(),
    /** The database that remembers the commands of this identity; null until the first one is judged. */
    @SerialName("database_id") val databaseId: String? = null,
    /** Commands made before this time of the server (ms since 1970) are not run: what was run before is forgotten. */
    @SerialName("replay_floor_ms") val replayFloorMs: Long = 0,
) {
    /** How the servers may be reached. */
    val policy: ConnectionPolicy get() = ConnectionPolicy(cleartextHosts, certificatePins, pinnedHosts)

    /** The keys that may sign commands, hex. */
    val deviceKeys: List<String> get() = listOfNotNull(deviceKey, nextDeviceKey)

    /** With the key of a rotation beside the present one. [signedByNext]: the server signs with the next key, so that one is current. */
    fun rotateTo(key: String, requestId: String, signedByNext: Boolean): Identity {
        val current = if (signedByNext && nextDeviceKey != key) nextDeviceKey ?: deviceKey else deviceKey
        val ids = if (nextDeviceKey == key) rotationRequestIds else emptyList()
        return copy(deviceKey = current, nextDeviceKey = key, rotationRequestIds = (ids - requestId + requestId).takeLast(ROTATIONS_MAX))
    }

    /** After the server acknowledged the result of a rotation: the next key alone, if it came with that command. */
    fun rotationAcknowledged(requestId: String): Identity {
        val next = nextDeviceKey?.takeIf { requestId in rotationRequestIds } ?: return this
        return copy(deviceKey = next, nextDeviceKey = null, rotationRequestIds = emptyList())
    }

    /** Without secrets. */
    override fun toString(): String = "Identity($deviceId, alias=$alias, servers=$servers)"

    private companion object {
        const val ROTATIONS_MAX = 8
    }
}

/** A session with its end. */
@Serializable
data class StoredSession(
    /** Bearer token. */
    val token: String,
    /** When it ends, ms since 1970 by the server's clock. */
    @SerialName("expires_at_ms") val expiresAtMs: Long,
) {
    /** Without the token. */
    override fun toString(): String = "StoredSession(expiresAtMs=$expiresAtMs)"
}
