package com.nexmdm.core.install

import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.wire.DeploymentStatus
import com.nexmdm.core.wire.UpdateReport
import com.nexmdm.core.wire.WireJson

/** Stages of a deployment in their order. */
private val STAGES = listOf("accepted", "downloading", "verifying", "installing")

/** A decision in the making: the installation as it becomes, the effects so far, and the reports among them. */
internal abstract class InstallDecisionBuilder(
    /** The installation as it becomes. */
    protected var it: Installation,
    protected val context: InstallContext,
) {
    protected val effects: MutableList<InstallEffect> = mutableListOf()
    protected val isUpdate: Boolean get() = it.source == InstallSource.UPDATE

    protected fun become(state: InstallState, work: InstallEffect? = null) {
        it = it.copy(state = state)
        work?.let { effect -> effects += effect }
    }

    /** Reports a stage whose answer is awaited: now, or once the one before is answered. */
    protected fun say(order: InstallOrder, status: String, pct: Int? = null) {
        if (STAGES.indexOf(status) < STAGES.indexOf(it.deferred.lastOrNull() ?: it.reported)) return
        if (it.pending != null) {
            if (status != it.deferred.lastOrNull()) it = it.copy(deferred = it.deferred + status)
            return
        }
        tellStage(order, status, pct)
    }

    protected fun tellStage(order: InstallOrder, status: String, pct: Int?) {
        val progress = pct ?: if (status == "downloading") 100 else null
        it = it.copy(pending = PendingReport(0, status), reported = status, progressPct = progress ?: it.progressPct)
        tell(order, status, DeploymentStatus(status, attempt = order.attempt, progressPct = progress), awaited = true)
    }

    protected fun tell(order: InstallOrder, status: String, body: DeploymentStatus, awaited: Boolean) {
        val text = WireJson.encodeToString(DeploymentStatus.serializer(), body.copy(status = status))
        effects += InstallEffect.Report(ItemKind.DEPLOYMENT_STATUS, order.subject, text, awaited)
    }

    protected fun tellSuccess(order: InstallOrder) {
        val version = order.apk.versionName
        tell(order, "succeeded", DeploymentStatus("succeeded", installedVersion = version, attempt = order.attempt), awaited = false)
    }

    protected fun tellUpdate(order: InstallOrder, event: String, error: String?, versionCode: Long) {
        val text = WireJson.encodeToString(UpdateReport.serializer(), UpdateReport(order.subject, event, error, versionCode))
        effects += InstallEffect.Report(ItemKind.UPDATE_REPORT, order.subject, text, awaited = false)
    }

    protected fun observe(order: InstallOrder, step: String, error: String? = null) {
        val deploymentId = if (isUpdate) "" else order.subject
        val apk = order.apk
        val seen = InstallStep(step, deploymentId, order.attempt, error, apk.packageName, apk.versionCode, status = null)
        effects += InstallEffect.Observe(seen)
    }

    protected fun log(event: String, vararg fields: Pair<String, Any?>) {
        effects += InstallEffect.Log(event, fields.toMap())
    }

    protected fun logReported(order: InstallOrder, status: String, error: String?) =
        log("install.reported", "subject" to order.subject, "status" to status, "error" to error)
}
