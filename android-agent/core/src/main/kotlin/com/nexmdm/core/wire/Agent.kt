package com.nexmdm.core.wire

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject

/** JSON as the agent API has it: unknown fields are tolerated, nulls are left out. */
val WireJson: Json = Json {
    ignoreUnknownKeys = true
    explicitNulls = false
    encodeDefaults = false
    isLenient = false
    coerceInputValues = true
}

/** Body of `POST /v1/register`. */
@Serializable
data class RegisterRequest(
    val alias: String? = null,
    @SerialName("hardware_id") val hardwareId: String? = null,
    val model: String? = null,
    val manufacturer: String? = null,
    @SerialName("android_version") val androidVersion: String? = null,
    @SerialName("sdk_int") val sdkInt: Int? = null,
    @SerialName("app_version") val appVersion: String? = null,
    @SerialName("app_version_code") val appVersionCode: Long? = null,
    @SerialName("fcm_token") val fcmToken: String? = null,
)

/** 200 of `POST /v1/register`. */
@Serializable
class RegisterResponse(
    @SerialName("device_id") val deviceId: String,
    @SerialName("device_token") val deviceToken: String,
    @SerialName("device_key") val deviceKey: String,
    @SerialName("server_time") val serverTime: String? = null,
    @SerialName("heartbeat_interval_seconds") val heartbeatIntervalSeconds: Long? = null,
    @SerialName("socket_url") val socketUrl: String? = null,
)

/** 200 of `POST /v1/agent/session`. */
@Serializable
class SessionResponse(
    @SerialName("session_token") val sessionToken: String,
    @SerialName("expires_at") val expiresAt: String,
)

/** A command as it arrives; every field is signed as the text that it is. */
@Serializable
data class Command(
    @SerialName("request_id") val requestId: String = "",
    @SerialName("device_id") val deviceId: String = "",
    val action: String = "",
    val ts: String = "",
    @SerialName("expires_at") val expiresAt: String = "",
    val params: String = "",
    val signature: String = "",
    val v: String = "",
) {
    /** Without parameters and signature, which may be secret. */
    override fun toString(): String = "Command($action $requestId)"
}

/** 200 of `POST /v1/heartbeat`, and of `POST /v1/heartbeats` with [results]. */
@Serializable
class HeartbeatResponse(
    @SerialName("next_heartbeat_seconds") val nextHeartbeatSeconds: Long? = null,
    val commands: List<Command> = emptyList(),
    @SerialName("server_time") val serverTime: String? = null,
    val results: List<HeartbeatOutcome> = emptyList(),
)

/** Outcome of one heartbeat of a list. */
@Serializable
class HeartbeatOutcome(val index: Int, val status: Int, val detail: String? = null)

/** Body of `POST /v1/action-result`; on the socket the fields of a frame of type `action_result`. */
@Serializable
data class ActionResult(
    @SerialName("request_id") val requestId: String,
    val action: String,
    /** `received`, `success`, `failed`, `skipped` or `timeout`. */
    val outcome: String,
    val message: String? = null,
    val code: String? = null,
    val data: JsonObject? = null,
    @SerialName("finished_at") val finishedAt: String? = null,
    @SerialName("device_id") val deviceId: String? = null,
)

/** Body of `POST /v1/agent/deployments/{id}/devices/{id}/status`; on the socket a frame of type `deployment_status`. */
@Serializable
data class DeploymentStatus(
    val status: String,
    val error: String? = null,
    val message: String? = null,
    @SerialName("installed_version") val installedVersion: String? = null,
    val attempt: Int? = null,
    @SerialName("progress_pct") val progressPct: Int? = null,
)

/** Body of `POST /v1/agent/update/report`. */
@Serializable
data class UpdateReport(
    @SerialName("build_id") val buildId: String,
    /** `downloaded`, `installed`, `failed` or `verify_failed`. */
    val event: String,
    val error: String? = null,
    @SerialName("version_code") val versionCode: Long? = null,
)

/** 200 of `GET /v1/agent/update`. */
@Serializable
data class UpdateOffer(
    @SerialName("build_id") val buildId: String,
    @SerialName("version_code") val versionCode: Long,
    @SerialName("version_name") val versionName: String,
    @SerialName("package_name") val packageName: String,
    @SerialName("download_url") val downloadUrl: String,
    val sha256: String,
    @SerialName("signer_fingerprint") val signerFingerprint: String,
    @SerialName("file_size") val fileSizeBytes: Long,
    @SerialName("wifi_only") val wifiOnly: Boolean = false,
    @SerialName("must_install") val mustInstall: Boolean = false,
    @SerialName("min_battery") val minBatteryPct: Double? = null,
)

/** A problem document (RFC 9457), as far as the agent reads it. */
@Serializable
class Problem(val title: String? = null, val detail: String? = null, val reason: String? = null)

/** Any frame from a node; what belongs to other types is null. */
@Serializable
class DownFrame(
    /** `ack`, `refused`, `command` or `reconnect`. */
    val type: String,
    val id: JsonElement? = null,
    @SerialName("next_heartbeat_seconds") val nextHeartbeatSeconds: Long? = null,
    val owner: String? = null,
    val status: Int? = null,
    val detail: String? = null,
    val reason: String? = null,
    @SerialName("retry_after_s") val retryAfterS: Long? = null,
    @SerialName("after_ms") val afterMs: Long? = null,
)
