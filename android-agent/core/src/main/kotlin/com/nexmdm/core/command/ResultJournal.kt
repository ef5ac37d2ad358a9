package com.nexmdm.core.command

import com.nexmdm.core.install.CommandConclusion
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.ActionResult
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.delay
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/** Puts the end of a command on record together with the result that tells it. */
internal class ResultJournal(
    private val database: AgentDatabase,
    private val commands: CommandLog,
    private val outbox: Outbox,
    private val time: TrustedTime,
    private val bootId: String,
    private val control: AgentControl,
    private val log: EventLog,
) : CommandConclusion {
    override fun conclude(requestId: String, action: String, outcome: ActionOutcome): Unit = conclude(requestId, action, outcome) {}

    /** The same, with what else is to be stored in the same transaction. Throws [SqlException]: nothing happened then. */
    fun conclude(requestId: String, action: String, outcome: ActionOutcome, alongside: () -> Unit) {
        val isNew = database.inTransaction {
            commands.conclude(requestId, action, bootId, time.nowMs()).also { isNew ->
                if (isNew) {
                    alongside()
                    outbox.put(ItemKind.RESULT, requestId, body(requestId, action, outcome))
                }
            }
        }
        if (!isNew) return
        log.info("command.concluded", "request_id" to requestId, "action" to action, "outcome" to outcome.outcome, "code" to outcome.code)
        control.deliverNow()
    }

    /** The same, again and again until storage takes it. */
    suspend fun concludeAtLast(requestId: String, action: String, outcome: ActionOutcome, alongside: () -> Unit = {}) {
        var delayMs = RETRY_FIRST_MS
        while (true) {
            try {
                return conclude(requestId, action, outcome, alongside)
            } catch (e: SqlException) {
                log.warn("store.fail", "request_id" to requestId, "error" to e.message)
            }
            delay(delayMs)
            delayMs = (delayMs * 2).coerceAtMost(RETRY_LAST_MS)
        }
    }

    /** Queues that a command is there, long before its end. Throws [SqlException]. */
    fun received(requestId: String, action: String) {
        outbox.put(ItemKind.RESULT, requestId, encode(ActionResult(requestId, action, RECEIVED)))
    }

    private fun body(requestId: String, action: String, outcome: ActionOutcome): String {
        val result = ActionResult(
            requestId = requestId,
            action = action,
            outcome = outcome.outcome,
            message = outcome.message?.let { cut(it, MESSAGE_MAX_CHARS) },
            code = outcome.code?.let { cut(it, CODE_MAX_CHARS) },
            data = outcome.data,
            finishedAt = Rfc3339.format(time.nowMs()),
        )
        val body = encode(result)
        return if (body.length <= BODY_MAX_CHARS) body else encode(result.copy(data = TRUNCATED.takeIf { outcome.data != null }))
    }

    private fun encode(result: ActionResult): String = WireJson.encodeToString(ActionResult.serializer(), result)

    /** The beginning of [text], not ending within a surrogate pair. */
    private fun cut(text: String, maxChars: Int): String = when {
        text.length <= maxChars -> text
        text[maxChars - 1].isHighSurrogate() -> text.take(maxChars - 1)
        else -> text.take(maxChars)
    }

    companion object {
        const val RECEIVED: String = "received"
        private const val MESSAGE_MAX_CHARS = 1_000
        private const val CODE_MAX_CHARS = 64

        /** So that as many results as may wait fit into the queue. */
        private const val BODY_MAX_CHARS = 12_000
        private val TRUNCATED = JsonObject(mapOf("truncated" to JsonPrimitive(true)))
        private const val RETRY_FIRST_MS = 1_000L
        private const val RETRY_LAST_MS = 60_000L
    }
}
