package com.nexmdm.host.platform

import com.android.apksig.ApkVerifier
import com.android.apksig.apk.ApkFormatException
import com.android.apksig.apk.ApkUtils
import com.android.apksig.apk.MinSdkVersionException
import com.android.apksig.internal.apk.AndroidBinXmlParser
import com.android.apksig.util.DataSource
import com.android.apksig.util.DataSources
import com.android.apksig.zip.ZipFormatException
import com.nexmdm.core.port.ApkFacts
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.security.MessageDigest
import java.security.NoSuchAlgorithmException
import java.security.cert.X509Certificate

/** What an APK says of itself, its version's name included. */
internal class ApkDetails(val facts: ApkFacts, val versionName: String?)

/** Reads APKs and verifies their signatures by the code that Android's own `apksigner` uses. */
internal object ApkReader {
    private const val VERSION_NAME_ATTRIBUTE = 0x0101021c

    /**
     * Reads an APK as a device of API level [sdkInt] does; null when it is none. Without a signature that holds it has no
     * signers.
     */
    fun read(apk: File, sdkInt: Int): ApkDetails? =
        try {
            RandomAccessFile(apk, "r").use { file -> read(DataSources.asDataSource(file), sdkInt) }
        } catch (_: IOException) {
            null
        } catch (_: ApkFormatException) {
            null
        } catch (_: ZipFormatException) {
            null
        }

    private fun read(apk: DataSource, sdkInt: Int): ApkDetails {
        val manifest = ApkUtils.getAndroidManifest(apk)
        fun rewound(): ByteBuffer = manifest.duplicate().order(manifest.order())
        val (signers, lineage) = signers(apk, sdkInt)
        val facts =
            ApkFacts(
                packageName = ApkUtils.getPackageNameFromBinaryAndroidManifest(rewound()),
                versionCode = ApkUtils.getLongVersionCodeFromBinaryAndroidManifest(rewound()),
                minSdk = minSdk(rewound()),
                signerSha256 = signers,
                lineageSha256 = signers + lineage,
            )
        return ApkDetails(facts, versionName(rewound()))
    }

    private fun minSdk(manifest: ByteBuffer): Int =
        try {
            ApkUtils.getMinSdkVersionFromBinaryAndroidManifest(manifest)
        } catch (e: MinSdkVersionException) {
            throw ApkFormatException("no readable minSdkVersion", e)
        }

    private fun signers(apk: DataSource, sdkInt: Int): Pair<Set<String>, Set<String>> {
        val verifier = ApkVerifier.Builder(apk).setMinCheckedPlatformVersion(sdkInt).setMaxCheckedPlatformVersion(sdkInt).build()
        val result =
            try {
                verifier.verify()
            } catch (e: NoSuchAlgorithmException) {
                throw ApkFormatException("a signature of an unknown algorithm", e)
            }
        if (!result.isVerified) return emptySet<String>() to emptySet()
        val lineage = result.signingCertificateLineage?.certificatesInLineage.orEmpty()
        return result.signerCertificates.map(::sha256).toSet() to lineage.map(::sha256).toSet()
    }

    private fun sha256(certificate: X509Certificate): String =
        MessageDigest.getInstance("SHA-256").digest(certificate.encoded).joinToString("") { "%02x".format(it) }

    /** The attribute `versionName`, if it is a text and no reference to a resource. */
    private fun versionName(manifest: ByteBuffer): String? =
        try {
            val parser = AndroidBinXmlParser(manifest)
            while (parser.eventType != AndroidBinXmlParser.EVENT_START_ELEMENT) parser.next()
            (0 until parser.attributeCount)
                .find { parser.getAttributeNameResourceId(it) == VERSION_NAME_ATTRIBUTE }
                ?.takeIf { parser.getAttributeValueType(it) == AndroidBinXmlParser.VALUE_TYPE_STRING }
                ?.let(parser::getAttributeStringValue)
        } catch (e: AndroidBinXmlParser.XmlParserException) {
            throw ApkFormatException("no readable manifest", e)
        }
}
