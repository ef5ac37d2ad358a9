package com.nexmdm.core.agent

import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.contentOrNull

/**
 * What a device is handed to enroll with: by the enrollment script, by provisioning extras, by managed configuration or by a
 * person. Values are taken as they come; [Agent.enroll] checks them.
 */
class EnrollmentRequest(
    /** Base address of the server, several separated by commas. Plain http is allowed for the hosts that are named so. */
    val serverUrl: String,
    /** Enrollment token; null or blank: only a question whether the device is enrolled. */
    val token: String?,
    /** Name of the device, unless the token fixes it. */
    val alias: String? = null,
    /** Pins of the servers' certificates, `sha256/<base64>`, separated by commas. */
    val certificatePins: String? = null,
) {
    /** Without the token. */
    override fun toString(): String = "EnrollmentRequest($serverUrl)"

    companion object {
        /** Key of the server's address in extras, configuration and codes. */
        const val SERVER_URL: String = "server_url"

        /** Key of the token. */
        const val ENROLLMENT_TOKEN: String = "enrollment_token"

        /** Key of the device's name. */
        const val ALIAS: String = "alias"

        /** Key of the pins. */
        const val CERTIFICATE_PINS: String = "certificate_pins"

        private const val ADMIN_EXTRAS = "android.app.extra.PROVISIONING_ADMIN_EXTRAS_BUNDLE"

        /** From named values, as intents and bundles have them; null when no server is named. */
        fun fromValues(value: (String) -> String?): EnrollmentRequest? {
            val serverUrl = value(SERVER_URL)?.trim()?.ifEmpty { null } ?: return null
            return EnrollmentRequest(serverUrl, value(ENROLLMENT_TOKEN)?.trim(), value(ALIAS)?.trim(), value(CERTIFICATE_PINS)?.trim())
        }

        /** From the text of an enrollment QR code, the payload of provisioning or its admin extras alone; null when it is neither. */
        fun fromCode(text: String): EnrollmentRequest? {
            val whole = runCatching { WireJson.parseToJsonElement(text) }.getOrNull() as? JsonObject ?: return null
            val values = whole[ADMIN_EXTRAS] as? JsonObject ?: whole
            return fromValues { key -> (values[key] as? JsonPrimitive)?.contentOrNull }
        }
    }
}

/** Answer to an enrollment request: result code and data of the `ENROLL` broadcast (docs/enrollment.md). */
data class EnrollmentAnswer(
    val code: Int,
    /** Words for a person. */
    val message: String,
) {
    companion object {
        /** Registration follows. */
        const val ACCEPTED: Int = 1

        /** Enrolled with this server already; the token was not used. */
        const val ENROLLED_HERE: Int = 2

        /** Enrolled with another server. */
        const val ENROLLED_ELSEWHERE: Int = 3

        /** Refused; the message says why. */
        const val REFUSED: Int = 4
    }
}
