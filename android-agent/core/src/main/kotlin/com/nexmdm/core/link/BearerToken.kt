package com.nexmdm.core.link

private const val TOKEN_CHARS_MAX = 4_096

/**
 * Whether a token can stand in an `Authorization` header (RFC 9110, section 5.5): one that cannot would be kept and end the process at
 * every start.
 */
internal fun isBearerToken(text: String): Boolean = text.length in 1..TOKEN_CHARS_MAX && text.all { it in '!'..'~' }
