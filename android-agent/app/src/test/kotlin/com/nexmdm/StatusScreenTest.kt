package com.nexmdm

import android.app.Activity
import android.content.ClipData
import android.content.ClipboardManager
import android.content.Intent
import android.net.Uri
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import com.nexmdm.core.agent.AgentPhase
import com.nexmdm.core.agent.AgentStatus
import com.nexmdm.core.agent.ConnectionKind
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.platform.service
import com.nexmdm.screen.StatusActivity
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.ByteArrayOutputStream

internal class StatusScreenTest : FrameworkTest() {
    private val extras = """{"server_url":"https://mdm.example","enrollment_token":"tok-1"}"""
    private val code = """{"android.app.extra.PROVISIONING_ADMIN_EXTRAS_BUNDLE":$extras}"""

    private fun open(intent: Intent = Intent()): StatusActivity {
        val screen = Robolectric.buildActivity(StatusActivity::class.java, intent).setup().get()
        shadowOf(android.os.Looper.getMainLooper()).idle()
        return screen
    }

    private fun Activity.shown(id: Int): String = findViewById<TextView>(id)!!.text.toString()

    private fun Activity.press(id: Int) {
        assertTrue(findViewById<Button>(id)!!.performClick())
        shadowOf(android.os.Looper.getMainLooper()).idle()
    }

    private fun views(root: View): List<View> {
        val children = (root as? ViewGroup)?.let { group -> (0 until group.childCount).map(group::getChildAt) }
        return listOf(root) + children.orEmpty().flatMap(::views)
    }

    @Test
    fun `the state is shown as it changes`() {
        val screen = open()
        assertEquals("Not enrolled", screen.shown(R.id.state))
        assertEquals("Never", screen.shown(R.id.contact))
        assertEquals("1.2.3 (7)", screen.shown(R.id.version))
        recorded.status.value = AgentStatus(
            AgentPhase.ENROLLED,
            "https://mdm.example",
            "kiosk-17",
            "d-1",
            System.currentTimeMillis(),
            3,
            ConnectionKind.SOCKET,
            "was offline",
            7,
        )
        shadowOf(android.os.Looper.getMainLooper()).idle()
        val ids = listOf(R.id.state, R.id.server, R.id.alias, R.id.device_id, R.id.connection, R.id.queue, R.id.error)
        val expected = listOf("Enrolled", "https://mdm.example", "kiosk-17", "d-1", "Connected", "3", "was offline")
        assertEquals(expected, ids.map { screen.shown(it) })
        assertEquals(View.GONE, screen.findViewById<View>(R.id.enrollment)!!.visibility)
        screen.press(R.id.sync)
        assertTrue("sync" in recorded.calls)
    }

    @Test
    @Config(qualifiers = "de")
    fun `the screen is translated`() {
        assertEquals("Nicht registriert", open().shown(R.id.state))
    }

    @Test
    fun `every control has a label and is large enough`() {
        val screen = open()
        val all = views(screen.findViewById<View>(android.R.id.content)!!)
        val controls = all.filter { it.isClickable && (it is Button || it is EditText) }
        assertEquals(10, controls.size)
        val labelled = all.map { it.labelFor }.toSet()
        val minimum = (48 * screen.resources.displayMetrics.density).toInt()
        for (control in controls) {
            val name = screen.resources.getResourceEntryName(control.id)
            assertTrue(name, control.id in labelled || (control as? Button)?.text?.isNotBlank() == true)
            val heightPx = maxOf(control.minimumHeight, (control as TextView).minHeight)
            assertTrue("$name $heightPx", heightPx >= minimum)
        }
    }

    @Test
    @Config(sdk = [35], fontScale = 2.0f)
    fun `a double size of letters cuts nothing off`() {
        val screen = open()
        val cut = views(screen.findViewById<View>(android.R.id.content)!!).filterIsInstance<TextView>()
            .filter { it !is EditText && (it.maxLines in 1..4 || it.layoutParams.height > 0) }
        assertEquals(emptyList<TextView>(), cut)
    }

