package com.nexmdm.core.agent

import com.nexmdm.core.identity.Identity
import com.nexmdm.core.link.Signal
import com.nexmdm.core.port.DeviceReadings
import com.nexmdm.core.port.Ports
import com.nexmdm.core.port.SqlException
import com.nexmdm.core.port.warn
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.queue.OutboxItem
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.store.DeployedApps
import com.nexmdm.core.store.SettingKeys
import com.nexmdm.core.time.Rfc3339
import com.nexmdm.core.wire.Heartbeat
import com.nexmdm.core.wire.WireJson
import kotlinx.serialization.SerializationException
import java.util.concurrent.ConcurrentLinkedQueue

/** Makes and queues the heartbeats of an enrolled device, at their times and when asked to. */
internal class Heartbeats(
    private val ports: Ports,
    private val database: AgentDatabase,
    private val outbox: Outbox,
    private val identity: Identity,
    fixedIntervalMs: Long?,
    private val destination: Destination,
) {
    /** Where heartbeats go. */
    interface Destination {
        /** One is in the queue. */
        fun queued()

        /** One could not be queued. */
        fun unqueued(body: String)
    }

    private class Request(val pingRequestId: String?)

    private var schedule = HeartbeatSchedule.startingAt(ports.clock.monotonicMs(), fixedIntervalMs)
    private val signal = Signal()
    private val requests = ConcurrentLinkedQueue<Request>()
    private var agentVersionName: String? = null
    private var seq: Long? = null
    private var pushToken: String? = null

    /** Makes heartbeats until it is cancelled. */
    suspend fun run(): Nothing {
        while (true) {
            val request = requests.poll()
            val waitMs = schedule.nextAtMs - ports.clock.monotonicMs()
            if (request != null) {
                make(request.pingRequestId)
            } else if (waitMs <= 0) {
                schedule = schedule.made(ports.clock.monotonicMs())
                make(null)
            } else {
                ports.wakeUps.schedule(waitMs)
                signal.await(waitMs)
            }
        }
    }

    /** The device is awake: what is due is made. From any thread. */
    fun wake(): Unit = signal.give()

    /** Asks for a heartbeat now; [pingRequestId] when it answers a ping. From any thread. */
    fun reportNow(pingRequestId: String?) {
        if (requests.size < REQUESTS_MAX) requests.add(Request(pingRequestId))
        signal.give()
    }

    /** A server told when it wants the next heartbeat. */
    fun answered(nextHeartbeatSeconds: Long) {
        schedule = schedule.answered(nextHeartbeatSeconds, ports.clock.monotonicMs())
        signal.give()
    }

    /** The address for push messages changed: told by a heartbeat now, unless the server has it. */
    fun pushTokenChanged(token: String) {
        pushToken = token
        if (untoldPushToken() != null) reportNow(null)
    }

    /** A heartbeat was acknowledged, and with it the push token that it carried. Throws [SqlException]. */
    fun acknowledged(item: OutboxItem) {
        val token = pushToken ?: return
        val told = try {
            WireJson.decodeFromString(Heartbeat.serializer(), item.body).fcmToken
        } catch (_: SerializationException) {
            null
        }
        if (told == token) database.putSetting(PUSH_TOKEN_TOLD, told)
    }

    private fun untoldPushToken(): String? = pushToken?.takeIf { it != setting(PUSH_TOKEN_TOLD) }

    private suspend fun make(pingRequestId: String?) {
        val readings = ports.readings(setting(SettingKeys.MONITORED_APP), deployedApps()) ?: unread()
        agentVersionName = readings.agentVersionName
        val wallMs = ports.clock.wallMs()
        val heartbeat = HeartbeatBuilder.build(
            readings,
            HeartbeatContext(
                deviceId = identity.deviceId,
                alias = identity.alias,
                timestampUtc = Rfc3339.format(wallMs),
                pushToken = untoldPushToken(),
                pingRequestId = pingRequestId,
                queueDepth = depth(),
                seq = nextSeq(readings.bootId),
            ),
        )
        val body = WireJson.encodeToString(Heartbeat.serializer(), heartbeat)
        try {
            database.inTransaction {
                database.putSetting(SEQ, "${readings.bootId} $seq")
                outbox.putHeartbeat(body, Math.floorDiv(wallMs, BUCKET_MS) * BUCKET_MS)
            }
            destination.queued()
        } catch (e: SqlException) {
            ports.log.warn("store.fail", "what" to "heartbeat", "error" to e.message)
            destination.unqueued(body)
        }
    }

    /** What is known without the platform, which did not answer. */
    private fun unread(): DeviceReadings {
        val code = ports.facts.agentVersionCode()
        return DeviceReadings(agentVersionName ?: code.toString(), code, ports.facts.bootId())
    }

    private fun deployedApps(): Set<String> = try {
        DeployedApps(database).names()
    } catch (_: SqlException) {
        emptySet()
    }

    private fun depth(): Int = try {
        outbox.heartbeats()
    } catch (_: SqlException) {
        0
    }

    private fun nextSeq(bootId: String): Long {
        val last = seq ?: setting(SEQ)?.split(' ')?.takeIf { it.size == 2 && it[0] == bootId }?.get(1)?.toLongOrNull() ?: 0
        return (last + 1).also { seq = it }
    }

    private fun setting(key: String): String? = try {
        database.setting(key)
    } catch (e: SqlException) {
        ports.log.warn("store.fail", "what" to "setting", "error" to e.message)
        null
    }

    private companion object {
        /** The server keeps one heartbeat in each bucket of this length. */
        const val BUCKET_MS = 10_000L
        const val REQUESTS_MAX = 16
        const val SEQ = "heartbeat_seq"
        const val PUSH_TOKEN_TOLD = "push_token_told"
    }
}
