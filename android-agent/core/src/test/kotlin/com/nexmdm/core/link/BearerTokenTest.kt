package com.nexmdm.core.link

import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class BearerTokenTest {
    @Test
    fun `only what a header takes is a token`() {
        for (good in listOf("a", "0b7f.Zm9v_-", "eyJ0.eyJz.c2ln", "~".repeat(4_096))) assertTrue(isBearerToken(good), good)
        for (bad in listOf("", " ", "a b", "a\nb", "a\r", "t\u00f6ken", "\u0000", "a".repeat(4_097))) assertFalse(isBearerToken(bad), bad)
    }
}
