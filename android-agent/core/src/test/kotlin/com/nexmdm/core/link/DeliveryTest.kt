package com.nexmdm.core.link

import com.nexmdm.core.queue.ItemKind
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonObject
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.constraints.IntRange
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class DeliveryTest {
    private fun heartbeat(id: Long, padding: Int = 0) =
        OutboxItem(id, ItemKind.HEARTBEAT, "", """{"seq":$id,"pad":"${"x".repeat(padding)}"}""", 0)

    private val result = OutboxItem(7, ItemKind.RESULT, "r1", """{"request_id":"r1","outcome":"success"}""", 0)

    @Test
    fun `results go before heartbeats, unless one was not taken just now`() {
        val waiting = Waiting(listOf(result), listOf(heartbeat(1)))
        assertEquals(Step.Single(result), Delivery.nextRequest(waiting, heartbeatsFirst = false, alone = false))
        assertEquals(Step.Single(heartbeat(1)), Delivery.nextRequest(waiting, heartbeatsFirst = true, alone = false))
        assertEquals(Step.Single(result), Delivery.nextRequest(Waiting(listOf(result), emptyList()), heartbeatsFirst = true, alone = false))
        assertNull(Delivery.nextRequest(Waiting(emptyList(), emptyList()), heartbeatsFirst = false, alone = false))
    }

    @Test
    fun `a backlog goes as lists in order, and one by one after a list was refused`() {
        val backlog = List(250) { heartbeat(it + 1L) }
        val list = assertInstanceOf(
            Step.HeartbeatList::class.java,
            Delivery.nextRequest(Waiting(emptyList(), backlog), heartbeatsFirst = false, alone = false),
        )
        assertEquals(backlog.take(100), list.items)
        assertEquals(100, (WireJson.parseToJsonElement(list.body) as JsonArray).size)
        assertEquals(
            Step.Single(backlog.first()),
            Delivery.nextRequest(Waiting(emptyList(), backlog), heartbeatsFirst = false, alone = true),
        )
    }

    @Property(tries = 200)
    fun `no list exceeds what a server takes`(@ForAll @IntRange(min = 0, max = 70_000) padding: Int) {
        val backlog = List(120) { heartbeat(it + 1L, padding) }
        val step = Delivery.nextRequest(Waiting(emptyList(), backlog), heartbeatsFirst = false, alone = false)
        if (step is Step.HeartbeatList) {
            assertTrue(step.body.length <= Delivery.LIST_BYTES && step.items.size in 2..100, "${step.body.length}")
        } else {
            assertEquals(Step.Single(heartbeat(1, padding)), step)
        }
    }

    @Test
    fun `a frame has the fields of the body beside its own`() {
        fun frame(item: OutboxItem) = WireJson.parseToJsonElement(Delivery.frame(item).orEmpty()) as JsonObject
        assertEquals(setOf("type", "id", "seq", "pad"), frame(heartbeat(3)).keys)
        assertEquals("\"action_result\"", frame(result)["type"].toString())
        val status = OutboxItem(9, ItemKind.DEPLOYMENT_STATUS, "d1", """{"status":"accepted"}""", 0)
        assertEquals("""{"type":"deployment_status","id":9,"deployment_id":"d1","status":"accepted"}""", Delivery.frame(status))
        assertEquals("""{"type":"action_result","id":7}""", Delivery.frame(result.copy(body = "{}")))
        assertNull(Delivery.frame(OutboxItem(1, ItemKind.UPDATE_REPORT, "b", "{}", 0)))
    }

    @Test
    fun `every kind has its path`() {
        assertEquals(
            listOf("/v1/heartbeat", "/v1/action-result", "/v1/agent/deployments/s/devices/dev/status", "/v1/agent/update/report"),
            ItemKind.entries.map { Delivery.path(OutboxItem(1, it, "s", "{}", 0), "dev") },
        )
    }

    @Test
    fun `only refusals that repeat themselves are final`() {
        val statuses = listOf(200, 302, 400, 401, 403, 404, 408, 409, 410, 413, 422, 425, 429, 500, 503)
        assertEquals(listOf(400, 403, 404, 409, 413, 422), statuses.filter(Delivery::isFinal))
    }
}
