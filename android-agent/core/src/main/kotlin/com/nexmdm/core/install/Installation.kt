package com.nexmdm.core.install

import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.InstallStep
import com.nexmdm.core.port.InstallVerdict
import com.nexmdm.core.port.InstalledApp
import com.nexmdm.core.queue.ItemKind
import kotlinx.serialization.Serializable

/** Where an installation comes from. */
@Serializable
enum class InstallSource { DEPLOYMENT, UPDATE }

/** How far an installation is. */
@Serializable
enum class InstallState {
    /** The server is asked whether there is an update. */
    LOOKING,

    /** Waits for a free place, or for another installation of the same package. */
    QUEUED,

    /** Waits for a retry, or for the conditions of an update. */
    WAITING,

    /** The device's condition is read, nothing has begun. */
    CHECKING,

    /** `accepted` waits for its answer; nothing goes on before 200. */
    AWAITING_ACCEPT,

    /** The file is downloaded. */
    DOWNLOADING,

    /** The file is verified. */
    VERIFYING,

    /** `installing` waits for its answer; nothing is installed before 200. */
    AWAITING_INSTALLING_ACK,

    /** The condition is read once more, right before installing. */
    PREPARING,

    /** The package manager is at work. On record before it is given the file. */
    INSTALLING,

    /** It is installed and the intent that follows is on its way; a restart does not send it again. */
    INSTALLED,
    ;

    /** Whether it takes one of the places for installations at the same time. */
    val takesPlace: Boolean get() = this != LOOKING && this != QUEUED && this != WAITING
}

/** A report that waits for the server's answer. */
@Serializable
data class PendingReport(
    /** Id in the outbox; 0 until it is there. */
    val itemId: Long,
    val status: String,
)

/** An installation as it is kept on disk: everything that has to outlive the process. */
@Serializable
data class Installation(
    /** The command's `request_id`, or [UPDATE_ID]. */
    val id: String,
    val source: InstallSource,
    /** The command that still has to be concluded. */
    val requestId: String?,
    /** Null while the server is asked for an update. */
    val order: InstallOrder?,
    val state: InstallState,
    /** Place in the queue, ascending. */
    val sequence: Long,
    /** The report whose answer is awaited; one at a time, so that none overtakes another. */
    val pending: PendingReport? = null,
    /** Stages that are reported one by one once [pending] is answered; a few at most, since they ascend. */
    val deferred: List<String> = emptyList(),
    /** The latest stage that was reported; a step back would be refused. */
    val reported: String? = null,
    /** Build of the agent that [reported] is about. */
    val reportedSubject: String? = null,
    /** The last progress that was reported, percent. */
    val progressPct: Int = 0,
    /** Retries of the agent itself so far. */
    val retries: Int = 0,
    /** When waiting ends, server time in ms. */
    val waitUntilMs: Long? = null,
    /** Until when conditions of an update are waited for, server time in ms. */
    val giveUpAtMs: Long? = null,
    /** Times that an update's address was asked for. */
    val offers: Int = 0,
    /** Times that a file that was there as a whole was gone again. */
    val filesLost: Int = 0,
    /** Times that the process ended while it was installed, without a verdict. */
    val interruptions: Int = 0,
) {
    /** Action of the command that it belongs to. */
    val action: String get() = if (source == InstallSource.DEPLOYMENT) DEPLOY_ACTION else UPDATE_ACTION

    companion object {
        /** Id of the one update of the agent that there is at a time. */
        const val UPDATE_ID: String = "update"

        /** Action of the command of a deployment. */
        const val DEPLOY_ACTION: String = "deploy_apk"

        /** Action of the command that looks for an update. */
        const val UPDATE_ACTION: String = "update"
    }
}

/** What happens to an installation. */
sealed interface InstallEvent {
    /** It has a place now. */
    data object Admitted : InstallEvent

    /** The agent started anew. [reportLost]: the awaited report is not in the outbox. */
    data class Recovered(val reportLost: Boolean) : InstallEvent

    /** Somebody wants the server to be asked for an update now; [requestId] of the command, if one. */
    data class LookRequested(val requestId: String?) : InstallEvent

