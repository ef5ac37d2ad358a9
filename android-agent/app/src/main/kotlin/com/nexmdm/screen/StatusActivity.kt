package com.nexmdm.screen

import android.app.Activity
import android.app.admin.DevicePolicyManager
import android.content.ActivityNotFoundException
import android.content.ClipboardManager
import android.content.Intent
import android.content.pm.PackageManager
import android.os.Build
import android.os.Bundle
import android.provider.Settings
import android.text.format.DateUtils
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import android.widget.Toast
import com.nexmdm.R
import com.nexmdm.agent
import com.nexmdm.core.agent.AgentPhase
import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.core.agent.ConnectionKind
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.platform.AppUsage
import com.nexmdm.platform.PowerExemption
import com.nexmdm.platform.service
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.IOException

/**
 * What the person who holds the device sees: the agent's state, enrollment, and the export of the log.
 *
 * A QR code is read by whatever app of the device can: one that answers ZXing's `SCAN` intent, one that shares the text with this
 * app, or the camera app and the clipboard. So the agent needs neither the camera's permission nor a decoder.
 */
internal class StatusActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Main)
    private var shown: Job? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.status)
        onClick(R.id.sync) { agent.syncNow() }
        onClick(R.id.scan_code) { scan() }
        onClick(R.id.paste_code) { paste() }
        onClick(R.id.enroll) { enroll() }
        onClick(R.id.export_log) { askWhereToExport() }
        onClick(R.id.battery_settings) { open(Intent(Settings.ACTION_IGNORE_BATTERY_OPTIMIZATION_SETTINGS)) }
        onClick(R.id.usage_settings) { open(Intent(Settings.ACTION_USAGE_ACCESS_SETTINGS)) }
        if (savedInstanceState == null) {
            takeShared(intent)
        } else {
            pins = savedInstanceState.getString(STATE_PINS)
            pinnedServer = savedInstanceState.getString(STATE_PINNED_SERVER)
        }
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(STATE_PINS, pins)
        outState.putString(STATE_PINNED_SERVER, pinnedServer)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        setIntent(intent)
        takeShared(intent)
    }

    override fun onStart() {
        super.onStart()
        shown = scope.launch {
            launch { agent.status.collect(::show) }
            // "2 minutes ago" grows without any change of the state.
            while (isActive) {
                delay(REFRESH_MS)
                show(agent.status.value)
            }
        }
    }

    override fun onStop() {
        shown?.cancel()
        super.onStop()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    private fun show(status: AgentStatus) {
        text(R.id.state, getString(phaseText(status.phase)))
        text(R.id.server, status.server ?: getString(R.string.none))
        text(R.id.alias, status.alias ?: getString(R.string.unknown))
        text(R.id.device_id, status.deviceId ?: getString(R.string.none))
        text(R.id.contact, status.lastContactMs?.let(::sinceText) ?: getString(R.string.never))
        text(R.id.connection, getString(connectionText(status.connection)))
        text(R.id.queue, status.queueSize.toString())
        text(R.id.version, "${agent.versionName} (${status.agentVersionCode})")
        val isOwner = service<DevicePolicyManager>().isDeviceOwnerApp(packageName)
        text(R.id.owner, getString(if (isOwner) R.string.owner_yes else R.string.owner_no))
        text(R.id.battery, getString(if (PowerExemption(this).isDozeExempt) R.string.battery_off else R.string.battery_on))
        text(R.id.usage, getString(if (AppUsage(this).isAllowed()) R.string.usage_yes else R.string.usage_no))
        text(R.id.error, status.lastError.orEmpty())
        show(R.id.error_row, status.lastError != null)
        show(R.id.alias_row, status.alias != null)
        show(R.id.device_id_row, status.deviceId != null)
        show(R.id.enrollment, status.phase != AgentPhase.ENROLLED)
        show(R.id.sync, status.phase == AgentPhase.ENROLLED)
    }

    private fun phaseText(phase: AgentPhase) = when (phase) {
        AgentPhase.UNENROLLED -> R.string.phase_unenrolled
        AgentPhase.REGISTERING -> R.string.phase_registering
        AgentPhase.REGISTRATION_REFUSED -> R.string.phase_refused
        AgentPhase.ENROLLED -> R.string.phase_enrolled
        AgentPhase.IDENTITY_FORGOTTEN -> R.string.phase_forgotten
    }

    private fun connectionText(kind: ConnectionKind) = when (kind) {
        ConnectionKind.NONE -> R.string.connection_none
        ConnectionKind.HTTP -> R.string.connection_http
        ConnectionKind.SOCKET -> R.string.connection_socket
    }

    private fun sinceText(atMs: Long): String =
        DateUtils.getRelativeTimeSpanString(atMs, System.currentTimeMillis(), DateUtils.SECOND_IN_MILLIS).toString()

    private fun scan() {
        val request = Intent(ZXING_SCAN).putExtra("SCAN_MODE", "QR_CODE_MODE")
        try {
            @Suppress("DEPRECATION")
            startActivityForResult(request, SCAN_REQUEST)
        } catch (_: ActivityNotFoundException) {
            answer(getString(R.string.scan_missing))
        }
    }

    private fun paste() {
        val clip = service<ClipboardManager>().primaryClip
        val text = if (clip != null && clip.itemCount > 0) clip.getItemAt(0).coerceToText(this)?.toString() else null
        if (text.isNullOrBlank()) answer(getString(R.string.clipboard_empty)) else fillIn(text)
    }

    private fun takeShared(intent: Intent) {
        if (intent.action == Intent.ACTION_SEND) textExtra(intent, Intent.EXTRA_TEXT)?.let(::fillIn)
    }

    /** A text that another app sent; null also when its extras cannot be read, as with an object of a class unknown here. */
    private fun textExtra(intent: Intent, extra: String): String? = try {
        intent.getStringExtra(extra)
    } catch (_: RuntimeException) {
        null
    }

    /** Fills the fields in and leaves the decision to the person: any app may share a text. */
    private fun fillIn(code: String) {
        val request = code.take(CODE_MAX_CHARS).let(EnrollmentRequest::fromCode)
        if (request == null) {
            answer(getString(R.string.code_unreadable))
            return
        }
        field(R.id.server_field).setText(request.serverUrl)
        field(R.id.token_field).setText(request.token.orEmpty())
        field(R.id.alias_field).setText(request.alias.orEmpty())
        pins = request.certificatePins
        pinnedServer = request.serverUrl.trim()
        answer(getString(R.string.code_read))
    }

    /** Certificate pins of the code that was read last, and the server that it named: another's would not match them. */
    private var pins: String? = null
    private var pinnedServer: String? = null

    private fun enroll() {
        val server = field(R.id.server_field).text.toString().trim()
        val token = field(R.id.token_field).text.toString().trim()
        if (server.isEmpty() || token.isEmpty()) {
            answer(getString(R.string.enroll_incomplete))
            return
        }
        askForNotifications()
        val alias = field(R.id.alias_field).text.toString().trim().ifEmpty { null }
        val button = view<Button>(R.id.enroll)
        button.isEnabled = false
        scope.launch {
            val request = EnrollmentRequest(server, token, alias, pins.takeIf { server == pinnedServer })
            val result = withContext(Dispatchers.Default) { agent.enroll(request) }
            button.isEnabled = true
            answer(result.message)
            if (result.code == EnrollmentAnswer.ACCEPTED) field(R.id.token_field).setText("")
        }
    }

    /** Without it nobody sees that an installation has to be confirmed. A device owner has granted it to itself. */
    private fun askForNotifications() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return
        if (checkSelfPermission(NOTIFICATIONS) != PackageManager.PERMISSION_GRANTED) {
            requestPermissions(arrayOf(NOTIFICATIONS), NOTIFICATIONS_REQUEST)
        }
    }

    private fun askWhereToExport() = try {
        val request = Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("application/x-ndjson")
            .putExtra(Intent.EXTRA_TITLE, "nexmdm-agent-log.jsonl")
        @Suppress("DEPRECATION")
        startActivityForResult(request, EXPORT_REQUEST)
    } catch (_: ActivityNotFoundException) {
        toast(R.string.settings_missing)
    }

    @Deprecated("The only way without a library.")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        @Suppress("DEPRECATION")
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != RESULT_OK || data == null) return
        when (requestCode) {
            SCAN_REQUEST -> fillIn(textExtra(data, "SCAN_RESULT").orEmpty())
            EXPORT_REQUEST -> data.data?.let(::export)
        }
    }

    private fun export(target: android.net.Uri) {
        scope.launch {
            val done = withContext(Dispatchers.IO) {
                try {
                    contentResolver.openOutputStream(target, "wt")?.use { agent.exportLog(it) } != null
                } catch (_: IOException) {
                    false
                } catch (_: SecurityException) {
                    false
                }
            }
            toast(if (done) R.string.export_done else R.string.export_failed)
        }
    }

    private fun open(settings: Intent) = try {
        startActivity(settings)
    } catch (_: ActivityNotFoundException) {
        toast(R.string.settings_missing)
    }

    private fun onClick(id: Int, action: () -> Unit) = view<Button>(id).setOnClickListener { action() }

    private fun text(id: Int, value: String) {
        val view = view<TextView>(id)
        // Setting the same text again would make a screen reader say it again.
        if (view.text.toString() != value) view.text = value
    }

    private fun <T : View> view(id: Int): T = checkNotNull(findViewById<T>(id)) { "no view $id" }

    private fun field(id: Int): EditText = view(id)

    private fun show(id: Int, visible: Boolean) {
        view<View>(id).visibility = if (visible) View.VISIBLE else View.GONE
    }

    private fun answer(text: String) = text(R.id.enroll_answer, text)

    private fun toast(text: Int) = Toast.makeText(this, text, Toast.LENGTH_LONG).show()

    private companion object {
        const val ZXING_SCAN = "com.google.zxing.client.android.SCAN"
        const val STATE_PINS = "pins"
        const val STATE_PINNED_SERVER = "pinned_server"
        const val SCAN_REQUEST = 1
        const val EXPORT_REQUEST = 2
        const val NOTIFICATIONS_REQUEST = 3
        const val NOTIFICATIONS = "android.permission.POST_NOTIFICATIONS"
        const val REFRESH_MS = 10_000L

        /** Longest code: a QR code holds 2,953 bytes. */
        const val CODE_MAX_CHARS = 3_000
    }
}
