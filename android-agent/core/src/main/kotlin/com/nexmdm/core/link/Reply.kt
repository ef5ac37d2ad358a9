package com.nexmdm.core.link

import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.contentOrNull

/** What an answer of a server means. */
sealed interface Reply {
    /** 2xx with a JSON object. */
    class Ok(val body: JsonObject) : Reply

    /** 304. */
    data object NotModified : Reply

    /** A node decided that this very request is wrong; repeating it is pointless. */
    data class Refused(val status: Int, val detail: String?) : Reply

    /** The credentials are not valid. */
    data object Unauthorized : Reply

    /** The device was deleted. */
    data object DeviceDeleted : Reply

    /** No decision about the request: it may succeed later, or at another server. */
    data class Unavailable(
        val status: Int,
        val retryAfterMs: Long?,
        /** Short name of the reason, for logs. */
        val error: String,
        /** Whether another server is to be tried; not when this one only asked for patience. */
        val elsewhere: Boolean,
    ) : Reply

    companion object {
        /** Statuses that mean "later". */
        private val TRANSIENT = setOf(408, 425, 429)

        /**
         * Meaning of [answer]. A status alone decides nothing that cannot be taken back: captive portals and proxies answer with
         * any status, so that refusals count only as the JSON problem documents that nodes send.
         */
        fun of(answer: HttpAnswer): Reply {
            val status = answer.status
            if (status == 304) return NotModified
            if (status in TRANSIENT || status >= 500) {
                return Unavailable(status, retryAfterMs(answer), "http_$status", elsewhere = status != 429 && status != 503)
            }
            val body = jsonObject(answer.body)
            return when {
                body == null || status in 300..399 || status < 200 -> Unavailable(status, null, "not_understood", elsewhere = true)
                status < 300 -> Ok(body)
                status == 401 -> Unauthorized
                status == 410 -> DeviceDeleted
                else -> Refused(status, (body["detail"] as? JsonPrimitive)?.contentOrNull)
            }
        }

        /** Whether [body] confirms a write, as every node's 200 for one does. */
        fun confirms(body: JsonObject): Boolean = (body["ok"] as? JsonPrimitive)?.booleanOrNull == true

        /** `Retry-After` in seconds, as ms; null when there is none that can be read. */
        fun retryAfterMs(answer: HttpAnswer): Long? =
            answer.header("retry-after")?.trim()?.toLongOrNull()?.takeIf { it in 0..MAX_RETRY_AFTER_S }?.times(1_000)

        private fun jsonObject(text: String): JsonObject? {
            if (!text.trimStart().startsWith("{")) return null
            // Deeply nested JSON exhausts the stack of the parser.
            return try {
                WireJson.parseToJsonElement(text) as? JsonObject
            } catch (_: IllegalArgumentException) {
                null
            } catch (_: StackOverflowError) {
                null
            }
        }

        private const val MAX_RETRY_AFTER_S = 86_400L * 365
    }
}
