package com.nexmdm.action

import android.content.ComponentName
import android.content.Context
import android.content.Intent
import android.content.pm.PackageManager
import android.os.Build
import com.nexmdm.action.AndroidActions.Companion.NOT_OWNER
import com.nexmdm.action.AndroidActions.Companion.notInstalled
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.core.port.PlatformAction
import com.nexmdm.platform.AppUsage
import com.nexmdm.platform.DeviceOwner
import com.nexmdm.platform.code
import com.nexmdm.platform.deviceProtected
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.doubleOrNull
import kotlinx.serialization.json.longOrNull

/** Starts, stops and addresses other apps. */
internal class AppControl(private val context: Context, private val owner: DeviceOwner) {
    private val packages = context.packageManager
    private val hidden = context.deviceProtected().getSharedPreferences("hidden_apps", Context.MODE_PRIVATE)

    /** Whether an app is installed. */
    fun isInstalled(packageName: String): Boolean = info(packageName) != null

    /** Brings an app to the front. */
    fun launch(packageName: String, intentAction: String?): ActionOutcome {
        if (!isInstalled(packageName)) return notInstalled(packageName)
        val intent = if (intentAction == null) {
            packages.getLaunchIntentForPackage(packageName)
                ?: return ActionOutcome.failed("no_activity", "$packageName has no launcher entry")
        } else {
            Intent(intentAction).setPackage(packageName).takeIf { packages.resolveActivity(it, 0) != null }
                ?: return ActionOutcome.failed("no_activity", "$packageName has no activity for $intentAction")
        }
        return start(intent)
    }

    /**
     * Stops an app and starts it. Android lets no app stop another one but the owner of the device, which can hide it: that ends
     * its processes and tasks and keeps its data. What is hidden is on record, so that [unhideLeftovers] brings it back if the
     * agent dies in between.
     */
    fun restart(packageName: String): ActionOutcome {
        if (!isInstalled(packageName)) return notInstalled(packageName)
        if (packageName == context.packageName) return ActionOutcome.failed("not_permitted", "the agent does not stop itself")
        if (!owner.isOwner) return NOT_OWNER
        if (packages.getLaunchIntentForPackage(packageName) == null) {
            return ActionOutcome.failed("no_activity", "$packageName has no launcher entry")
        }
        // commit, not apply: it has to be on disk before the app is hidden.
        if (!hidden.edit().putBoolean(packageName, true).commit()) return ActionOutcome.failed("low_storage", "nothing can be written")
        val stopped = owner.policy.setApplicationHidden(owner.admin, packageName, true)
        if (!unhide(packageName)) return ActionOutcome.failed("failed", "$packageName is hidden and Android does not show it again")
        return if (stopped) launch(packageName, null) else ActionOutcome.failed("not_permitted", "Android does not stop $packageName")
    }

    /** Shows apps again that a restart hid, after the agent died half-way. */
    fun unhideLeftovers() {
        if (owner.isOwner) hidden.all.keys.toList().forEach(::unhide)
    }

    private fun unhide(packageName: String): Boolean {
        owner.policy.setApplicationHidden(owner.admin, packageName, false)
        if (owner.policy.isApplicationHidden(owner.admin, packageName)) return false
        hidden.edit().remove(packageName).commit()
        return true
    }

    /** What is known of an app that is to be watched. An app that comes later may be watched from now on too. */
    fun describe(packageName: String): ActionOutcome {
        val info = info(packageName)
        val usageAllowed = AppUsage(context).isAllowed()
        val data = buildJsonObject {
            put("installed", JsonPrimitive(info != null))
            put("usage_access", JsonPrimitive(usageAllowed))
            info?.let {
                put("version_name", JsonPrimitive(it.versionName))
                put("version_code", JsonPrimitive(it.code()))
            }
        }
        val message = if (usageAllowed) null else "without usage access the agent cannot tell when the app was in the foreground"
        return ActionOutcome("success", message = message, data = data)
    }

    /**
     * Sends the intent that follows an installation: to the receivers of the app, else to an activity of it. The agent's own
     * restart needs none: Android starts it after its update.
     */
    fun sendIntent(wanted: PlatformAction.RestartIntent): ActionOutcome {
        if (wanted.packageName == context.packageName) return ActionOutcome.SUCCESS
        if (!isInstalled(wanted.packageName)) return notInstalled(wanted.packageName)
        val intent = Intent(wanted.action).setPackage(wanted.packageName).addFlags(Intent.FLAG_INCLUDE_STOPPED_PACKAGES)
        wanted.extras.forEach { (name, value) -> intent.put(name, value) }
        val receivers = packages.queryBroadcastReceivers(intent, 0).mapNotNull { it.activityInfo }.filter { it.exported }
        if (receivers.isNotEmpty()) {
            // By name, since Android 8 gives implicit broadcasts to no receiver of a manifest.
            receivers.forEach { context.sendBroadcast(Intent(intent).setComponent(ComponentName(it.packageName, it.name))) }
            return ActionOutcome.SUCCESS
        }
        if (packages.resolveActivity(intent, 0) != null) return start(intent)
        return ActionOutcome.failed("no_component", "${wanted.packageName} has nothing that takes ${wanted.action}")
    }

    private fun start(intent: Intent): ActionOutcome {
        // From Android 10 on, the start of an activity from the background is dropped in silence, but for device owners.
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q && !owner.isOwner) return NOT_OWNER
        context.startActivity(intent.addFlags(Intent.FLAG_ACTIVITY_NEW_TASK or Intent.FLAG_ACTIVITY_RESET_TASK_IF_NEEDED))
        return ActionOutcome.SUCCESS
    }

    private fun info(packageName: String) = try {
        packages.getPackageInfo(packageName, 0)
    } catch (_: PackageManager.NameNotFoundException) {
        null
    }

    private fun Intent.put(name: String, value: Any) {
        when (value) {
            is JsonPrimitive -> when {
                value.isString -> putExtra(name, value.content)
                value.booleanOrNull != null -> putExtra(name, value.booleanOrNull)
                value.longOrNull != null -> putExtra(name, value.longOrNull)
                value.doubleOrNull != null -> putExtra(name, value.doubleOrNull)
            }
            // Structures go as JSON text: bundles have no counterpart for all of them.
            is JsonObject, is JsonArray -> putExtra(name, value.toString())
        }
    }
}
