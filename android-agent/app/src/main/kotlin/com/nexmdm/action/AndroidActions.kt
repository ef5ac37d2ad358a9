package com.nexmdm.action

import android.app.admin.DevicePolicyManager
import android.content.Context
import android.os.Build
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.Actions
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.GuardedBySdk
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.withTimeoutOrNull
import java.util.concurrent.Executor

/** Actions by the platform's calls. Codes: `not_permitted`, `not_supported`, `not_installed`, `in_call`, `failed` and those named below. */
internal class AndroidActions(
    private val context: Context,
    private val owner: DeviceOwner,
    private val ringer: Ringer,
    private val apps: AppControl = AppControl(context, owner),
    private val screen: Screen = Screen(context, owner),
    private val wifi: WifiJoiner = WifiJoiner(context, owner),
    private val programs: ProgramRunner = ProgramRunner(),
) : Actions {
    override suspend fun perform(action: PlatformAction): ActionOutcome = try {
        when (action) {
            is PlatformAction.Ring -> ringer.ring(action.durationS)
            PlatformAction.Reboot -> reboot()
            is PlatformAction.LaunchApp -> apps.launch(action.packageName, action.intentAction)
            is PlatformAction.RestartApp -> apps.restart(action.packageName)
            is PlatformAction.ClearAppData -> clearAppData(action.packageName)
            PlatformAction.Wake -> screen.turnOn()
            PlatformAction.Lock -> lock()
            is PlatformAction.SetBrightness -> screen.setBrightness(action.levelPct)
            is PlatformAction.SetMonitoredApp -> apps.describe(action.packageName)
            is PlatformAction.WifiConnect -> wifi.join(action)
            is PlatformAction.Exec -> programs.run(action.argv)
            is PlatformAction.RestartIntent -> apps.sendIntent(action)
        }
    } catch (e: CancellationException) {
        throw e
    } catch (e: SecurityException) {
        // A maker's Android may refuse what the documentation allows.
        ActionOutcome.failed("not_permitted", e.message?.take(MESSAGE_MAX_CHARS))
    } catch (e: Exception) {
        ActionOutcome.failed("failed", "${e.javaClass.simpleName}: ${e.message.orEmpty()}".take(MESSAGE_MAX_CHARS))
    }

    private fun reboot(): ActionOutcome {
        if (!owner.isOwner) return NOT_OWNER
        return try {
            owner.policy.reboot(owner.admin)
            ActionOutcome.SUCCESS
        } catch (e: IllegalStateException) {
            // The documented refusal: a call is on.
            ActionOutcome.failed("in_call", e.message)
        }
    }

    private fun lock(): ActionOutcome {
        // Any active device admin with force-lock may, an owner is one.
        if (!owner.policy.isAdminActive(owner.admin) && !owner.isOwner) return NOT_OWNER
        owner.policy.lockNow()
        return ActionOutcome.SUCCESS
    }

    private suspend fun clearAppData(packageName: String): ActionOutcome = when {
        !apps.isInstalled(packageName) -> notInstalled(packageName)
        packageName == context.packageName -> ActionOutcome.failed("not_permitted", "the agent does not clear its own data")
        Build.VERSION.SDK_INT < Build.VERSION_CODES.P -> ActionOutcome.failed("not_supported", "needs Android 9 or newer")
        !owner.isOwner -> NOT_OWNER
        else -> when (withTimeoutOrNull(CLEAR_TIMEOUT_MS) { clearData(packageName) }) {
            true -> ActionOutcome.SUCCESS
            false -> ActionOutcome.failed("not_permitted", "Android did not clear the data of $packageName")
            null -> ActionOutcome("timeout", "timeout", "no answer within ${CLEAR_TIMEOUT_MS / 1_000} s")
        }
    }

    @GuardedBySdk
    private suspend fun clearData(packageName: String): Boolean {
        val cleared = CompletableDeferred<Boolean>()
        owner.policy.clearApplicationUserData(
            owner.admin,
            packageName,
            Executor { it.run() },
            DevicePolicyManager.OnClearApplicationUserDataListener { _, succeeded -> cleared.complete(succeeded) },
        )
        return cleared.await()
    }

    companion object {
        internal const val MESSAGE_MAX_CHARS = 500
        private const val CLEAR_TIMEOUT_MS = 30_000L

        /** What only a device owner may do was asked for. */
        internal val NOT_OWNER = ActionOutcome.failed("not_permitted", "the agent is not device owner")

        /** There is no such app. */
        internal fun notInstalled(packageName: String) = ActionOutcome.failed("not_installed", "$packageName is not installed")
    }
}
