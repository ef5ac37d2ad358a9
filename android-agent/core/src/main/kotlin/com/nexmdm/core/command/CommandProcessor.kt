package com.nexmdm.core.command

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.identity.Vault
import com.nexmdm.core.install.CommandConclusion
import com.nexmdm.core.install.InstallationCommands
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.store.SettingKeys
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.ActionResult
import com.nexmdm.core.wire.Command
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Semaphore
import kotlinx.coroutines.sync.withPermit
import kotlinx.serialization.SerializationException
import java.io.IOException
import java.time.Instant

/** Bounds of what is done at the same time. */
class CommandLimits(
    /** Commands that run. */
    val running: Int = 8,
    /** Commands that run or wait for their turn. */
    val accepted: Int = 64,
    /** Results and statuses that wait for delivery; with so many, further commands are left for later. */
    val undelivered: Int = 256,
)

/**
 * Runs the commands that reach the device: each at most once, whatever way and however often it comes, over kills and reboots, and
 * with exactly one result.
 *
 * A command is put on record durably before anything of it happens. What was on record at a start and had no end was interrupted, and
 * is told so. Commands are judged by [TrustedTime]: while nothing is known of the server's time and the wall clock is implausible, they
 * are left for later, which is rare, since the session that precedes a command teaches the time. When storage refuses before a command
 * is on record, it is left for later too; when it refuses afterwards, its result is put on record once storage allows.
 *
 * Everything runs on the one thread of [scope].
 */
