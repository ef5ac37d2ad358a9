package com.nexmdm

import android.app.Application
import android.content.Context
import com.nexmdm.push.PushHost

/** The process: whatever component brought it up, the agent runs in it. */
internal open class AgentApplication : Application(), PushHost {
    /** The agent of this process. */
    val agent: AgentHandle by lazy(::createAgent)

    /** Makes the agent. */
    protected open fun createAgent(): AgentHandle = AndroidAgent(this)

    override fun onCreate() {
        super.onCreate()
        agent.start()
    }

    override fun wakeByPush() = agent.wake("push")
}

/** The agent of the process that a component runs in. */
internal val Context.agent: AgentHandle get() = (applicationContext as AgentApplication).agent
