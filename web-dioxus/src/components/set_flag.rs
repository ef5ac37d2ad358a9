//! Question before a feature is turned on or off for the whole cluster.

use dioxus::prelude::*;
use domain::flag::Flag;

use crate::components::Confirm;
use crate::context::use_session;
use crate::toasts::use_toasts;

#[component]
pub(crate) fn SetFlag(flag: Flag, on: bool, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let (title, action, what, done) = match (flag, on) {
        (Flag::DeploymentsKillSwitch, true) => (
            "Stop all deployments?",
            "Emergency stop",
            "Within 10 seconds no node starts another install on any device. Installs in progress are left to finish. Only admins can resume.",
            "All deployments are stopped.",
        ),
        (Flag::DeploymentsKillSwitch, false) => {
            ("Resume deployments?", "Resume deployments", "Running deployments continue where they stopped.", "Deployments are resumed.")
        }
        (Flag::DeploymentsEnabled, true) => {
            ("Enable deployments?", "Enable deployments", "Running deployments start to install on devices.", "Deployments are enabled.")
        }
        (Flag::DeploymentsEnabled, false) => (
            "Disable deployments?",
            "Disable deployments",
            "No new installs start on any device until deployments are enabled again. Installs in progress are left to finish.",
            "Deployments are disabled.",
        ),
        (Flag::RemediationStop, true) => (
            "Stop all remediation?",
            "Stop remediation",
            "Within 10 seconds no node sends another command to mend an alert, whatever is turned on for its rule. Commands that were already sent are not canceled.",
            "Remediation is stopped.",
        ),
        (Flag::RemediationStop, false) => {
            ("Resume remediation?", "Resume remediation", "Rules whose remediation is on send commands again.", "Remediation is resumed.")
        }
    };
    let stops = (flag != Flag::DeploymentsEnabled) == on;
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.flags.set(&principal, flag, on).await }).await {
                Ok(_) => toasts.good(done),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title, action, busy: busy(), mild: !stops, onconfirm, onclose,
            p { "{what}" }
        }
    }
}
