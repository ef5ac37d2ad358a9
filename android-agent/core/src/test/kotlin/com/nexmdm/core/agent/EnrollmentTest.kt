package com.nexmdm.core.agent

import com.nexmdm.core.identity.Identity
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

class EnrollmentTest {
    private val identity = Identity("d", "t", "k", servers = listOf("https://mdm.example.com", "https://b.example.com:8443"))
    private val pin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

    private fun code(identity: Identity?, request: EnrollmentRequest): Int = when (val decision = Enrollment.decide(identity, request)) {
        is Enrollment.Decision.Answered -> decision.answer.code
        is Enrollment.Decision.Accepted -> EnrollmentAnswer.ACCEPTED
    }

    private fun accepted(request: EnrollmentRequest) =
        assertInstanceOf(Enrollment.Decision.Accepted::class.java, Enrollment.decide(null, request)).pending

    @Test
    fun `the four answers of the broadcast`() {
        assertEquals(1, code(null, EnrollmentRequest("https://mdm.example.com", "tok")))
        assertEquals(2, code(identity, EnrollmentRequest("HTTPS://MDM.example.com/", "tok")))
        assertEquals(2, code(identity, EnrollmentRequest("https://b.example.com:8443", null)))
        assertEquals(3, code(identity, EnrollmentRequest("https://other.example.com", "tok")))
        assertEquals(4, code(null, EnrollmentRequest("https://mdm.example.com", null)))
        assertEquals(4, code(null, EnrollmentRequest("https://mdm.example.com", "  ")))
    }

    @Test
    fun `addresses that are none are refused`() {
        val bad = listOf(
            "", " ", ",", "mdm.example.com", "ftp://mdm.example.com", "https://", "https://u:p@mdm.example.com", "https://a/?x=1",
            "https://a/#f", "https://a b", "http://a:99999", "https://[fe80::1%25eth0]", "https://${"a".repeat(64)}.example",
            List(9) { "https://h$it" }.joinToString(","),
        )
        for (text in bad) assertEquals(4, code(null, EnrollmentRequest(text, "tok")), text)
    }

    @Test
    fun `tokens, aliases and pins that are none are refused`() {
        val server = "https://a"
        assertEquals(4, code(null, EnrollmentRequest(server, "with space")))
        assertEquals(4, code(null, EnrollmentRequest(server, "line\nbreak")))
        assertEquals(4, code(null, EnrollmentRequest(server, "x".repeat(513))))
        assertEquals(4, code(null, EnrollmentRequest(server, "tok", alias = "a".repeat(201))))
        assertEquals(4, code(null, EnrollmentRequest(server, "tok", certificatePins = "sha1/abc")))
        assertEquals(1, code(null, EnrollmentRequest(server, "tok", certificatePins = pin)))
    }

    @Test
    fun `plain http is allowed for exactly the hosts that are named so`() {
        val servers = "http://10.0.0.5:8080/, https://mdm.example.com, http://[::1]"
        val pending = accepted(EnrollmentRequest(servers, "tok", certificatePins = pin))
        assertEquals(listOf("http://10.0.0.5:8080", "https://mdm.example.com", "http://[::1]"), pending.servers)
        assertEquals(setOf("10.0.0.5:8080", "::1:80"), pending.cleartextHosts)
        assertEquals(setOf("mdm.example.com"), Enrollment.pinnedHosts(pending))
    }

    @Test
    fun `a code is the payload of provisioning or its extras`() {
        val extras = """{"server_url":"https://a","enrollment_token":"tok","alias":"kiosk-1"}"""
        for (text in listOf(extras, """{"android.app.extra.PROVISIONING_ADMIN_EXTRAS_BUNDLE":$extras,"x":1}""")) {
            val request = EnrollmentRequest.fromCode(text)
            assertEquals(listOf("https://a", "tok", "kiosk-1"), listOf(request?.serverUrl, request?.token, request?.alias))
        }
        for (text in listOf("", "hello", "[]", "{}", """{"server_url":""}""")) assertNull(EnrollmentRequest.fromCode(text), text)
    }

    @Test
    fun `no text shows the token`() {
        val request = EnrollmentRequest("https://a", "s3cret")
        assertFalse("s3cret" in request.toString() || "s3cret" in accepted(request).toString())
    }
}
