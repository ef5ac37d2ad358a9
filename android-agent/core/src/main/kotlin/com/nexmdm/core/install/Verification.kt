package com.nexmdm.core.install

import com.nexmdm.core.port.ApkFacts
import com.nexmdm.core.port.InstalledApp

/** A downloaded file as it lies on disk. */
data class FileFacts(
    val sha256: String,
    /** What the platform reads in it; null when it is no APK to it. */
    val apk: ApkFacts?,
)

/**
 * What is wrong with a downloaded file; null when it may be installed.
 *
 * The file has to be the announced one, byte by byte and by its own words; it has to be signed, now or in its lineage of rotated
 * keys, by one of the announced certificates and by one that may update the installed app.
 */
internal fun verify(apk: ApkOrder, file: FileFacts, installed: InstalledApp?, sdkInt: Int?): InstallFailure? {
    if (file.sha256 != apk.sha256) return InstallFailure(ErrorCodes.CHECKSUM_MISMATCH, "the file's SHA-256 is ${file.sha256}")
    val facts = file.apk ?: return InstallFailure(ErrorCodes.INSTALL_FAILED, "not an APK that this device can read")
    if (facts.packageName != apk.packageName || facts.versionCode != apk.versionCode) {
        val found = "${facts.packageName.take(MESSAGE_PART_CHARS)} ${facts.versionCode}"
        return InstallFailure(ErrorCodes.CHECKSUM_MISMATCH, "the file is $found, ${apk.packageName} ${apk.versionCode} was announced")
    }
    val signers = facts.signerSha256 + facts.lineageSha256
    val named = facts.signerSha256.take(2).joinToString()
    if (facts.signerSha256.isEmpty()) return InstallFailure(ErrorCodes.SIGNER_MISMATCH, "it is not signed")
    if (apk.signerSha256.isNotEmpty() && apk.signerSha256.none { it in signers }) {
        return InstallFailure(ErrorCodes.SIGNER_MISMATCH, "it is signed by $named, which was not announced")
    }
    if (installed != null && installed.signerSha256.none { it in signers }) {
        return InstallFailure(ErrorCodes.SIGNER_MISMATCH, "it is signed by $named, the installed app is not")
    }
    if (installed != null && installed.versionCode > apk.versionCode) return downgrade(installed)
    if (sdkInt != null && facts.minSdk > sdkInt) {
        return InstallFailure(ErrorCodes.INSTALL_FAILED, "it needs Android API level ${facts.minSdk}, this device has $sdkInt")
    }
    return null
}

/** Android installs no older version over a newer one. */
internal fun downgrade(installed: InstalledApp): InstallFailure =
    InstallFailure(ErrorCodes.DOWNGRADE_REFUSED, "version code ${installed.versionCode} is installed")

private const val MESSAGE_PART_CHARS = 100
