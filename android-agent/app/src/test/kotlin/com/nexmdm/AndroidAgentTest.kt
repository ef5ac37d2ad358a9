package com.nexmdm

import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import com.nexmdm.core.agent.AgentPhase
import com.nexmdm.core.agent.EnrollmentAnswer
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.core.port.ConnectionPolicy
import com.nexmdm.core.port.DownloadHead
import com.nexmdm.core.port.DownloadRequest
import com.nexmdm.core.port.Http
import com.nexmdm.core.port.HttpAnswer
import com.nexmdm.core.port.HttpRequest
import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import com.nexmdm.core.port.Socket
import com.nexmdm.core.port.SocketListener
import com.nexmdm.platform.AwakeHttp
import com.nexmdm.platform.KeystoreSecretStore
import com.nexmdm.platform.WakeLocks
import com.nexmdm.platform.deviceProtected
import com.nexmdm.platform.service
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonObject
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowNetwork
import org.robolectric.shadows.ShadowNetworkCapabilities
import org.robolectric.shadows.ShadowPowerManager
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.OutputStream
import java.security.ProviderException
import java.util.concurrent.CopyOnWriteArrayList

/** The core on Android's ports: framework, SQLite and cipher are real, the network is not. */
internal class AndroidAgentTest : FrameworkTest() {
    private class Server : Http {
        val requests = CopyOnWriteArrayList<HttpRequest>()
        var onCall: () -> Unit = {}

        override suspend fun call(request: HttpRequest): HttpAnswer {
            requests += request
            onCall()
            val body = when (request.url.substringAfter("mdm.example").substringBefore('?')) {
                "/v1/register" -> """{"device_id":"d-1","device_token":"t1.secret-device-token","device_key":"${"ab".repeat(32)}"}"""
                "/v1/agent/session" -> """{"session_token":"secret-session","expires_at":"2099-01-01T00:00:00Z"}"""
                "/v1/heartbeat" -> """{"ok":true,"next_heartbeat_seconds":300,"commands":[]}"""
                "/v1/heartbeats" -> """{"results":[{"index":0,"status":200}]}"""
                "/v1/agent/update" -> return HttpAnswer(304, emptyMap(), "")
                else -> return HttpAnswer(404, emptyMap(), "{}")
            }
            return HttpAnswer(200, mapOf("content-type" to "application/json"), body)
        }

        override suspend fun download(request: DownloadRequest, onHead: (DownloadHead) -> OutputStream?): DownloadHead =
            throw NetworkException(NetworkFailure.CONNECT, "no downloads here")

        override suspend fun openSocket(url: String, bearer: String, listener: SocketListener): Socket =
            throw NetworkException(NetworkFailure.CONNECT, "no sockets here")

        override fun apply(policy: ConnectionPolicy) = Unit
    }

    private val server = Server()
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    @After
    fun stop() = scope.cancel()

    @Test
    fun `the processor is kept on during a call, and no longer`() {
        var held = false
        server.onCall = { held = ShadowPowerManager.getLatestWakeLock()!!.isHeld }
        ShadowPowerManager.reset()
        runBlocking { AwakeHttp(server, WakeLocks(app)).call(HttpRequest("GET", "https://mdm.example/v1/agent/update")) }
        assertTrue(held)
        assertFalse(ShadowPowerManager.getLatestWakeLock()!!.isHeld)
    }

    @Test
    fun `a Keystore that does not answer ends neither the process nor the agent`() {
        var isSilent = true
        val keys = TestKeys { if (isSilent) throw ProviderException("no service") else testKeys.existing() }
        val identity = File(app.deviceProtected().noBackupFilesDir, "identity")
        KeystoreSecretStore(identity, testKeys, log).write("{}")
        val agent = AndroidAgent(app, keys, server, scope)
        val request = EnrollmentRequest("https://mdm.example", "token-1")
        assertEquals(EnrollmentAnswer.REFUSED, runBlocking { agent.enroll(request) }.code)
        isSilent = false
        assertEquals(EnrollmentAnswer.ACCEPTED, runBlocking { agent.enroll(request) }.code)
    }

    @Test
    fun `an enrollment registers, sends a heartbeat and leaves no secret on disk or in the log`() {
        val agent = AndroidAgent(app, testKeys, server, scope)
        agent.start()
        val capabilities = ShadowNetworkCapabilities.newInstance()
        shadowOf(capabilities).addTransportType(NetworkCapabilities.TRANSPORT_WIFI)
        shadowOf(capabilities).addCapability(NetworkCapabilities.NET_CAPABILITY_VALIDATED)
        val callback = shadowOf(app.service<ConnectivityManager>()).networkCallbacks.single()
        callback.onCapabilitiesChanged(ShadowNetwork.newInstance(7), capabilities)
        val answer = runBlocking { agent.enroll(EnrollmentRequest("https://mdm.example", "secret-enrollment-token", "kiosk-17")) }
        assertEquals(answer.message, EnrollmentAnswer.ACCEPTED, answer.code)
        awaitOnMain("enrolled") { agent.status.value.phase == AgentPhase.ENROLLED }
        try {
            awaitOnMain("heartbeat") { server.requests.any { "/v1/heartbeat" in it.url } }
        } catch (e: AssertionError) {
            throw AssertionError(ByteArrayOutputStream().also(agent::exportLog).toString(), e)
        }
        awaitOnMain("contact") { agent.status.value.lastContactMs != null }
        val heartbeat = Json.parseToJsonElement(server.requests.first { "/v1/heartbeat" in it.url }.body!!.trim('[', ']')).jsonObject
        assertEquals(sdk.toString(), heartbeat.getValue("system").jsonObject.getValue("sdk_int").toString())
        val again = runBlocking { agent.enroll(EnrollmentRequest("https://mdm.example", "another-token")) }
        assertEquals(EnrollmentAnswer.ENROLLED_HERE, again.code)
        val elsewhere = runBlocking { agent.enroll(EnrollmentRequest("https://other.example", "another-token")) }
        assertEquals(EnrollmentAnswer.ENROLLED_ELSEWHERE, elsewhere.code)

        val data = app.deviceProtected().dataDir
        val files = data.walkTopDown().filter(File::isFile).toList()
        assertTrue(files.any { it.name == "agent.db" })
        for (file in files) assertFalse(file.path, "secret-" in String(file.readBytes(), Charsets.ISO_8859_1))
        val log = ByteArrayOutputStream().also(agent::exportLog).toString()
        assertTrue(log, "\"register.ok\"" in log && "\"deliver.ok\"" in log)
        assertFalse("secret-" in log)
    }
}
