package com.nexmdm.install

import android.content.pm.PackageInfo
import android.content.pm.PackageManager
import android.content.pm.Signature
import android.os.Build
import com.nexmdm.platform.GuardedBySdk
import java.security.MessageDigest

/** Certificates of an app, as SHA-256 in lower-case hex. */
internal class Signers(
    /** Who signs it now. */
    val current: Set<String>,
    /** The same and every earlier key that its lineage of rotated keys proves. */
    val lineage: Set<String>,
) {
    companion object {
        /** What to ask the package manager for so that [of] finds it. */
        val FLAGS: Int =
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) SIGNING_CERTIFICATES or LEGACY_SIGNATURES else LEGACY_SIGNATURES

        /** Signers of a package; null when the system names none. */
        @Suppress("DEPRECATION")
        fun of(info: PackageInfo): Signers? {
            val since28 = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) fromSigningInfo(info) else null
            // Android 9 leaves signingInfo out for files that are not installed.
            return since28 ?: info.signatures?.takeIf { it.isNotEmpty() }?.let { digests(it) }?.let { Signers(it, it) }
        }

        @GuardedBySdk
        private fun fromSigningInfo(info: PackageInfo): Signers? {
            val signing = info.signingInfo ?: return null
            val current = digests(signing.apkContentsSigners.orEmpty())
            // With several signers there is no lineage.
            val history = if (signing.hasMultipleSigners()) emptySet() else digests(signing.signingCertificateHistory.orEmpty())
            return if (current.isEmpty()) null else Signers(current, current + history)
        }

        private fun digests(signatures: Array<out Signature>): Set<String> = signatures.mapTo(mutableSetOf()) { signature ->
            MessageDigest.getInstance("SHA-256").digest(signature.toByteArray()).joinToString("") { "%02x".format(it) }
        }

        /** `PackageManager.GET_SIGNING_CERTIFICATES`, API 28. */
        private const val SIGNING_CERTIFICATES = 0x08000000

        @Suppress("DEPRECATION")
        private const val LEGACY_SIGNATURES = PackageManager.GET_SIGNATURES
    }
}
