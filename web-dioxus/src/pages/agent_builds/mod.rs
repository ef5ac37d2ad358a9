//! Updates of the agent: builds and their rollout, the versions that the fleet runs, and the statistics of each build.

mod add;
mod adoption;
mod legacy_push;
mod list;
mod nudge;
mod promote;
mod stats;

use std::time::Duration;

use dioxus::prelude::*;
use domain::Timestamp;
use domain::access::Permission;
use domain::device::LegacyPushDevice;
use domain::rollout::VersionSample;
use services::{BuildDetails, STATS_HOURS_DEFAULT};

use crate::components::{Confirm, EmptyState, Glyph, PageHeader, Problem, Skeleton, icon};
use crate::context::use_session;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

use add::Add;
use adoption::Adoption;
use legacy_push::LegacyPush;
use list::Builds;
use nudge::Nudge;
use promote::{Promote, Rollout};
use stats::Statistics;

/// Poll interval of the page.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
pub(super) enum OpenDialog {
    Add,
    Promote(BuildDetails),
    Rollout(BuildDetails),
    RollBack(BuildDetails),
    Nudge(BuildDetails),
}

/// Devices that need legacy push, up to a page of them.
#[derive(Clone, PartialEq)]
pub(super) struct LegacyDevices {
    pub(super) devices: Vec<LegacyPushDevice>,
    pub(super) has_more: bool,
}

/// Data of the page.
#[derive(Clone, PartialEq)]
pub(super) struct PageData {
    pub(super) builds: Vec<BuildDetails>,
    pub(super) versions: Vec<VersionSample>,
    pub(super) legacy: LegacyDevices,
    pub(super) at: Timestamp,
}

/// Display name of a build: its version name and code.
pub(super) fn name_of(details: &BuildDetails) -> String {
    format!("{} ({})", details.build.version_name, details.build.version_code)
}

#[component]
pub(crate) fn AgentBuilds() -> Element {
    use_title("Agent updates");
    let session = use_session();
    if !session.may(Permission::ViewDeployments) {
        return rsx! {
            PageHeader { title: "Agent updates" }
            section { class: "card",
                EmptyState { glyph: Glyph::Key, title: "Not for this role", text: "Your role does not allow this. Ask an admin of this server." }
            }
        };
    }
    rsx! { Page { manages: session.may(Permission::ManageAgentBuilds) } }
}

#[component]
fn Page(manages: bool) -> Element {
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let page = use_polling((), POLL_INTERVAL, |system, principal, ()| async move {
        let builds = system.agent_builds.list(&principal).await?;
        let versions = system.agent_builds.adoption(&principal, STATS_HOURS_DEFAULT).await?;
        let (devices, next) = system.devices.legacy_push(&principal, None, None).await?;
        let legacy = LegacyDevices { devices, has_more: next.is_some() };
        Ok(PageData { builds, versions, legacy, at: system.clock.now() })
    });
    let reading = page.read();
    let done = move |()| {
        dialog.set(None);
        page.again();
    };
    let close = move |()| dialog.set(None);
    rsx! {
        PageHeader { title: "Agent updates", lead: "Agent builds, their rollout and their adoption.",
            if manages {
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-build", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "Add a build" }
            }
        }
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| page.again() }
        }
        match reading.value.as_deref() {
            Some(shown) => rsx! {
                Builds { builds: shown.builds.clone(), now: shown.at, manages, onopen: move |what| dialog.set(Some(what)) }
                Adoption { shown: shown.clone() }
                LegacyPush { shown: shown.legacy.clone(), now: shown.at }
                if !shown.builds.is_empty() {
                    Statistics { builds: shown.builds.clone() }
                }
            },
            None if reading.problem.is_none() => rsx! { section { class: "card", Skeleton {} } },
            None => rsx! {},
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Add) => rsx! { Add { ondone: done, onclose: close } },
            Some(OpenDialog::Promote(details)) => rsx! { Promote { details, ondone: done, onclose: close } },
            Some(OpenDialog::Rollout(details)) => rsx! { Rollout { details, ondone: done, onclose: close } },
            Some(OpenDialog::RollBack(details)) => rsx! { RollBack { details, onclose: done } },
            Some(OpenDialog::Nudge(details)) => rsx! { Nudge { details, onclose: done } },
        }
    }
}

#[component]
fn RollBack(details: BuildDetails, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let (id, name) = (details.build.id, name_of(&details));
    let called = name.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, name) = (session.clone(), called.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.agent_builds.roll_back(&principal, id).await }).await {
                Ok(_) => toasts.good(format!("Rolled back {name}.")),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Roll {name} back?", action: "Roll back", dismiss: "Keep build", busy: busy(), onconfirm, onclose,
            p { "The build is no longer offered; devices in its cohort get the newest promoted build before it." }
            p { "Devices that have installed it keep it: Android does not downgrade in place. To replace it there, promote a newer build." }
        }
    }
}
