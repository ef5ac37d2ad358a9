package com.nexmdm.core.install

import com.nexmdm.core.wire.UpdateOffer
import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.JsonObject

private const val ID_MAX_CHARS = 64
private const val URL_MAX_CHARS = 4_096
private const val PACKAGE_MAX_CHARS = 255
private const val VERSION_NAME_MAX_CHARS = 100
private const val SIGNERS_MAX = 64
private const val APK_MAX_BYTES = 4L shl 30
private const val INTENT_MAX_CHARS = 200
private const val EXTRAS_MAX = 20
private const val RETRIES_MAX = 20
private const val RETRY_DELAY_MAX_S = 86_400L
private val ID = Regex("[A-Za-z0-9_-]{1,$ID_MAX_CHARS}")
private val PACKAGE = Regex("[A-Za-z][A-Za-z0-9_]*(\\.[A-Za-z][A-Za-z0-9_]*)+")
private val URL = Regex("https?://[A-Za-z0-9.\\[\\]:_-]+/[\\x21-\\x7e]*")
private val SHA256 = Regex("[0-9a-f]{64}")

/** An APK, and what it has to be. */
@Serializable
data class ApkOrder(
    @SerialName("package") val packageName: String,
    @SerialName("version_code") val versionCode: Long,
    @SerialName("version_name") val versionName: String,
    /** Absolute; signed for a while, so it is a secret. */
    val url: String,
    /** Lower-case hex. */
    val sha256: String,
    /** Certificates of which one has to have signed it, now or in its lineage: SHA-256, lower-case hex. Empty: any. */
    @SerialName("signer_sha256") val signerSha256: List<String> = emptyList(),
    @SerialName("size") val sizeBytes: Long,
) {
    /** Without the address. */
    override fun toString(): String = "ApkOrder($packageName $versionCode)"
}

/** Conditions that have to hold on the device. */
@Serializable
data class Constraints(
    /** Wi-Fi or cable, not metered. */
    @SerialName("wifi_only") val wifiOnly: Boolean = false,
    @SerialName("min_battery") val minBatteryPct: Double? = null,
    @SerialName("charging_only") val chargingOnly: Boolean = false,
    /** MiB that have to be free besides what the installation takes. */
    @SerialName("min_storage_free_mb") val minStorageFreeMb: Double? = null,
    val window: MaintenanceWindow? = null,
)

/** How often the agent tries again by itself; our server tries again itself and sends 0. */
@Serializable
data class RetryPolicy(val max: Int = 0, @SerialName("backoff_sec") val backoffS: Long = 60)

/** The intent that is sent to the app once it is installed. */
@Serializable
data class RestartIntentOrder(val action: String = "", val extras: JsonObject = JsonObject(emptyMap()))

/** What is to be installed, for a deployment or as an update of the agent. */
@Serializable
data class InstallOrder(
    /** Deployment, or build of the agent. */
    val subject: String,
    /** Number of the server's attempt; echoed in every status. */
    val attempt: Int? = null,
    val apk: ApkOrder,
    val constraints: Constraints = Constraints(),
    val retry: RetryPolicy = RetryPolicy(),
    val restartIntent: RestartIntentOrder? = null,
    /** Not to be put off for a reason other than the constraints, such as a call. */
    val mustInstall: Boolean = false,
) {
    companion object {
        /** The order in the parameters of `deploy_apk`; null when they are not understood or beyond a limit. */
        fun ofDeployment(params: String): InstallOrder? {
            val read = try {
                WireJson.decodeFromString<DeployParams>(params)
            } catch (_: SerializationException) {
                return null
            } catch (_: IllegalArgumentException) {
                return null
            }
            return InstallOrder(
                subject = read.deploymentId,
                attempt = read.attempt,
                apk = read.apk,
                constraints = read.constraints ?: Constraints(),
                retry = read.retry ?: RetryPolicy(),
                restartIntent = read.postInstall?.restartIntent,
            ).normalized()
        }

        /** The order in an offer of an update; null when it is beyond a limit. */
        fun ofUpdate(offer: UpdateOffer): InstallOrder? = InstallOrder(
            subject = offer.buildId,
            apk = ApkOrder(
                packageName = offer.packageName,
                versionCode = offer.versionCode,
                versionName = offer.versionName,
                url = offer.downloadUrl,
                sha256 = offer.sha256,
                signerSha256 = listOf(offer.signerFingerprint).filter { it.isNotEmpty() },
                sizeBytes = offer.fileSizeBytes,
            ),
            constraints = Constraints(wifiOnly = offer.wifiOnly, minBatteryPct = offer.minBatteryPct),
            mustInstall = offer.mustInstall,
        ).normalized()
    }

    private fun normalized(): InstallOrder? {
        val order = copy(
            apk = apk.copy(
                versionName = apk.versionName.take(VERSION_NAME_MAX_CHARS),
                sha256 = fingerprint(apk.sha256),
                signerSha256 = apk.signerSha256.map(::fingerprint),
            ),
            retry = RetryPolicy(retry.max.coerceIn(0, RETRIES_MAX), retry.backoffS.coerceIn(1, RETRY_DELAY_MAX_S)),
        )
        return order.takeIf { it.isWithinLimits() }
    }

    private fun isWithinLimits(): Boolean {
        val intent = restartIntent
        return ID.matches(subject) &&
            (attempt == null || attempt >= 0) &&
            apk.packageName.length <= PACKAGE_MAX_CHARS && PACKAGE.matches(apk.packageName) &&
            apk.versionCode >= 0 &&
            apk.url.length <= URL_MAX_CHARS && URL.matches(apk.url) &&
            SHA256.matches(apk.sha256) &&
            apk.signerSha256.size <= SIGNERS_MAX && apk.signerSha256.all { SHA256.matches(it) } &&
            apk.sizeBytes in 1..APK_MAX_BYTES &&
            (intent == null || (intent.action.length in 1..INTENT_MAX_CHARS && intent.extras.size <= EXTRAS_MAX))
    }
}

/** `AB:CD` and `abcd` are the same fingerprint. */
private fun fingerprint(text: String): String = text.replace(":", "").lowercase()

@Serializable
private class DeployParams(
    @SerialName("deployment_id") val deploymentId: String,
    val attempt: Int? = null,
    val apk: ApkOrder,
    val constraints: Constraints? = null,
    val retry: RetryPolicy? = null,
    @SerialName("post_install") val postInstall: PostInstall? = null,
)

@Serializable
private class PostInstall(@SerialName("restart_intent") val restartIntent: RestartIntentOrder? = null)
