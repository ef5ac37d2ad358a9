package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.wire.DeploymentStatus

/** Moments and device facts that decisions go by. */
data class InstallContext(
    /** Server time, ms since 1970; null when unknown. */
    val nowMs: Long?,
    /** Version code of the agent that runs. */
    val agentVersionCode: Long,
)

/**
 * One installation from the command to its end, for deployments and updates of the agent alike.
 *
 * ```text
 * [LOOKING ->] QUEUED -> CHECKING -> AWAITING_ACCEPT -> DOWNLOADING -> VERIFYING
 *                   -> AWAITING_INSTALLING_ACK -> PREPARING -> INSTALLING -> INSTALLED
 * WAITING -> QUEUED: from any of them, for a retry of the agent's own or for the conditions of an update
 * ```
 * An update has neither `accepted` nor `installing`: the server does not gate it.
 */
object InstallMachine {
    /** Decides what follows when [event] happens to [installation]. Events that do not belong to its state change nothing. */
    fun decide(installation: Installation, event: InstallEvent, context: InstallContext): InstallDecision =
        InstallStepDecision(installation, context).decide(event)
}

private const val MESSAGE_MAX_CHARS = 1_000

/** A download is reported again after so many percent. */
private const val PROGRESS_STEP_PCT = 10

/** How long an update waits for its conditions; then the next look asks anew. */
private const val CONDITIONS_WAIT_MAX_MS = 6 * 3_600_000L

/** Conditions that change silently, such as a call, are read again after this time. */
private const val CONDITIONS_POLL_MS = 300_000L

/** Times that the address of an update is asked for. */
private const val OFFERS_MAX = 3

/** Times that an interrupted installation is begun anew. */
private const val INTERRUPTIONS_MAX = 2

/** Times that a file that went missing is downloaded anew. */
private const val FILES_LOST_MAX = 2

private const val RETRY_DELAY_MAX_MS = 6 * 3_600_000L

/** One decision in the making. */
private class InstallStepDecision(installation: Installation, context: InstallContext) : InstallDecisionBuilder(installation, context) {
    fun decide(event: InstallEvent): InstallDecision {
        when (event) {
            is InstallEvent.Admitted -> if (it.state == InstallState.QUEUED) become(InstallState.CHECKING, InstallEffect.ReadDevice)
            is InstallEvent.Recovered -> recovered(event.reportLost)
            is InstallEvent.LookRequested -> lookRequested(event.requestId)
            is InstallEvent.Offered -> if (it.state == InstallState.LOOKING) offered(event)
            is InstallEvent.NothingOffered -> if (it.state == InstallState.LOOKING) {
                end(ActionOutcome("success", message = event.reason))
            }
            is InstallEvent.LookFailed -> if (it.state == InstallState.LOOKING) end(ActionOutcome.failed(event.code, event.message))
            is InstallEvent.Answered -> answered(event.status)
            is InstallEvent.WaitEnded -> waitEnded()
            is InstallEvent.PlatformFailed -> platformFailed(event.failure)
            else -> it.order?.let { order -> worked(order, event) }
        }
        return InstallDecision(it, effects)
    }

    private fun worked(order: InstallOrder, event: InstallEvent) {
        val state = it.state
        when (event) {
            is InstallEvent.DeviceRead -> when (state) {
                InstallState.CHECKING -> checked(order, event)
                InstallState.PREPARING -> if (isClear(order, event.condition)) become(InstallState.INSTALLING, InstallEffect.Install)
                else -> Unit
            }
            is InstallEvent.Progress -> if (state == InstallState.DOWNLOADING) progress(event.pct)
            is InstallEvent.Downloaded -> if (state == InstallState.DOWNLOADING) downloaded(order)
            is InstallEvent.DownloadFailed -> if (state == InstallState.DOWNLOADING) fail(order, event.failure)
            is InstallEvent.AddressExpired -> if (state == InstallState.DOWNLOADING) addressExpired(order, event.status)
            is InstallEvent.FileRead -> if (state == InstallState.VERIFYING) fileRead(order, event)
            is InstallEvent.InstallEnded -> if (state == InstallState.INSTALLING) installEnded(order, event.verdict, event.installed)
            is InstallEvent.Interrupted -> if (state == InstallState.INSTALLING) interrupted(order)
            is InstallEvent.IntentEnded -> if (state == InstallState.INSTALLED) intentEnded(event.outcome)
            else -> Unit
        }
    }

