//! Kill switch and enablement of all deployments.

use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::deployment::BlockReason;
use domain::flag::{Flag, Flags};
use services::FlagState;

use crate::components::deployment_widgets::blocked_text;
use crate::components::set_flag::SetFlag;
use crate::components::{Glyph, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::{Polling, use_polling};

/// Poll interval of the flags.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

fn use_flags() -> Polling<Vec<FlagState>> {
    use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.flags.all(&principal).await })
}

fn blocked(flags: &[FlagState]) -> Option<BlockReason> {
    Flags::of(flags.iter().filter(|state| state.enabled).map(|state| state.flag.as_str())).blocked()
}

/// Notice that all deployments are blocked, by whom, with a button to resume for those who may.
#[component]
pub(super) fn BlockedNotice() -> Element {
    let session = use_session();
    let flags = use_flags();
    let mut confirming = use_signal(|| None::<(Flag, bool)>);
    let reading = flags.read();
    let Some(states) = reading.value.as_deref() else { return rsx! {} };
    let manages = session.may(Permission::ManageFlags);
    let now = session.clock.now();
    let (flag, on, action) = match blocked(states) {
        Some(BlockReason::KillSwitch) => (Flag::DeploymentsKillSwitch, false, "Resume deployments"),
        Some(BlockReason::FlagOff) => (Flag::DeploymentsEnabled, true, "Enable deployments"),
        None => {
            return rsx! {};
        }
    };
    let set = states.iter().find(|state| state.flag == flag).and_then(|state| state.set.as_ref());
    let kind = if flag == Flag::DeploymentsKillSwitch { BlockReason::KillSwitch } else { BlockReason::FlagOff };
    rsx! {
        div { class: if flag == Flag::DeploymentsKillSwitch { "notice bad" } else { "notice warn" }, role: "status", "data-testid": "blocked", "data-blocked": kind.as_str(), {icon(Glyph::Alert)}
            span {
                "{blocked_text(kind)}"
                if let Some(set) = set {
                    " By {set.updated_by}, "
                    {time_ago(set.updated_at, &format::relative(now, set.updated_at))}
                    "."
                }
            }
            if manages {
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "unblock", onclick: move |_| confirming.set(Some((flag, on))), "{action}" }
            }
        }
        if let Some((flag, on)) = confirming() {
            SetFlag { flag, on, onclose: move |()| {
                confirming.set(None);
                flags.again();
            } }
        }
    }
}

/// Buttons that stop all deployments or disable them, by permission.
#[component]
pub(super) fn KillSwitch() -> Element {
    let session = use_session();
    let flags = use_flags();
    let mut confirming = use_signal(|| None::<(Flag, bool)>);
    let reading = flags.read();
    let runs = reading.value.as_deref().is_some_and(|states| blocked(states).is_none());
    rsx! {
        if runs && session.may(Permission::ManageFlags) {
            button { class: "button quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "turn-off", onclick: move |_| confirming.set(Some((Flag::DeploymentsEnabled, false))), "Disable deployments" }
        }
        if runs && session.may(Permission::ManageDeployments) {
            button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "stop-all", onclick: move |_| confirming.set(Some((Flag::DeploymentsKillSwitch, true))), {icon(Glyph::Power)} "Emergency stop" }
        }
        if let Some((flag, on)) = confirming() {
            SetFlag { flag, on, onclose: move |()| {
                confirming.set(None);
                flags.again();
            } }
        }
    }
}
