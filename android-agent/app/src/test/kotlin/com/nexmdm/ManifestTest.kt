package com.nexmdm

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.w3c.dom.Element
import java.io.File
import javax.xml.parsers.DocumentBuilderFactory

/** Whoever adds a permission or exports a component says so here too, and in docs/agent.md why. */
class ManifestTest {
    private val manifest: Element = DocumentBuilderFactory.newInstance().apply { isNamespaceAware = true }
        .newDocumentBuilder().parse(File("src/main/AndroidManifest.xml")).documentElement

    private fun Element.all(tag: String): List<Element> =
        getElementsByTagName(tag).let { list -> (0 until list.length).map { list.item(it) as Element } }

    private fun Element.android(name: String): String = getAttributeNS("http://schemas.android.com/apk/res/android", name)

    @Test
    fun `permissions are as listed`() {
        val expected = listOf(
            "INTERNET", "ACCESS_NETWORK_STATE",
            "RECEIVE_BOOT_COMPLETED", "FOREGROUND_SERVICE", "FOREGROUND_SERVICE_SYSTEM_EXEMPTED", "FOREGROUND_SERVICE_SPECIAL_USE",
            "WAKE_LOCK",
            "POST_NOTIFICATIONS",
            "REQUEST_INSTALL_PACKAGES", "UPDATE_PACKAGES_WITHOUT_USER_ACTION", "QUERY_ALL_PACKAGES",
            "ACCESS_WIFI_STATE", "CHANGE_WIFI_STATE", "ACCESS_COARSE_LOCATION", "ACCESS_FINE_LOCATION", "ACCESS_BACKGROUND_LOCATION",
            "READ_PHONE_STATE", "PACKAGE_USAGE_STATS",
        ).map { "android.permission.$it" }
        assertEquals(expected, manifest.all("uses-permission").map { it.android("name") })
    }

    @Test
    fun `components are as listed`() {
        val bindAdmin = "android.permission.BIND_DEVICE_ADMIN"
        // Name, exported, permission that a caller has to hold.
        val expected = listOf(
            Triple(".screen.StatusActivity", true, ""),
            Triple(".ProvisioningModeActivity", true, bindAdmin),
            Triple(".PolicyComplianceActivity", true, bindAdmin),
            Triple(".action.WakeActivity", false, ""),
            Triple(".AgentService", false, ""),
            Triple(".NexDeviceAdminService", true, bindAdmin),
            Triple(".NexDeviceAdminReceiver", true, bindAdmin),
            Triple(".EnrollReceiver", true, "android.permission.DUMP"),
            Triple(".push.UnifiedPushReceiver", true, ""),
            Triple(".BootReceiver", false, ""),
            Triple(".AlarmReceiver", false, ""),
            Triple(".install.InstallResultReceiver", false, ""),
            Triple(".action.RingStopReceiver", false, ""),
        )
        val components = listOf("activity", "service", "receiver", "provider", "activity-alias").flatMap { manifest.all(it) }
        val found = components.map { Triple(it.android("name"), it.android("exported").toBooleanStrict(), it.android("permission")) }
        assertEquals(expected, found)
    }

    @Test
    fun `what has to work before the first unlock is direct boot aware`() {
        val components = listOf("service", "receiver").flatMap { manifest.all(it) }
        assertEquals(emptyList<String>(), components.filter { it.android("directBootAware") != "true" }.map { it.android("name") })
    }

    @Test
    fun `nothing is backed up and the service has its types`() {
        val application = manifest.all("application").single()
        assertEquals("false", application.android("allowBackup"))
        assertEquals("@xml/data_extraction_rules", application.android("dataExtractionRules"))
        assertEquals("systemExempted|specialUse", manifest.all("service").first().android("foregroundServiceType"))
    }

    @Test
    fun `every text is translated`() {
        val place = Regex("%\\d\\$.")
        fun names(folder: String): Map<String, List<String>> {
            val file = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(File("src/main/res/$folder/strings.xml"))
            return file.documentElement.all("string").associate { text ->
                text.getAttribute("name") to place.findAll(text.textContent).map { it.value }.toList()
            }
        }
        val english = names("values")
        assertTrue(english.size > 50)
        assertEquals("texts and their places for values", english, names("values-de"))
    }
}