    /** The server offers an update; null: one that is not understood. */
    data class Offered(val order: InstallOrder?, val agentPackage: String) : InstallEvent

    /** There is no update; the server's [reason]. */
    data class NothingOffered(val reason: String?) : InstallEvent

    /** The server could not be asked. */
    data class LookFailed(val code: String, val message: String?) : InstallEvent

    /** The device's condition and what is installed. */
    data class DeviceRead(val condition: DeviceCondition, val installed: InstalledApp?) : InstallEvent

    /** The awaited report was answered for good with [status]. */
    data class Answered(val status: Int) : InstallEvent

    /** So much of the file is there. */
    data class Progress(val pct: Int) : InstallEvent

    /** The file is there as a whole. */
    data object Downloaded : InstallEvent

    /** The download ended without the file. */
    data class DownloadFailed(val failure: InstallFailure) : InstallEvent

    /** The address of the file does not hold any more. */
    data class AddressExpired(val status: Int) : InstallEvent

    /** The file was read, and the device once more; [file] is null when it is gone. */
    data class FileRead(val file: FileFacts?, val condition: DeviceCondition, val installed: InstalledApp?) : InstallEvent

    /** The package manager decided, or did not in time (null); [installed] afterwards. */
    data class InstallEnded(val verdict: InstallVerdict?, val installed: InstalledApp?) : InstallEvent

    /** After a restart: the package is not there in the wanted version, and nothing about it is undecided. */
    data object Interrupted : InstallEvent

    /** The intent that follows was sent. */
    data class IntentEnded(val outcome: ActionOutcome) : InstallEvent

    /** The platform could not be asked. */
    data class PlatformFailed(val failure: InstallFailure) : InstallEvent

    /** Waiting is over. */
    data object WaitEnded : InstallEvent
}

/** What has to be done for an installation. */
sealed interface InstallEffect {
    // Done together with keeping the new state, in one transaction.

    /** Queue a report; [awaited]: its answer decides how it goes on. */
    data class Report(val kind: ItemKind, val subject: String, val body: String, val awaited: Boolean) : InstallEffect

    /** Conclude the command. */
    data class Conclude(val requestId: String, val action: String, val outcome: ActionOutcome) : InstallEffect

    /** Forget the installation: it is over. */
    data object Remove : InstallEffect

    // Done afterwards.

    /** Tell the observer. */
    data class Observe(val step: InstallStep) : InstallEffect

    /** Write an event to the log. */
    data class Log(val event: String, val fields: Map<String, Any?>) : InstallEffect

    /** Remove the file. */
    data object DeleteFile : InstallEffect

    // Take time; at most one of an installation at a time, a new one ends the old one.

    /** Ends in [InstallEvent.Offered], [InstallEvent.NothingOffered] or [InstallEvent.LookFailed]. */
    data object AskForUpdate : InstallEffect

    /** Ends in [InstallEvent.DeviceRead]. */
    data object ReadDevice : InstallEffect

    /** Ends in [InstallEvent.Downloaded], [InstallEvent.DownloadFailed] or [InstallEvent.AddressExpired]. */
    data object Download : InstallEffect

    /** Ends in [InstallEvent.FileRead]. */
    data object ReadFile : InstallEffect

    /** Ends in [InstallEvent.InstallEnded], or with the process. */
    data object Install : InstallEffect

    /**
     * Looks how an installation ended that was under way when the process ended; ends in [InstallEvent.InstallEnded] or
     * [InstallEvent.Interrupted].
     */
    data object LookAtInstalled : InstallEffect

    /** Ends in [InstallEvent.IntentEnded]. */
    data class SendIntent(val packageName: String, val intent: RestartIntentOrder) : InstallEffect

    /** Ends in [InstallEvent.WaitEnded], when the device changes ([orChange]) also earlier. */
    data class Wait(val delayMs: Long, val orChange: Boolean) : InstallEffect

    /** End what takes time. */
    data object Stop : InstallEffect
}

/** What follows from an event. */
data class InstallDecision(val installation: Installation, val effects: List<InstallEffect>)