    @Test
    fun `a shared code fills in the fields, and a person enrolls`() {
        val screen = open(Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, code))
        assertEquals(listOf("https://mdm.example", "tok-1"), listOf(R.id.server_field, R.id.token_field).map { screen.shown(it) })
        assertEquals("nothing happens by itself", 0, recorded.enrollments.size)
        recorded.answer = EnrollmentAnswer(EnrollmentAnswer.ACCEPTED, "registering")
        screen.press(R.id.enroll)
        awaitOnMain("answer") { screen.shown(R.id.enroll_answer) == "registering" }
        assertEquals("tok-1", recorded.enrollments.single().token)
        assertEquals("a token is used once", "", screen.shown(R.id.token_field))
    }

    @Test
    fun `a code is pasted or scanned by another app`() {
        val screen = open()
        screen.press(R.id.paste_code)
        assertEquals("There is no text on the clipboard.", screen.shown(R.id.enroll_answer))
        app.service<ClipboardManager>().setPrimaryClip(ClipData.newPlainText("code", "no code"))
        screen.press(R.id.paste_code)
        assertEquals("This is no NexMDM enrollment code.", screen.shown(R.id.enroll_answer))
        app.service<ClipboardManager>().setPrimaryClip(ClipData.newPlainText("code", code))
        screen.press(R.id.paste_code)
        assertEquals("tok-1", screen.shown(R.id.token_field))
        screen.findViewById<EditText>(R.id.token_field)!!.setText("")
        screen.press(R.id.scan_code)
        val request = shadowOf(screen).nextStartedActivityForResult
        assertEquals("com.google.zxing.client.android.SCAN", request.intent.action)
        shadowOf(screen).receiveResult(request.intent, Activity.RESULT_OK, Intent().putExtra("SCAN_RESULT", code))
        assertEquals("tok-1", screen.shown(R.id.token_field))
    }

    private val pinned = code.replace("}}", ""","certificate_pins":"sha256/${"A".repeat(43)}="}}""")

    private fun StatusActivity.enrollWith(server: String) {
        findViewById<EditText>(R.id.server_field)!!.setText(server)
        findViewById<EditText>(R.id.token_field)!!.setText("tok-2")
        val before = recorded.enrollments.size
        press(R.id.enroll)
        awaitOnMain("enrollment") { recorded.enrollments.size > before && findViewById<Button>(R.id.enroll)!!.isEnabled }
    }

    @Test
    fun `pins belong to the server they came with and outlive a rotation`() {
        val shared = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, pinned)
        val controller = Robolectric.buildActivity(StatusActivity::class.java, shared).setup()
        controller.get().enrollWith("https://other.example")
        assertNull(recorded.enrollments.last().certificatePins)
        controller.recreate()
        controller.get().enrollWith("https://mdm.example")
        assertEquals("sha256/${"A".repeat(43)}=", recorded.enrollments.last().certificatePins)
    }

    @Test
    fun `a shared text that cannot be read is left alone`() {
        val screen = open(UnreadableIntent(Intent.ACTION_SEND))
        assertEquals("", screen.shown(R.id.server_field))
    }

    @Test
    fun `enrolling without a token asks for it`() {
        val screen = open()
        screen.press(R.id.enroll)
        assertEquals("Server and token are needed.", screen.shown(R.id.enroll_answer))
        assertEquals(0, recorded.enrollments.size)
    }

    @Test
    fun `the log is exported where the person says`() {
        val screen = open()
        val target = Uri.parse("content://documents/1")
        val written = ByteArrayOutputStream()
        shadowOf(screen.contentResolver).registerOutputStream(target, written)
        screen.press(R.id.export_log)
        val request = shadowOf(screen).nextStartedActivityForResult
        assertEquals(Intent.ACTION_CREATE_DOCUMENT, request.intent.action)
        shadowOf(screen).receiveResult(request.intent, Activity.RESULT_OK, Intent().setData(target))
        awaitOnMain("export") { written.toString() == "the log" }
    }
}
