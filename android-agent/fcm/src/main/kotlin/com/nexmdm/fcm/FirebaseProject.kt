package com.nexmdm.fcm

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json

/** A Firebase project, and the app that is registered with it. */
internal data class FirebaseProject(val projectId: String, val senderId: String, val applicationId: String, val apiKey: String) {
    companion object {
        /** Name of the file that the Firebase console gives out, and of the APK's asset. */
        const val FILE: String = "google-services.json"

        private val json = Json { ignoreUnknownKeys = true }

        // As firebase-installations asks for them.
        private val applicationIdFormat = Regex("[^:]+(:[^:]+)+")
        private val apiKeyFormat = Regex("A[\\w-]{38}")

        /** Reads [text], the contents of [FILE]; throws [IllegalArgumentException] that says what is wrong with it for [packageName]. */
        fun parse(text: String, packageName: String): FirebaseProject {
            val file = try {
                json.decodeFromString<GoogleServices>(text)
            } catch (e: SerializationException) {
                throw IllegalArgumentException("$FILE cannot be read: ${e.message?.lineSequence()?.first()}")
            }
            val client = file.clients.find { it.packageName == packageName } ?: throw IllegalArgumentException(
                "$FILE has no Android app with the package $packageName, only ${file.clients.map { it.packageName }}: " +
                    "add that package to the Firebase project and download the file again",
            )
            return FirebaseProject(
                projectId = file.project.id,
                senderId = file.project.number,
                applicationId = client.info.applicationId,
                apiKey = client.apiKeys.firstOrNull()?.currentKey.orEmpty(),
            ).apply {
                require(projectId.isNotBlank() && senderId.isNotBlank()) { "$FILE names no project_id or no project_number" }
                require(applicationIdFormat.matches(applicationId)) { "$FILE has no usable mobilesdk_app_id for $packageName" }
                require(apiKeyFormat.matches(apiKey)) { "$FILE has no usable API key for $packageName" }
            }
        }
    }
}

@Serializable
private class GoogleServices(@SerialName("project_info") val project: Project, @SerialName("client") val clients: List<Client>) {
    @Serializable
    class Project(@SerialName("project_id") val id: String, @SerialName("project_number") val number: String)

    @Serializable
    class Client(@SerialName("client_info") val info: Info, @SerialName("api_key") val apiKeys: List<ApiKey> = emptyList()) {
        val packageName: String? get() = info.android?.packageName
    }

    @Serializable
    class Info(
        @SerialName("mobilesdk_app_id") val applicationId: String,
        @SerialName("android_client_info") val android: Android? = null,
    )

    @Serializable
    class Android(@SerialName("package_name") val packageName: String)

    @Serializable
    class ApiKey(@SerialName("current_key") val currentKey: String)
}