    private fun platformFailed(failure: InstallFailure) {
        val order = it.order
        when {
            it.state == InstallState.INSTALLED -> end(ActionOutcome.SUCCESS)
            order == null || it.state == InstallState.LOOKING -> end(ActionOutcome.failed(failure.code, failure.message))
            else -> fail(order, failure)
        }
    }

    // Beginning.

    private fun lookRequested(requestId: String?) {
        when (it.state) {
            InstallState.LOOKING -> adopt(requestId)
            // What was offered may be out of date by now.
            InstallState.QUEUED, InstallState.WAITING -> {
                adopt(requestId)
                effects += InstallEffect.Stop
                it = it.copy(order = null, waitUntilMs = null, giveUpAtMs = null, offers = 0)
                become(InstallState.LOOKING, InstallEffect.AskForUpdate)
            }
            else -> adopt(requestId)
        }
    }

    private fun adopt(requestId: String?) {
        if (requestId == null || requestId == it.requestId) return
        if (it.requestId == null) {
            it = it.copy(requestId = requestId)
        } else {
            val outcome = ActionOutcome("skipped", "busy", "another command looks for an update already")
            effects += InstallEffect.Conclude(requestId, it.action, outcome)
        }
    }

    private fun offered(event: InstallEvent.Offered) {
        val order = event.order
        if (order == null || order.apk.packageName != event.agentPackage) {
            return end(ActionOutcome.failed("not_understood", "the server's offer is not understood"))
        }
        if (order.apk.versionCode <= context.agentVersionCode) return end(ActionOutcome("success", message = "already_current"))
        log("update.offer", "version_code" to order.apk.versionCode, "build_id" to order.subject)
        val giveUpAtMs = it.giveUpAtMs ?: context.nowMs?.plus(CONDITIONS_WAIT_MAX_MS)
        if (it.reportedSubject != order.subject) it = it.copy(reported = null, reportedSubject = order.subject)
        // What was downloaded of another file is of no use.
        if (it.order != null && it.order?.apk?.sha256 != order.apk.sha256) effects += InstallEffect.DeleteFile
        it = it.copy(order = order, offers = it.offers + 1, giveUpAtMs = giveUpAtMs)
        become(InstallState.QUEUED)
    }

    private fun checked(order: InstallOrder, read: InstallEvent.DeviceRead) {
        val installed = read.installed
        when {
            installed?.versionCode == order.apk.versionCode -> {
                if (isUpdate) return end(ActionOutcome("success", message = "already_current"))
                // Nothing is installed and nobody disturbed: it was there.
                tellSuccess(order)
                end(ActionOutcome.SUCCESS)
            }
            installed != null && installed.versionCode > order.apk.versionCode -> fail(order, downgrade(installed))
            !isClear(order, read.condition) -> Unit
            isUpdate || (it.reported != null && it.reported != "accepted") -> become(InstallState.DOWNLOADING, InstallEffect.Download)
            else -> {
                become(InstallState.AWAITING_ACCEPT)
                say(order, "accepted")
            }
        }
    }

    /** Whether all conditions hold; what follows when they do not is decided here. */
    private fun isClear(order: InstallOrder, condition: DeviceCondition): Boolean {
        val code = condition.obstacle(order, context.nowMs) ?: return true
        if (isUpdate) {
            waitForConditions(code)
        } else if (it.state == InstallState.CHECKING && it.reported == null) {
            if (!retried(order, code)) finish(order, "skipped", InstallFailure(code, null))
        } else {
            fail(order, InstallFailure(code, "it does not hold any more"))
        }
        return false
    }

    private fun waitForConditions(code: String) {
        val nowMs = context.nowMs
        val giveUpAtMs = it.giveUpAtMs ?: nowMs?.plus(CONDITIONS_WAIT_MAX_MS)
        it.requestId?.let { id ->
            val outcome = ActionOutcome("skipped", code, "the update waits until this changes")
            effects += InstallEffect.Conclude(id, it.action, outcome)
        }
        it = it.copy(requestId = null, giveUpAtMs = giveUpAtMs)
        if (nowMs != null && giveUpAtMs != null && nowMs >= giveUpAtMs) return end(ActionOutcome("skipped", code))
        wait(CONDITIONS_POLL_MS, orChange = true)
    }

