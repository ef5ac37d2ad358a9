package com.nexmdm.core.link

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class CredentialsTest {
    private fun effects(vararg events: CredentialEvent): List<CredentialEffect> {
        var state = CredentialState()
        return events.map { event -> Credentials.decide(state, event).also { state = it.first }.second }
    }

    @Test
    fun `one new session at once, then waits, and the fifth refusal in a row ends the identity`() {
        val refused = CredentialEvent.REFUSED
        val later = CredentialEffect.RENEW_LATER
        assertEquals(
            listOf(CredentialEffect.RENEW_NOW, later, later, later, CredentialEffect.FORGET_REFUSED),
            effects(refused, refused, refused, refused, refused),
        )
    }

    @Test
    fun `a request that is served breaks the row`() {
        val refused = CredentialEvent.REFUSED
        val effects = effects(refused, refused, refused, refused, CredentialEvent.ACCEPTED, refused, refused)
        assertEquals(listOf(CredentialEffect.RENEW_NOW, CredentialEffect.RENEW_LATER), effects.takeLast(2))
    }

    @Test
    fun `a deleted device ends at once`() {
        assertEquals(listOf(CredentialEffect.FORGET_DELETED), effects(CredentialEvent.DEVICE_DELETED))
    }
}
