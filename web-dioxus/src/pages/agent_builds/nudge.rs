//! The dialog that tells devices to look for a build now.

use std::time::Duration;

use dioxus::prelude::*;
use services::BuildDetails;

use super::name_of;
use crate::components::Confirm;
use crate::context::use_session;
use crate::format;
use crate::navigation::PendingNavigation;
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// How often the devices are counted again.
const RECOUNT: Duration = Duration::from_secs(5);

#[component]
pub(super) fn Nudge(details: BuildDetails, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let onward = use_context::<PendingNavigation>();
    let mut busy = use_signal(|| false);
    let (id, name) = (details.build.id, name_of(&details));
    let plan = use_polling(id, RECOUNT, |system, principal, id| async move { system.agent_builds.nudge_plan(&principal, id).await });
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.agent_builds.nudge(&principal, id, None, None).await }).await {
                Ok((batch, _)) => {
                    let devices = format::count(batch.batch.devices.unsigned_abs() as usize, "device", "devices");
                    toasts.good(format!("Update check sent to {devices}."));
                    onclose.call(());
                    onward.go(Route::batch(batch.batch.id));
                }
                Err(error) => {
                    toasts.failed(&error);
                    onclose.call(());
                }
            }
        });
    });
    let reading = plan.read();
    let plan = reading.value.as_deref().copied();
    let nobody = plan.is_none_or(|plan| plan.devices == 0);
    rsx! {
        Confirm { title: "Notify devices of {name} now?", action: "Notify now", mild: true, busy: busy() || nobody, onconfirm, onclose,
            match (plan, &reading.problem) {
                (Some(plan), _) if plan.devices == 0 => rsx! { p { "data-testid": "nudge-plan", "No device that is offered this build runs an older version." } },
                (Some(plan), _) => rsx! {
                    p { "data-testid": "nudge-plan", "{format::count(plan.devices, \"device\", \"devices\")} that are offered this build run an older version, {format::number(plan.online as u64)} of them online now. Each gets a command to check for an update." }
                    if plan.left_out > 0 {
                        p { "{format::count(plan.left_out, \"device is\", \"devices are\")} beyond the limit of one call and not notified." }
                    }
                },
                (None, Some(problem)) => rsx! { p { "{problem}" } },
                (None, None) => rsx! { p { "Counting the devices …" } },
            }
            p { "All other devices get the build with their next check." }
        }
    }
}
