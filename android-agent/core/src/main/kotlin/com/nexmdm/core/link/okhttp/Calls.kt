package com.nexmdm.core.link.okhttp

import com.nexmdm.core.port.NetworkException
import com.nexmdm.core.port.NetworkFailure
import kotlinx.coroutines.suspendCancellableCoroutine
import okhttp3.Call
import okhttp3.Callback
import okhttp3.Response
import java.io.IOException
import java.io.InterruptedIOException
import java.net.ConnectException
import java.net.NoRouteToHostException
import java.net.UnknownHostException
import java.security.cert.CertificateException
import javax.net.ssl.SSLException
import kotlin.coroutines.resumeWithException

/** Performs the call; [read] makes of the response what is wanted, on OkHttp's thread, and owns it if it returns it. */
internal suspend fun <T> Call.await(host: String, read: (Response) -> T): T = suspendCancellableCoroutine { continuation ->
    continuation.invokeOnCancellation { cancel() }
    enqueue(object : Callback {
        override fun onFailure(call: Call, e: IOException) = continuation.resumeWithException(networkException(e, host))

        override fun onResponse(call: Call, response: Response) {
            val result = try {
                read(response)
            } catch (e: IOException) {
                response.close()
                return continuation.resumeWithException(networkException(e, host))
            } catch (e: NetworkException) {
                response.close()
                return continuation.resumeWithException(e)
            }
            if (result !== response) response.close()
            continuation.resume(result) { _, _, _ -> response.close() }
        }
    })
}

/** [e] in terms of the port. Without the address, which may be a signed one. */
internal fun networkException(e: IOException, host: String): NetworkException {
    val failure = when (e) {
        is UnknownHostException, is ConnectException, is NoRouteToHostException -> NetworkFailure.CONNECT
        is SSLException -> NetworkFailure.TLS
        is InterruptedIOException -> NetworkFailure.TIMEOUT
        else -> if (e.cause is CertificateException) NetworkFailure.TLS else NetworkFailure.BROKEN
    }
    return NetworkException(failure, "${failure.name.lowercase()} at $host: ${e.javaClass.simpleName}", e)
}
