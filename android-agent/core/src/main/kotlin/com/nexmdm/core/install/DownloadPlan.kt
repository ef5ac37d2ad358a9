package com.nexmdm.core.install

import com.nexmdm.core.port.DownloadHead

private val CONTENT_RANGE = Regex("bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\\*)")
private val ORIGIN = Regex("(https?://[^/?#]+)(/.*)")
private const val RETRY_AFTER_MAX_S = 300L

/** What the head of a download's answer means. */
internal sealed interface HeadVerdict {
    /** The bytes follow from where they were asked for. */
    data object Append : HeadVerdict

    /** The file follows from its beginning. */
    data object FromStart : HeadVerdict

    /** What is on disk belongs to another file, or the file has another size: start over, once. */
    data class StartOver(val why: String) : HeadVerdict

    /** Nothing useful this time; again in [afterMs] at the soonest, if the server said so. */
    data class Later(val why: String, val afterMs: Long? = null) : HeadVerdict

    /** The address does not hold, or no longer. */
    data class Expired(val status: Int) : HeadVerdict

    /** It never will. */
    data class Never(val why: String) : HeadVerdict
}

/**
 * Judges an answer to the request for a file of [sizeBytes] from byte [have] on; [etag] is that of the bytes on disk, if known.
 *
 * HTML and redirections come from captive portals: they pass.
 */
internal fun judgeHead(head: DownloadHead, have: Long, sizeBytes: Long, etag: String?): HeadVerdict {
    val kind = head.headers["content-type"].orEmpty().lowercase()
    val retryAfterMs = head.headers["retry-after"]?.trim()?.toLongOrNull()?.coerceIn(0, RETRY_AFTER_MAX_S)?.times(1_000)
    return when (head.status) {
        200, 206 -> when {
            kind.startsWith("text/") -> HeadVerdict.Later("the answer is a page, not a file")
            head.status == 206 -> judgeRange(head, have, sizeBytes, etag)
            else -> judgeWhole(head, sizeBytes)
        }
        401, 403, 410 -> HeadVerdict.Expired(head.status)
        416 -> if (have > 0) HeadVerdict.StartOver("the file is shorter") else HeadVerdict.Never("HTTP 416")
        408, 425, 429, in 500..599 -> HeadVerdict.Later("HTTP ${head.status}", retryAfterMs)
        in 300..399 -> HeadVerdict.Later("redirected (HTTP ${head.status})")
        else -> HeadVerdict.Never("HTTP ${head.status}")
    }
}

private fun judgeRange(head: DownloadHead, have: Long, sizeBytes: Long, etag: String?): HeadVerdict {
    val match = CONTENT_RANGE.matchEntire(head.headers["content-range"].orEmpty().trim())
    val (from, last, total) = match?.destructured ?: return HeadVerdict.Later("a part without its range")
    val newEtag = head.headers["etag"]
    return when {
        total != "*" && total.toLong() != sizeBytes -> HeadVerdict.StartOver("the file has $total bytes, $sizeBytes were announced")
        have > 0 && etag != null && newEtag != null && newEtag != etag -> HeadVerdict.StartOver("another file is there now")
        from.toLong() != have || last.toLong() >= sizeBytes || last.toLong() < have -> HeadVerdict.Later("another range than asked for")
        else -> HeadVerdict.Append
    }
}

private fun judgeWhole(head: DownloadHead, sizeBytes: Long): HeadVerdict {
    val length = head.headers["content-length"]?.trim()?.toLongOrNull()
    if (length != null && length != sizeBytes) return HeadVerdict.StartOver("the file has $length bytes, $sizeBytes were announced")
    return HeadVerdict.FromStart
}

/** The same path at each of [servers], after the address itself. */
internal fun mirrors(url: String, servers: List<String>): List<String> {
    val (_, path) = ORIGIN.matchEntire(url)?.destructured ?: return listOf(url)
    return (listOf(url) + servers.map { it.trimEnd('/') + path }).distinct()
}