    private fun retried(order: InstallOrder, code: String): Boolean {
        if (isUpdate || it.retries >= order.retry.max || !ErrorCodes.isRetried(code)) return false
        val delayMs = (order.retry.backoffS * 1_000L shl it.retries).coerceAtMost(RETRY_DELAY_MAX_MS)
        log("retry.schedule", "delay_ms" to delayMs, "error" to code)
        it = it.copy(retries = it.retries + 1)
        wait(delayMs, orChange = false)
        return true
    }

    private fun wait(delayMs: Long, orChange: Boolean) {
        it = it.copy(waitUntilMs = context.nowMs?.plus(delayMs))
        become(InstallState.WAITING, InstallEffect.Wait(delayMs, orChange))
    }

    private fun waitEnded() {
        if (it.state == InstallState.WAITING) become(InstallState.QUEUED)
    }

    // Answers.

    private fun answered(status: Int) {
        val answered = it.pending ?: return
        it = it.copy(pending = null)
        val order = it.order ?: return
        if (status != 200) return refused(answered.status, status)
        when {
            it.state == InstallState.AWAITING_ACCEPT && answered.status == "accepted" -> {
                log("install.accepted", "deployment_id" to order.subject)
                become(InstallState.DOWNLOADING, InstallEffect.Download)
                say(order, "downloading", 0)
            }
            it.state == InstallState.AWAITING_INSTALLING_ACK && answered.status == "installing" ->
                become(InstallState.PREPARING, InstallEffect.ReadDevice)
            else -> it.deferred.firstOrNull()?.let { next ->
                it = it.copy(deferred = it.deferred.drop(1))
                tellStage(order, next, null)
            }
        }
    }

    /** The server does not want it to go on. What the package manager has already is left to it. */
    private fun refused(report: String, status: Int) {
        if (it.state == InstallState.INSTALLING || it.state == InstallState.INSTALLED) return
        end(ActionOutcome("skipped", "refused", "the server answered $status to $report"))
    }

    // Download and verification.

    private fun progress(pct: Int) {
        if (isUpdate || it.pending != null || pct < it.progressPct + PROGRESS_STEP_PCT || pct >= 100) return
        it.order?.let { order -> say(order, "downloading", pct) }
    }

    private fun downloaded(order: InstallOrder) {
        observe(order, if (isUpdate) "update_downloaded" else "downloaded")
        become(InstallState.VERIFYING, InstallEffect.ReadFile)
        if (isUpdate) {
            if (it.reported == null) tellUpdate(order, "downloaded", null, context.agentVersionCode)
            it = it.copy(reported = "downloaded")
        } else {
            say(order, "downloading", 100)
            say(order, "verifying")
        }
    }

    private fun addressExpired(order: InstallOrder, status: Int) {
        if (isUpdate && it.offers < OFFERS_MAX) return become(InstallState.LOOKING, InstallEffect.AskForUpdate)
        fail(order, InstallFailure(ErrorCodes.DOWNLOAD_FAILED, "the address does not hold (HTTP $status)"))
    }

    private fun fileRead(order: InstallOrder, read: InstallEvent.FileRead) {
        // The system may empty the folder at any time.
        val file = read.file ?: return fileLost(order)
        val problem = verify(order.apk, file, read.installed, read.condition.sdkInt)
        if (problem != null) return fail(order, problem)
        if (!isClear(order, read.condition)) return
        log("install.verified", "package" to order.apk.packageName, "version_code" to order.apk.versionCode)
        if (isUpdate) return become(InstallState.INSTALLING, InstallEffect.Install)
        become(InstallState.AWAITING_INSTALLING_ACK)
        say(order, "installing")
    }

    /** The process ended before the package manager had the file, or before its refusal was heard: once more, if the server agrees. */
    private fun interrupted(order: InstallOrder) {
        if (it.interruptions >= INTERRUPTIONS_MAX) return fail(order, InstallFailure(ErrorCodes.INSTALL_FAILED, "interrupted"))
        it = it.copy(interruptions = it.interruptions + 1)
        become(InstallState.VERIFYING, InstallEffect.ReadFile)
    }

