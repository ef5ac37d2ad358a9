package com.nexmdm

import android.app.Activity
import android.app.admin.DevicePolicyManager
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.os.PersistableBundle
import android.util.Log
import com.nexmdm.core.agent.EnrollmentRequest
import com.nexmdm.platform.GuardedBySdk
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch

/** The extras that a QR code hands to the agent. */
internal object ProvisioningExtras {
    /** Takes server and token out of provisioning's intent and enrolls; calls [then] once that is durable, or at once. */
    fun enroll(context: Context, intent: Intent, then: () -> Unit) {
        val request = read(intent)
        if (request == null) {
            Log.w("nexmdm", "provisioned without ${EnrollmentRequest.SERVER_URL}")
            then()
            return
        }
        CoroutineScope(Dispatchers.Default).launch {
            try {
                val answer = context.agent.enroll(request)
                Log.i("nexmdm", "provisioning: answer ${answer.code}")
            } finally {
                then()
            }
        }
    }

    private fun read(intent: Intent): EnrollmentRequest? = bundle(intent)?.let { EnrollmentRequest.fromValues(it::getString) }

    private fun bundle(intent: Intent): PersistableBundle? = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
        typedBundle(intent)
    } else {
        @Suppress("DEPRECATION")
        intent.getParcelableExtra(DevicePolicyManager.EXTRA_PROVISIONING_ADMIN_EXTRAS_BUNDLE)
    }

    @GuardedBySdk
    private fun typedBundle(intent: Intent) =
        intent.getParcelableExtra(DevicePolicyManager.EXTRA_PROVISIONING_ADMIN_EXTRAS_BUNDLE, PersistableBundle::class.java)
}

/** Answers, from Android 12 on, that the agent is to own the whole device (`ACTION_GET_PROVISIONING_MODE`). */
internal class ProvisioningModeActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val answer = Intent().putExtra(EXTRA_PROVISIONING_MODE, PROVISIONING_MODE_FULLY_MANAGED_DEVICE)
        // The extras are handed to PolicyComplianceActivity only if they are handed back here.
        val key = DevicePolicyManager.EXTRA_PROVISIONING_ADMIN_EXTRAS_BUNDLE
        intent.extras?.let { extras ->
            @Suppress("DEPRECATION")
            (extras.get(key) as? PersistableBundle)?.let { answer.putExtra(key, it) }
        }
        setResult(RESULT_OK, answer)
        finish()
    }

    private companion object {
        // Constants of DevicePolicyManager since API 29.
        const val EXTRA_PROVISIONING_MODE = "android.app.extra.PROVISIONING_MODE"
        const val PROVISIONING_MODE_FULLY_MANAGED_DEVICE = 1
    }
}

/**
 * The last step of provisioning from Android 12 on (`ACTION_ADMIN_POLICY_COMPLIANCE`): grants itself what it needs and takes the
 * enrollment. There is nothing for a person to decide, so it answers as soon as that is durable.
 */
internal class PolicyComplianceActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        agent.prepare()
        ProvisioningExtras.enroll(this, intent) {
            runOnUiThread {
                AgentService.start(this, "provisioned")
                setResult(RESULT_OK)
                finish()
            }
        }
    }
}
