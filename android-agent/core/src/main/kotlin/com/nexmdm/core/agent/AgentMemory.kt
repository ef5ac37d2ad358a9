package com.nexmdm.core.agent

import com.nexmdm.core.identity.Vault
import com.nexmdm.core.port.Ports
import com.nexmdm.core.queue.Outbox
import com.nexmdm.core.queue.SqlOutbox
import com.nexmdm.core.store.AgentDatabase
import com.nexmdm.core.store.DatabaseTime
import com.nexmdm.core.time.TrustedTime

/** What an agent keeps over its process. */
internal class AgentMemory(val ports: Ports, settings: AgentSettings) {
    val vault = Vault(ports.secrets, ports.log)
    val database = AgentDatabase(ports.sqlOpener, ports.log)
    val time = TrustedTime(ports.clock, ports.facts.bootId(), DatabaseTime(database, ports.log), settings.builtAtMs)
    val outbox: Outbox = SqlOutbox(database, ports.clock, time, ports.log)
}