class CommandProcessor(
    private val ports: Ports,
    private val database: AgentDatabase,
    private val outbox: Outbox,
    private val vault: Vault,
    private val time: TrustedTime,
    private val installations: () -> InstallationCommands,
    private val control: AgentControl,
    private val scope: CoroutineScope,
    private val limits: CommandLimits = CommandLimits(),
) {
    private val log = ports.log
    private val bootId = ports.facts.bootId()
    private val commands = CommandLog(database)
    private val journal = ResultJournal(database, commands, outbox, time, bootId, control, log)
    private val runner = CommandRunner(ports.actions, ports.facts, vault, log)
    private val slots = Semaphore(limits.running)

    /** `request_id`s of commands that run or wait in this process. */
    private val accepted = mutableSetOf<String>()

    /** How installations tell the end of the commands that they took over. */
    val conclusion: CommandConclusion get() = journal

    /**
     * Tells what was interrupted by the end of the process before, once storage allows. Called at start, after installations know
     * again what they own.
     */
    fun recover() {
        try {
            recoverNow()
        } catch (e: SqlException) {
            log.warn("store.fail", "error" to e.message)
            scope.launch { recoverAtLast() }
        }
    }

    private suspend fun recoverAtLast() {
        while (true) {
            delay(RECOVERY_RETRY_MS)
            try {
                return recoverNow()
            } catch (e: SqlException) {
                log.warn("store.fail", "error" to e.message)
            }
        }
    }

    private fun recoverNow() {
        for (started in commands.started()) {
            if (started.requestId in accepted || installations().owns(started.requestId)) continue
            val isRebooted = started.action == "reboot" && started.bootId != bootId
            val outcome = if (isRebooted) ActionOutcome.SUCCESS else ActionOutcome.failed("interrupted", "the agent was stopped meanwhile")
            journal.conclude(started.requestId, started.action, outcome)
        }
    }

    /** Takes a command that arrived by [path] (`socket`, `heartbeat`, `push`). */
    fun receive(command: Command, path: String, exchange: Exchange): Verdict {
        var identity = vault.identity
        val verdict = try {
            identity = identity?.let(::withDatabase)
            judged(command, identity)
        } catch (e: SqlException) {
            leftForLater(e)
        } catch (e: IOException) {
            leftForLater(e)
        }
        log.info(
            "command.received",
            "request_id" to command.requestId.take(ID_LOGGED_CHARS), "action" to command.action.take(ID_LOGGED_CHARS),
            "path" to path, "verdict" to verdict.wireName,
        )
        ports.observer.commandJudged(exchange, path, verdict.wireName, command)
        return when (verdict) {
            Verdict.RUN -> accept(command, exchange)
            Verdict.MEMORY_LOST -> refuseForgotten(command)
            else -> verdict
        }
    }

    /**
     * Takes a data message of a push service: a command flattened to text. Data of the earlier server's form, with `hmac` alone, does
     * not run, but when it is authentic the agent reports at once, and the answer carries the signed command.
     */
    fun receivePush(data: Map<String, String>, exchange: Exchange): Verdict {
        val field = { name: String -> data[name].orEmpty() }
        val command = Command(
            requestId = field("request_id"), deviceId = field("device_id"), action = field("action"), ts = field("ts"),
            expiresAt = field("expires_at"), params = field("params"), signature = field("signature"), v = field("v"),
        )
        val verdict = receive(command, "push", exchange)
        if (command.signature.isEmpty() && data["hmac"] != null && isAuthenticNotice(data)) control.reportNow(null)
        return verdict
    }

    private fun isAuthenticNotice(data: Map<String, String>): Boolean = try {
        val identity = vault.identity
        identity != null && LegacyPush.judge(data, input(identity)) in setOf(Verdict.RUN, Verdict.TIME_UNKNOWN)
    } catch (e: SqlException) {
        log.warn("store.fail", "error" to e.message)
        false
    }

    private fun input(identity: Identity) = JudgeInput(
        deviceId = identity.deviceId,
        keys = identity.deviceKeys.mapNotNull(DeviceKey::fromHex),
        now = time.reliableNowMs()?.let(Instant::ofEpochMilli),
        replayFloorMs = identity.replayFloorMs,
        knows = { it in accepted || commands.knows(it) },
    )

    private fun judged(command: Command, identity: Identity?): Verdict {
        // Without an identity there is no key that could have signed.
        if (identity == null) return if (command.v == Signature.VERSION) Verdict.BAD_SIGNATURE else Verdict.UNKNOWN_VERSION
        val verdict = judge(command, input(identity))
        val mayBeRemembered = verdict == Verdict.RUN || verdict == Verdict.MEMORY_LOST
        return when {
            !mayBeRemembered -> verdict
            identity.databaseId != database.id -> Verdict.TIME_UNKNOWN
            hasRoom() -> verdict
            else -> Verdict.MEMORY_FULL
        }
    }

    /**
     * The identity, bound to the database that remembers its commands. Another database than before means that the memory is lost:
     * what the server made until now may have run. Until the server's time is known nothing can be said, and the identity stays as it is.
     */
    private fun withDatabase(identity: Identity): Identity {
        val databaseId = database.id
        when {
            identity.databaseId == databaseId -> return identity
            identity.databaseId == null -> vault.updateIdentity { it.copy(databaseId = databaseId) }
            time.isKnown -> vault.updateIdentity { it.copy(databaseId = databaseId, replayFloorMs = time.nowMs() + FLOOR_MARGIN_MS) }
        }
        return vault.identity ?: identity
    }

    private fun hasRoom(): Boolean {
        if (time.isKnown) commands.prune(time.nowMs())
        val undelivered = outbox.size() - outbox.heartbeats()
        return accepted.size < limits.accepted && undelivered + commands.open() < limits.undelivered && commands.hasRoom()
    }

    private fun leftForLater(e: Exception): Verdict {
        log.warn("store.fail", "error" to (e as? SqlException)?.message.orEmpty().ifEmpty { e::class.simpleName })
        return Verdict.MEMORY_FULL
    }

    private fun refuseForgotten(command: Command): Verdict = try {
        journal.conclude(command.requestId, command.action, ActionOutcome.failed("memory_lost", "the agent no longer knows whether it ran"))
        Verdict.MEMORY_LOST
    } catch (e: SqlException) {
        leftForLater(e)
    }

    private fun accept(command: Command, exchange: Exchange): Verdict {
        val takesLong = command.action in TAKES_LONG
        try {
            database.inTransaction {
                commands.start(command.requestId, command.action, expiresAtMs(command), bootId)
                if (takesLong) journal.received(command.requestId, command.action)
            }
        } catch (e: SqlException) {
            return leftForLater(e)
        }
        log.info("command.recorded", "request_id" to command.requestId, "action" to command.action)
        if (takesLong) control.deliverNow()
        accepted += command.requestId
        if (command.action in INSTALLS) handOver(command, exchange) else scope.launch { runAccepted(command, exchange) }
        return Verdict.RUN
    }

    private fun handOver(command: Command, exchange: Exchange) {
        announce(command, exchange)
        try {
            if (command.action == "update") installations().lookForUpdate(command) else installations().deploy(command)
            accepted -= command.requestId
        } catch (e: SqlException) {
            log.warn("store.fail", "error" to e.message)
            scope.launch { end(command, ActionOutcome.failed("storage", "the agent's storage is full")) }
        }
    }

    private suspend fun runAccepted(command: Command, exchange: Exchange) {
        val outcome = slots.withPermit {
            if (hasExpired(command)) {
                ActionOutcome("skipped", "expired", "its turn came too late")
            } else {
                announce(command, exchange)
                runner.run(command)
            }
        }
        end(command, outcome)
    }

    private fun announce(command: Command, exchange: Exchange) {
        ports.observer.commandExecuted(exchange, command)
        log.info("command.run", "request_id" to command.requestId, "action" to command.action)
    }

    private suspend fun end(command: Command, outcome: ActionOutcome) {
        val isDone = outcome.outcome == "success"
        journal.concludeAtLast(command.requestId, command.action, outcome) {
            if (isDone && command.action == "set_monitored_app") {
                database.putSetting(SettingKeys.MONITORED_APP, Params.read(command.params).text("package"))
            }
        }
        accepted -= command.requestId
        when (command.action) {
            "ping" -> if (isDone) control.reportNow(command.requestId)
            "sync" -> if (isDone) control.reportNow(null)
        }
    }

    private fun hasExpired(command: Command): Boolean = (time.reliableNowMs() ?: 0) >= expiresAtMs(command)

    /** Rounded up, so that it is not forgotten before it expired. */
    private fun expiresAtMs(command: Command): Long = (Rfc3339.parseMs(command.expiresAt) ?: 0) + 1

    /**
     * Takes the [status] that a node answered a queued result with; whether the item is gone from the queue. One that stays is to be
     * delivered again later. Throws [SqlException].
     */
    fun resultAnswered(item: OutboxItem, status: Int): Boolean {
        val isAcknowledged = status in 200..299
        if (!isAcknowledged && (status !in 400..499 || status in STAYS)) return false
        val result = try {
            WireJson.decodeFromString(ActionResult.serializer(), item.body)
        } catch (_: SerializationException) {
            null
        }
        if (isAcknowledged && result?.action == "rotate_key" && result.outcome == "success") {
            try {
                vault.updateIdentity { it.rotationAcknowledged(item.subject) }
            } catch (e: IOException) {
                // It is told again, so that its acknowledgement comes again.
                leftForLater(e)
                return false
            }
        }
        if (!isAcknowledged) log.warn("deliver.fail", "kind" to "result", "request_id" to item.subject, "status" to status)
        outbox.remove(item.id)
        return true
    }

    private companion object {
        val INSTALLS = setOf("deploy_apk", "update")
        val TAKES_LONG = INSTALLS + setOf("ring", "exec")

        /** Statuses that pass. */
        val STAYS = setOf(401, 408, 425, 429)
        const val RECOVERY_RETRY_MS = 5_000L
        const val ID_LOGGED_CHARS = 64

        /** More than the clocks of nodes, which date commands, differ. */
        const val FLOOR_MARGIN_MS = 5_000L
    }
}
