package com.nexmdm.core.link

import com.nexmdm.core.testing.TestRandomness
import com.nexmdm.core.time.Backoff
import net.jqwik.api.Arbitraries
import net.jqwik.api.Arbitrary
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.Provide
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ConnectionTest {
    private val connection = Connection(Backoff(2_000, 300_000), TestRandomness(1))
    private val answered = ConnectionState(servers = 3, answered = true)

    private fun after(state: ConnectionState, vararg events: ConnectionEvent, nowMs: Long = 0): ConnectionState =
        events.fold(state) { current, event -> connection.decide(current, event, nowMs).first }

    @Test
    fun `the socket is opened once a server has answered`() {
        val fresh = ConnectionState(servers = 1)
        assertFalse(fresh.wantsSocket(0))
        assertTrue(after(fresh, ConnectionEvent.Answered).wantsSocket(0))
    }

    @Test
    fun `a failure waits and goes to another server, overload only waits`() {
        val failed = after(answered, ConnectionEvent.Failed(null, elsewhere = true))
        assertEquals(1, failed.server)
        assertFalse(failed.mayTalk(0))
        assertTrue(failed.mayTalk(2_000))
        val overloaded = after(answered, ConnectionEvent.Failed(7_000, elsewhere = false))
        assertEquals(0, overloaded.server)
        assertFalse(overloaded.mayTalk(6_999))
        assertTrue(overloaded.mayTalk(7_700))
    }

    @Test
    fun `servers take turns`() {
        val servers = generateSequence(answered) { after(it, ConnectionEvent.Failed(null, elsewhere = true)) }.map { it.server }
        assertEquals(listOf(0, 1, 2, 0, 1), servers.take(5).toList())
    }

    @Test
    fun `where web sockets do not pass requests go on, and the socket is tried ever more rarely`() {
        var state = answered
        val delays = List(12) {
            val (next, effects) = connection.decide(after(state, ConnectionEvent.SocketOpening), ConnectionEvent.SocketUnavailable, 0)
            state = next
            (effects.single() as ConnectionEffect.RetryScheduled).delayMs
        }
        assertTrue(state.mayTalk(0))
        assertFalse(state.wantsSocket(0))
        assertTrue(state.wantsSocket(300_001))
        assertTrue(delays.max() > 60_000, "$delays")
    }

    @Test
    fun `a socket that breaks soon counts as one more failure, one that lasted does not`() {
        val flapping = after(
            answered,
            ConnectionEvent.SocketOpened, ConnectionEvent.SocketLost, ConnectionEvent.SocketOpened, ConnectionEvent.SocketLost,
        )
        assertEquals(2, flapping.socketFailures)
        assertEquals(2, flapping.server)
        val lasted = after(after(flapping, ConnectionEvent.SocketOpened), ConnectionEvent.SocketLost, nowMs = 60_000)
        assertEquals(1, lasted.socketFailures)
    }

    @Test
    fun `reconnect is waited for exactly and leads elsewhere`() {
        val open = after(answered, ConnectionEvent.SocketOpened)
        val (state, effects) = connection.decide(open, ConnectionEvent.Reconnect(4_000), 0)
        assertEquals(listOf(ConnectionEffect.EndSocket(orderly = true)), effects)
        assertEquals(1, state.server)
        assertFalse(state.mayTalk(3_999))
        assertTrue(state.wantsSocket(4_000))
        assertTrue(after(open, ConnectionEvent.Reconnect(Long.MAX_VALUE)).mayTalk(600_000))
    }

    @Test
    fun `a validated network ends the waits, but not those that a server asked for`() {
        val waiting = after(answered, ConnectionEvent.Failed(null, elsewhere = true), ConnectionEvent.SocketUnavailable)
        assertTrue(after(waiting, ConnectionEvent.NetworkValidated).wantsSocket(0))
        val asked = after(answered, ConnectionEvent.Failed(60_000, elsewhere = false))
        assertFalse(after(asked, ConnectionEvent.NetworkValidated).mayTalk(59_999))
    }

    @Test
    fun `another network ends the socket without counting a failure`() {
        val open = after(answered, ConnectionEvent.SocketOpened)
        val (moved, effects) = connection.decide(open, ConnectionEvent.NetworkChanged(up = true), 0)
        assertEquals(listOf(ConnectionEffect.EndSocket(orderly = false)), effects)
        assertTrue(moved.wantsSocket(0))
        assertFalse(after(open, ConnectionEvent.NetworkChanged(up = false)).mayTalk(Long.MAX_VALUE))
    }

    @Provide
    fun events(): Arbitrary<List<ConnectionEvent>> = Arbitraries.of(
        ConnectionEvent.Answered, ConnectionEvent.Failed(null, true), ConnectionEvent.Failed(5_000, false), ConnectionEvent.SocketOpening,
        ConnectionEvent.SocketOpened, ConnectionEvent.SocketUnavailable, ConnectionEvent.SocketLost, ConnectionEvent.SocketClosed,
        ConnectionEvent.Reconnect(9_000), ConnectionEvent.NetworkChanged(true), ConnectionEvent.NetworkChanged(false),
        ConnectionEvent.NetworkValidated,
    ).list().ofMaxSize(60)

    @Property
    fun `after any history an agent with a network talks again within ten minutes`(@ForAll("events") history: List<ConnectionEvent>) {
        var nowMs = 0L
        var state = answered
        for (event in history) {
            nowMs += 500
            state = after(state, event, nowMs = nowMs)
            assertTrue(state.server in 0 until state.servers)
        }
        state = after(state, ConnectionEvent.NetworkChanged(up = true), nowMs = nowMs)
        assertTrue(state.mayTalk(nowMs + 660_000))
        assertTrue(state.socket != SocketPhase.CLOSED || state.wantsSocket(nowMs + 660_000))
    }
}
