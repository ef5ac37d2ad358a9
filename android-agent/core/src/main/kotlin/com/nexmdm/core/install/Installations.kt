package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Exchange
import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.port.Level
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.info
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.store.DeployedApps
import com.nexmdm.core.time.TrustedTime
import com.nexmdm.core.wire.Command
import com.nexmdm.core.wire.DeploymentStatus
import com.nexmdm.core.wire.WireJson
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.serialization.SerializationException
import kotlin.coroutines.CoroutineContext

/**
 * The installations of a device: deployments, and updates of the agent itself.
 *
 * Every step is decided by [InstallMachine] and kept on disk, together with its report, before anything follows from it; after a
 * restart [recover] goes on from there. All calls come from the core's dispatcher, on which [scope] runs too.
 */
class Installations(
    private val ports: Ports,
    private val db: AgentDatabase,
    private val outbox: Outbox,
    private val time: TrustedTime,
    private val api: AgentApi,
    private val conclusion: CommandConclusion,
    private val scope: CoroutineScope,
    /** Where files are read and digested. */
    blocking: CoroutineContext = Dispatchers.IO,
    private val limits: InstallLimits = InstallLimits(),
    /** Called when there are new reports to deliver. */
    private val onReport: () -> Unit = {},
) : InstallationCommands {
    private val store = InstallStore(db, ports.log)
    private val deployed = DeployedApps(db)
    private val work = InstallWork(ports, api, limits, blocking)
    private val jobs = mutableMapOf<String, Job>()
    private val live = linkedMapOf<String, Installation>()

    /** Those of an earlier process that did not go on yet. */
    private val unrecovered = mutableSetOf<String>()
    private var isLoaded = false
    private var nextLook: Job? = null

    /** When the next look for an update is due, by the monotonic clock. */
    private var nextLookAtMs: Long? = null
    private var admission: Job? = null

    /** Number of installations that are under way or wait. */
    val size: Int get() = live.size

    /**
     * Takes a `deploy_apk` command. On record when this returns, or concluded as `failed` (`bad_params`, `busy`). Throws
     * [SqlException]; nothing is begun then.
     */
    override fun deploy(command: Command) {
        load()
        if (command.requestId in live) return
        val order = InstallOrder.ofDeployment(command.params)
        val refusal = when {
            order == null -> ActionOutcome.failed("bad_params", "the parameters are not understood")
            live.size >= limits.installationsMax -> ActionOutcome.failed("busy", "${live.size} installations are under way or wait")
            else -> null
        }
        if (refusal != null) return conclusion.conclude(command.requestId, Installation.DEPLOY_ACTION, refusal)
        begin(Installation(command.requestId, InstallSource.DEPLOYMENT, command.requestId, order, InstallState.QUEUED, nextSequence()))
    }

    /**
     * Asks the server for an update of the agent and installs what it offers; [command] is concluded with the outcome. Throws
     * [SqlException]; nothing is begun then.
     */
    override fun lookForUpdate(command: Command?) {
        load()
        val requestId = command?.requestId
        if (Installation.UPDATE_ID in live) return step(Installation.UPDATE_ID, InstallEvent.LookRequested(requestId))
        val look = Installation(Installation.UPDATE_ID, InstallSource.UPDATE, requestId, null, InstallState.LOOKING, nextSequence())
        begin(look, InstallEffect.AskForUpdate)
    }

    /** Whether an installation will conclude the command with this `request_id`. Throws [SqlException]. */
    override fun owns(requestId: String): Boolean {
        load()
        return live.values.any { it.requestId == requestId }
    }

    /**
     * Goes on with what an earlier process began, removes files that nobody needs, and looks for updates from now on. Throws
     * [SqlException]; call it again then.
     */
    fun recover() {
        load()
        work.deleteStaleFiles(live.keys)
        for (id in unrecovered.toList()) {
            val isLost = live[id]?.pending?.let { outbox.get(it.itemId) == null } ?: false
            step(id, InstallEvent.Recovered(isLost))
            unrecovered.remove(id)
        }
        if (Installation.UPDATE_ID in live) planLook(LOOK_EVERY_MS) else planLook(FIRST_LOOK_MAX_MS)
        admit()
    }

    /**
     * Takes the server's answer to a report of ours: removed from the outbox when it is for good, together with what follows from
     * it. [exchange] with the node, when there is one to tell observers. Throws [SqlException]; the item stays then.
     */
    fun statusAnswered(item: OutboxItem, status: Int, exchange: Exchange? = null) {
        if (status == 401 || status == 410 || status in REPEATED || status >= 500) return
        load()
        if (unrecovered.isNotEmpty()) recover()
        // The witness first: whoever judges a record must not see an installation go on that nothing let through.
        if (item.kind == ItemKind.DEPLOYMENT_STATUS) observeAnswer(item, status, exchange)
        val id = live.values.firstOrNull { it.pending?.itemId == item.id }?.id
        if (id == null) outbox.remove(item.id) else step(id, InstallEvent.Answered(status)) { outbox.remove(item.id) }
    }

    /** The device is awake. Timers stand still while it sleeps, so what became due meanwhile is done now. Throws [SqlException]. */
    fun wake() {
        if (!isLoaded) return
        val nowMs = time.reliableNowMs()
        for (installation in live.values.filter { it.state == InstallState.WAITING }) {
            val untilMs = installation.waitUntilMs ?: continue
            if (nowMs == null || nowMs < untilMs || installation.id in unrecovered) continue
            jobs.remove(installation.id)?.cancel()
            step(installation.id, InstallEvent.WaitEnded)
        }
        if (nextLookAtMs?.let { ports.clock.monotonicMs() >= it } == true) planLook(FIRST_LOOK_MAX_MS)
    }

    /** Ends and forgets everything: the device is no longer enrolled. Throws [SqlException]. */
    fun forget() {
        nextLook?.cancel()
        nextLookAtMs = null
        admission?.cancel()
        jobs.values.forEach { it.cancel() }
        jobs.clear()
        live.clear()
        unrecovered.clear()
        work.deleteStaleFiles(emptySet())
        store.clear()
    }

    private fun load() {
        if (isLoaded) return
        val interrupted = ActionOutcome.failed("interrupted", "what an earlier version of the agent kept is not understood")
        val loaded = store.load { id ->
            if (id != Installation.UPDATE_ID) conclusion.conclude(id, Installation.DEPLOY_ACTION, interrupted)
        }
        loaded.associateByTo(live) { it.id }
        unrecovered += live.keys
        isLoaded = true
    }

    private fun nextSequence(): Long = (live.values.maxOfOrNull { it.sequence } ?: 0) + 1

    private fun begin(installation: Installation, vararg effects: InstallEffect) {
        apply(InstallDecision(installation, effects.toList())) { installation.order?.let { deployed.add(it.apk.packageName) } }
    }

    private fun context() = InstallContext(time.reliableNowMs(), ports.facts.agentVersionCode())

    /** Takes an event; [also] is done in the same transaction. Throws [SqlException]: nothing happened then. */
    private fun step(id: String, event: InstallEvent, also: () -> Unit = {}) {
        val installation = live[id] ?: return
        apply(InstallMachine.decide(installation, event, context()), also)
    }

    private fun apply(decision: InstallDecision, also: () -> Unit) {
        val id = decision.installation.id
        val isOver = InstallEffect.Remove in decision.effects
        // Before what follows is durable: the process may end in between, and a witness may hear of a step twice, but of each.
        for (effect in decision.effects) {
            if (effect is InstallEffect.Observe) ports.observer.installStep(exchangeNow(), effect.step)
        }
        val kept = db.inTransaction {
            also()
            var installation = decision.installation
            for (effect in decision.effects) {
                when (effect) {
                    is InstallEffect.Report -> {
                        val itemId = outbox.put(effect.kind, effect.subject, effect.body)
                        if (effect.awaited) installation = installation.copy(pending = installation.pending?.copy(itemId = itemId))
                    }
                    is InstallEffect.Conclude -> conclusion.conclude(effect.requestId, effect.action, effect.outcome)
                    else -> Unit
                }
            }
            if (isOver) store.remove(id) else store.put(installation)
            installation
        }
        if (isOver) live.remove(id) else live[id] = kept
        decision.effects.forEach { follow(kept, it) }
        if (decision.effects.any { it is InstallEffect.Report }) onReport()
        admit()
    }

    private fun follow(installation: Installation, effect: InstallEffect) {
        when (effect) {
            is InstallEffect.Report, is InstallEffect.Conclude, is InstallEffect.Observe, InstallEffect.Remove -> Unit
            is InstallEffect.Log -> ports.log.log(Level.INFO, effect.event, effect.fields)
            InstallEffect.DeleteFile -> work.deleteFile(installation.id)
            InstallEffect.Stop -> jobs.remove(installation.id)?.cancel()
            else -> start(installation, effect)
        }
    }

    private fun start(installation: Installation, effect: InstallEffect) {
        val id = installation.id
        jobs.remove(id)?.cancel()
        jobs[id] = scope.launch {
            val event = work.perform(installation, effect) { pct -> deliver(id, InstallEvent.Progress(pct)) }
            if (event != null) deliver(id, event)
            if (effect == InstallEffect.AskForUpdate) {
                planLook(if (event is InstallEvent.LookFailed) LOOK_SOON_MS else LOOK_EVERY_MS)
            }
        }
    }

    /** Takes an event in any case: when storage refuses it is tried again until it does not. */
    private suspend fun deliver(id: String, event: InstallEvent) {
        var delayMs = STORE_RETRY_MS
        while (true) {
            try {
                return step(id, event)
            } catch (e: SqlException) {
                ports.log.warn("store.fail", "error" to e.message)
            }
            delay(delayMs)
            delayMs = (delayMs * 2).coerceAtMost(STORE_RETRY_MAX_MS)
        }
    }

    /** Gives free places to those that wait, in their order; one place a package. */
    private fun admit() {
        try {
            while (true) {
                val busy = live.values.filter { it.state.takesPlace }
                if (busy.size >= limits.placesMax) return
                val packages = busy.mapTo(mutableSetOf()) { it.order?.apk?.packageName }
                val next = live.values.filter { it.state == InstallState.QUEUED && it.id !in unrecovered }
                    .filter { it.order?.apk?.packageName !in packages }
                    .minByOrNull { it.sequence } ?: return
                step(next.id, InstallEvent.Admitted)
            }
        } catch (e: SqlException) {
            // What called this is done and on record.
            ports.log.warn("store.fail", "error" to e.message)
            if (admission?.isActive != true) {
                admission = scope.launch {
                    delay(STORE_RETRY_MAX_MS)
                    admission = null
                    admit()
                }
            }
        }
    }

    /** Looks for an update within [delayMs], up to a tenth earlier or later unless it is the first time. */
    private fun planLook(delayMs: Long) {
        nextLook?.cancel()
        val waitMs = if (delayMs == FIRST_LOOK_MAX_MS) ports.randomness.below(delayMs) else jittered(delayMs)
        nextLookAtMs = ports.clock.monotonicMs() + waitMs
        nextLook = scope.launch {
            delay(waitMs)
            nextLookAtMs = null
            while (true) {
                try {
                    lookForUpdate(null)
                    break
                } catch (e: SqlException) {
                    ports.log.warn("store.fail", "error" to e.message)
                    delay(STORE_RETRY_MAX_MS)
                }
            }
            // The look plans the next one when it is answered; this is for one that an update under way swallowed.
            delay(jittered(LOOK_EVERY_MS))
            nextLook = null
            planLook(FIRST_LOOK_MAX_MS)
        }
    }

    private fun jittered(delayMs: Long): Long = delayMs - delayMs / 10 + ports.randomness.below(delayMs / 5)

    private fun observeAnswer(item: OutboxItem, status: Int, exchange: Exchange?) {
        val body = try {
            WireJson.decodeFromString<DeploymentStatus>(item.body)
        } catch (_: SerializationException) {
            return
        }
        val step = InstallStep(body.status, item.subject, body.attempt, body.error, packageName = null, versionCode = null, status = status)
        ports.observer.installStep(exchange ?: exchangeNow(), step)
    }

    private fun exchangeNow(): Exchange {
        val nowMs = ports.clock.wallMs()
        return Exchange(api.servers().firstOrNull().orEmpty(), nowMs, nowMs)
    }

    private companion object {
        /** Interval of looks for an update, ms. */
        const val LOOK_EVERY_MS = 6 * 3_600_000L

        /** Interval after a look that came to nothing, ms. */
        const val LOOK_SOON_MS = 900_000L

        /** The first look comes within this time of the start, ms. */
        const val FIRST_LOOK_MAX_MS = 10_000L

        const val STORE_RETRY_MS = 1_000L
        const val STORE_RETRY_MAX_MS = 60_000L
        val REPEATED = setOf(408, 425, 429)
    }
}
