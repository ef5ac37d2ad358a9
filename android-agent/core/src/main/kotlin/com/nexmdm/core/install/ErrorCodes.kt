package com.nexmdm.core.install

/** Error codes of the deployment API (docs/deployments.md); the server takes no others. */
object ErrorCodes {
    const val CHECKSUM_MISMATCH: String = "checksum_mismatch"
    const val SIGNER_MISMATCH: String = "signer_mismatch"
    const val NOT_PERMITTED: String = "not_permitted"
    const val LOW_BATTERY: String = "low_battery"
    const val NO_WIFI: String = "no_wifi"
    const val METERED: String = "metered"
    const val NOT_CHARGING: String = "not_charging"
    const val OUTSIDE_WINDOW: String = "outside_window"
    const val LOW_STORAGE: String = "low_storage"
    const val IN_CALL: String = "in_call"
    const val DOWNLOAD_FAILED: String = "download_failed"
    const val INSTALL_FAILED: String = "install_failed"
    const val DOWNGRADE_REFUSED: String = "downgrade_refused"
    const val TIMEOUT: String = "timeout"

    private val CONSTRAINTS = setOf(LOW_BATTERY, NO_WIFI, METERED, NOT_CHARGING, OUTSIDE_WINDOW, LOW_STORAGE, IN_CALL)
    private val ALL =
        CONSTRAINTS + setOf(
            CHECKSUM_MISMATCH, SIGNER_MISMATCH, NOT_PERMITTED, DOWNLOAD_FAILED, INSTALL_FAILED, DOWNGRADE_REFUSED, TIMEOUT,
        )

    /** Whether the agent may try again by itself when the order says so. */
    fun isRetried(code: String): Boolean = code in CONSTRAINTS || code == DOWNLOAD_FAILED

    /** Whether the file is not the one that was announced. */
    fun isVerification(code: String): Boolean = code == CHECKSUM_MISMATCH || code == SIGNER_MISMATCH

    /** [code] if the server knows it, else `install_failed`. */
    fun known(code: String): String = if (code in ALL) code else INSTALL_FAILED
}

/** Why an installation ends without success: a code for programs and a text for people. */
data class InstallFailure(val code: String, val message: String?)
