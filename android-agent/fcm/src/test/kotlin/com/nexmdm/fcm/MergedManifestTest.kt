package com.nexmdm.fcm

import org.junit.Assert.assertEquals
import org.junit.Test
import org.w3c.dom.Element
import java.io.File
import javax.xml.parsers.DocumentBuilderFactory

/** What FCM adds to the app's manifest, and nothing else: docs/agent.md says why. */
internal class MergedManifestTest {
    private fun read(path: String): Element = DocumentBuilderFactory.newInstance().apply { isNamespaceAware = true }
        .newDocumentBuilder().parse(File(path)).documentElement

    private val own = read("../app/src/main/AndroidManifest.xml")
    private val merged = read("target/manifest/AndroidManifest.xml")

    private fun Element.all(vararg tags: String): List<Element> =
        tags.flatMap { tag -> getElementsByTagName(tag).let { list -> (0 until list.length).map { list.item(it) as Element } } }

    private fun Element.android(name: String): String = getAttributeNS("http://schemas.android.com/apk/res/android", name)

    private fun Element.name(): String = android("name").let { if (it.startsWith(".")) "com.nexmdm$it" else it }

    private fun Element.facts(): String =
        listOf(tagName, name(), "exported=" + android("exported"), android("permission")).filter(String::isNotEmpty).joinToString(" ")

    private fun Element.components(): List<String> = all("activity", "service", "receiver", "provider", "activity-alias").map { it.facts() }

    @Test
    fun `the one permission that FCM adds`() {
        fun Element.permissions() = all("uses-permission", "uses-permission-sdk-23", "permission").map { it.tagName to it.name() }
        assertEquals(
            listOf("uses-permission" to "com.google.android.c2dm.permission.RECEIVE"),
            merged.permissions() - own.permissions().toSet(),
        )
        assertEquals(emptyList<Any>(), own.permissions() - merged.permissions().toSet())
    }

    @Test
    fun `the components that FCM adds`() {
        val expected = setOf(
            "service com.nexmdm.fcm.FcmMessagingService exported=false",
            "service com.google.firebase.components.ComponentDiscoveryService exported=false",
            // To Google's services alone: nobody else holds that permission.
            "receiver com.google.firebase.iid.FirebaseInstanceIdReceiver exported=true com.google.android.c2dm.permission.SEND",
        )
        assertEquals(expected, (merged.components() - own.components().toSet()).toSet())
        assertEquals(emptyList<String>(), own.components() - merged.components().toSet())
    }

    @Test
    fun `the meta-data that FCM adds`() {
        fun Element.metaData() = all("meta-data").map { it.name() + "=" + it.android("value").ifEmpty { it.android("resource") } }
        val registrar = "com.google.firebase.components.ComponentRegistrar"
        val expected = setOf(
            "com.nexmdm.PUSH_SOURCE=com.nexmdm.fcm.FcmPushSourceFactory",
            "firebase_messaging_auto_init_enabled=false",
            "firebase_data_collection_default_enabled=false",
            "firebase_analytics_collection_enabled=false",
            "delivery_metrics_exported_to_big_query_enabled=false",
            "firebase_messaging_notification_delegation_enabled=false",
            "com.google.firebase.components:com.google.firebase.messaging.FirebaseMessagingRegistrar=$registrar",
            "com.google.firebase.components:com.google.firebase.installations.FirebaseInstallationsRegistrar=$registrar",
            "com.google.android.gms.cloudmessaging.FINISHED_AFTER_HANDLED=true",
            "com.google.android.gms.version=@integer/google_play_services_version",
        )
        assertEquals(expected, (merged.metaData() - own.metaData().toSet()).toSet())
    }

    @Test
    fun `the rest is the app's own`() {
        fun Element.values() = (0 until attributes.length).map(attributes::item).filter { !it.nodeName.startsWith("xmlns") }
            .associate { it.nodeName to if (it.nodeValue.startsWith(".")) "com.nexmdm${it.nodeValue}" else it.nodeValue }
        for (tag in listOf("application", "uses-sdk")) {
            assertEquals(tag, own.all(tag).single().values(), merged.all(tag).single().values())
        }
        for (tag in listOf("uses-feature", "queries", "uses-library", "instrumentation")) {
            assertEquals(tag, own.all(tag).map { it.values() }, merged.all(tag).map { it.values() })
        }
        fun Element.serviceTypes() = all("service").map { it.android("foregroundServiceType") }.filter(String::isNotEmpty)
        assertEquals(own.serviceTypes(), merged.serviceTypes())
    }
}
