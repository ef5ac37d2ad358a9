package com.nexmdm.core.command

import com.nexmdm.core.identity.Vault
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.DeviceFacts
import com.nexmdm.core.port.EventLog
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.core.port.warn
import com.nexmdm.core.wire.Command
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.delay
import kotlinx.coroutines.withTimeoutOrNull
import java.io.IOException

/** Does what a command says, with a deadline; its end is for others to put on record. */
internal class CommandRunner(
    private val actions: Actions,
    private val facts: DeviceFacts,
    private val vault: Vault,
    private val log: EventLog,
) {
    /** Performs the action of a command whose signature holds; throws for cancellation only. */
    suspend fun run(command: Command): ActionOutcome = when (command.action) {
        "ping", "sync" -> ActionOutcome.SUCCESS
        "rotate_key" -> rotateKey(command)
        else -> platform(command)
    }

    private suspend fun platform(command: Command): ActionOutcome {
        val planned = try {
            plan(command.action, command.params) ?: return UNKNOWN_ACTION
        } catch (e: BadParams) {
            return ActionOutcome.failed(BAD_PARAMS, e.message)
        }
        val bootId = facts.bootId()
        val outcome = try {
            withTimeoutOrNull(planned.timeLimitMs) { actions.perform(planned.action) }
        } catch (e: CancellationException) {
            throw e
        } catch (@Suppress("TooGenericExceptionCaught") e: RuntimeException) {
            // An adapter's mistake must not end the agent. Its text may quote parameters.
            log.warn("command.fail", "action" to command.action, "error" to e::class.simpleName)
            ActionOutcome.failed("internal_error", e::class.simpleName)
        }
        return when {
            outcome == null -> ActionOutcome("timeout", "timeout", "no end within ${planned.timeLimitMs / MS_PER_S} s")
            planned.action == PlatformAction.Reboot && outcome.outcome == "success" -> awaitReboot(bootId)
            else -> outcome
        }
    }

    /** The process ends in here; the next one knows by the boot id that the reboot took place. */
    private suspend fun awaitReboot(bootId: String): ActionOutcome {
        var waitedMs = 0L
        while (facts.bootId() == bootId) {
            if (waitedMs >= REBOOT_LIMIT_MS) return ActionOutcome("timeout", "timeout", "the device did not go down")
            delay(REBOOT_CHECK_MS)
            waitedMs += REBOOT_CHECK_MS
        }
        return ActionOutcome.SUCCESS
    }

    /** Takes the new key beside the present one, durably, before the server is told. */
    private fun rotateKey(command: Command): ActionOutcome {
        val key = try {
            Params.read(command.params).text("device_key")
        } catch (e: BadParams) {
            return ActionOutcome.failed(BAD_PARAMS, e.message)
        }
        if (DeviceKey.fromHex(key) == null || key.length > KEY_MAX_CHARS) return ActionOutcome.failed(BAD_PARAMS, "device_key is no hex")
        val next = vault.identity?.nextDeviceKey?.let(DeviceKey::fromHex)
        return try {
            vault.updateIdentity { it.rotateTo(key, command.requestId, next != null && Signature.isMadeBy(next, command)) }
            ActionOutcome.SUCCESS
        } catch (e: IOException) {
            log.warn("store.fail", "error" to e::class.simpleName)
            ActionOutcome.failed("storage")
        }
    }

    companion object {
        const val BAD_PARAMS: String = "bad_params"

        /** Answer to an action that came to the server after this version of the agent. */
        private val UNKNOWN_ACTION = ActionOutcome.failed("unknown_action", "this version of the agent does not know the action")
        private const val MS_PER_S = 1_000L
        private const val KEY_MAX_CHARS = 1_024
        private const val REBOOT_LIMIT_MS = 120_000L
        private const val REBOOT_CHECK_MS = 1_000L
    }
}