    private fun fileLost(order: InstallOrder) {
        if (it.filesLost >= FILES_LOST_MAX) {
            return fail(order, InstallFailure(ErrorCodes.DOWNLOAD_FAILED, "the downloaded file was removed"))
        }
        it = it.copy(filesLost = it.filesLost + 1)
        become(InstallState.DOWNLOADING, InstallEffect.Download)
    }

    // The end.

    private fun installEnded(order: InstallOrder, verdict: InstallVerdict?, installed: InstalledApp?) {
        // What is installed counts more than what was said about it.
        if (verdict == InstallVerdict.Installed || installed?.versionCode == order.apk.versionCode) return succeed(order)
        val failure = when (verdict) {
            is InstallVerdict.Failed -> {
                val code = ErrorCodes.known(verdict.code)
                InstallFailure(code, if (code == verdict.code) verdict.message else "${verdict.code}: ${verdict.message.orEmpty()}")
            }
            else -> InstallFailure(ErrorCodes.TIMEOUT, "the system did not decide in time")
        }
        fail(order, failure)
    }

    private fun succeed(order: InstallOrder) {
        observe(order, if (isUpdate) "update_installed" else "installed")
        effects += InstallEffect.DeleteFile
        if (isUpdate) tellUpdate(order, "installed", null, order.apk.versionCode) else tellSuccess(order)
        it = it.copy(pending = null, deferred = emptyList())
        val intent = order.restartIntent
        if (intent == null) {
            end(ActionOutcome.SUCCESS)
        } else {
            become(InstallState.INSTALLED, InstallEffect.SendIntent(order.apk.packageName, intent))
        }
        logReported(order, if (isUpdate) "installed" else "succeeded", null)
    }

    private fun intentEnded(outcome: ActionOutcome) {
        val problem = if (outcome.outcome == "success") null else "installed; the intent was not sent: ${outcome.code ?: outcome.outcome}"
        end(ActionOutcome("success", message = problem))
    }

    private fun fail(order: InstallOrder, failure: InstallFailure) {
        if (!retried(order, failure.code)) finish(order, "failed", failure)
    }

    private fun finish(order: InstallOrder, status: String, failure: InstallFailure) {
        val message = failure.message?.take(MESSAGE_MAX_CHARS)
        if (isUpdate) {
            observe(order, "update_failed", failure.code)
            val event = if (ErrorCodes.isVerification(failure.code)) "verify_failed" else "failed"
            tellUpdate(order, event, failure.code, context.agentVersionCode)
        } else {
            tell(order, status, DeploymentStatus(status, failure.code, message, attempt = order.attempt), awaited = false)
        }
        end(ActionOutcome(status, failure.code, message))
        logReported(order, status, failure.code)
    }

    private fun end(outcome: ActionOutcome) {
        it.requestId?.let { id -> effects += InstallEffect.Conclude(id, it.action, outcome) }
        effects += listOf(InstallEffect.Remove, InstallEffect.Stop, InstallEffect.DeleteFile)
    }

    // After a restart.

    private fun recovered(reportLost: Boolean) {
        val order = it.order
        if (reportLost && order != null) {
            it.pending?.let { lost ->
                tellStage(order, lost.status, if (lost.status == "downloading") it.progressPct else null)
            }
        }
        when (it.state) {
            InstallState.LOOKING -> effects += InstallEffect.AskForUpdate
            InstallState.QUEUED, InstallState.AWAITING_ACCEPT, InstallState.AWAITING_INSTALLING_ACK -> Unit
            InstallState.WAITING -> {
                val longestMs = if (isUpdate) CONDITIONS_POLL_MS else RETRY_DELAY_MAX_MS
                val nowMs = context.nowMs
                val leftMs = it.waitUntilMs?.let { until -> if (nowMs == null) null else until - nowMs } ?: 0
                effects += InstallEffect.Wait(leftMs.coerceIn(0, longestMs), isUpdate)
            }
            InstallState.CHECKING -> become(InstallState.QUEUED)
            InstallState.DOWNLOADING -> effects += InstallEffect.Download
            InstallState.VERIFYING -> effects += InstallEffect.ReadFile
            InstallState.PREPARING -> effects += InstallEffect.ReadDevice
            InstallState.INSTALLING -> effects += InstallEffect.LookAtInstalled
            InstallState.INSTALLED -> intentEnded(ActionOutcome.failed("interrupted"))
        }
    }
}
