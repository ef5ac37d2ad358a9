package com.nexmdm.core.link

/** What the device knows of how its credentials are received. */
data class CredentialState(
    /** Answers 401 in a row. */
    val refusals: Int = 0,
)

/** What servers say about the credentials. */
enum class CredentialEvent {
    /** A request with them was served. */
    ACCEPTED,

    /** 401. */
    REFUSED,

    /** 410. */
    DEVICE_DELETED,
}

/** What follows. */
enum class CredentialEffect {
    NONE,

    /** Ask for a new session and try again at once. */
    RENEW_NOW,

    /** Ask for a new session after a wait. */
    RENEW_LATER,

    /** The identity is worthless: five 401 in a row. */
    FORGET_REFUSED,

    /** The identity is worthless: the device was deleted. */
    FORGET_DELETED,
}

/** Rules for refused credentials, the same that the server's simulated fleet follows. */
object Credentials {
    /** This many 401 in a row end an identity. */
    const val REFUSALS_MAX: Int = 5

    /** New state and what follows from [event]. */
    fun decide(state: CredentialState, event: CredentialEvent): Pair<CredentialState, CredentialEffect> = when (event) {
        CredentialEvent.ACCEPTED -> CredentialState() to CredentialEffect.NONE
        CredentialEvent.DEVICE_DELETED -> state to CredentialEffect.FORGET_DELETED
        CredentialEvent.REFUSED -> {
            val refused = CredentialState(state.refusals + 1)
            refused to when {
                refused.refusals >= REFUSALS_MAX -> CredentialEffect.FORGET_REFUSED
                refused.refusals == 1 -> CredentialEffect.RENEW_NOW
                else -> CredentialEffect.RENEW_LATER
            }
        }
    }
}
