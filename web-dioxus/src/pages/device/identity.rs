//! What is doubtful about the identity of a device, and the ways to settle it.

use dioxus::core::spawn_forever;
use dioxus::prelude::*;
use domain::access::Permission;
use domain::device::DeviceView;
use domain::replacement::SameHardware;
use domain::{DeviceId, ServiceError};
use services::DeviceDetails;

use crate::components::{Confirm, Glyph, LocalTime, RouteLink, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::Polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// Decision that is asked for.
#[derive(Clone, PartialEq)]
enum Decision {
    Dismiss,
    Revoke,
    Replace(SameHardware),
}

#[component]
pub(super) fn Identity(view: DeviceView, details: Polling<DeviceDetails>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut confirming = use_signal(|| None::<Decision>);
    let mut busy = use_signal(|| false);
    let (id, alias) = (view.identity.id, view.identity.alias.clone());
    let (manages, now) = (session.may(Permission::ManageDevices), session.clock.now());
    let same = details.read().value.map(|details| details.same_hardware.clone()).unwrap_or_default();
    let name = alias.clone();
    let decide = use_callback(move |decision: Decision| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, done) = (session.clone(), done_text(&decision, &name));
        // Not of this component: a replaced device leaves the fleet before the answer is here.
        spawn_forever(async move {
            let outcome: Result<(), ServiceError> = session
                .call(move |system, principal| async move {
                    match decision {
                        Decision::Dismiss => system.devices.dismiss_conflict(&principal, id).await,
                        Decision::Revoke => system.devices.revoke(&principal, id).await,
                        Decision::Replace(older) => system.devices.replace(&principal, id, older.id).await.map(drop),
                    }
                })
                .await;
            if let (Ok(mut busy), Ok(mut confirming)) = (busy.try_write(), confirming.try_write()) {
                (*busy, *confirming) = (false, None);
            }
            match outcome {
                Ok(()) => toasts.good(done),
                Err(error) => toasts.failed(&error),
            }
            details.again();
        });
    });
    rsx! {
        if let Some(at) = view.conflict_at {
            section { class: "notice bad", aria_label: "Identity conflict", "data-testid": "identity-conflict",
                {icon(Glyph::Alert)}
                span {
                    strong { "Identity conflict. " }
                    "Since " {local_time(at, LocalTime::Minute)} " two devices report as this one, as clones of one image do. Commands and deployments to it are held."
                }
                if manages {
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "dismiss-conflict", onclick: move |_| confirming.set(Some(Decision::Dismiss)), "It is one device" }
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "revoke-conflict", onclick: move |_| confirming.set(Some(Decision::Revoke)), "Enroll both anew" }
                }
            }
        }
        for older in same {
            section { key: "{older.id}", class: "notice warn", aria_label: "Same hardware", "data-testid": "same-hardware",
                {icon(Glyph::Alert)}
                span {
                    "Same hardware as " RouteLink { to: Route::device(older.id), "{older.alias}" }
                    match older.last_seen_at {
                        Some(at) => rsx! { ", last seen " {time_ago(at, &format::relative(now, at))} },
                        None => rsx! { ", never seen" },
                    }
                    "."
                }
                if manages && is_earlier(&older, &view) {
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "replace-device", onclick: move |_| confirming.set(Some(Decision::Replace(older.clone()))), "Replace it" }
                }
            }
        }
        if let Some(decision) = confirming() {
            Confirm { title: title(&decision, &alias), action: action(&decision), busy: busy(), mild: decision == Decision::Dismiss,
                onconfirm: move |()| { if let Some(decision) = confirming() { decide(decision) } }, onclose: move |()| confirming.set(None),
                p { {consequence(&decision)} }
            }
        }
    }
}

fn is_earlier(other: &SameHardware, view: &DeviceView) -> bool {
    let order = |at: domain::Timestamp, id: DeviceId| (at, id);
    order(other.enrolled_at, other.id) < order(view.identity.enrolled_at, view.identity.id)
}

fn title(decision: &Decision, alias: &str) -> String {
    match decision {
        Decision::Dismiss => format!("Is {alias} one device?"),
        Decision::Revoke => format!("Revoke the credentials of {alias}?"),
        Decision::Replace(older) => format!("Replace {} by {alias}?", older.alias),
    }
}

fn action(decision: &Decision) -> String {
    match decision {
        Decision::Dismiss => "It is one device",
        Decision::Revoke => "Revoke credentials",
        Decision::Replace(_) => "Replace",
    }
    .to_owned()
}

fn consequence(decision: &Decision) -> String {
    match decision {
        Decision::Dismiss => "Held commands are sent. No conflict is noticed any more until the device enrolls again.".to_owned(),
        Decision::Revoke => {
            "Both devices lose their access immediately. Enroll each with a token of its own; commands that are held expire.".to_owned()
        }
        Decision::Replace(older) => format!(
            "This device gets the alias, tags, groups, monitored app, events and history of {}, which is deleted. Its open commands are not taken over.",
            older.alias
        ),
    }
}

fn done_text(decision: &Decision, alias: &str) -> String {
    match decision {
        Decision::Dismiss => format!("Dismissed the identity conflict of {alias}."),
        Decision::Revoke => format!("Revoked the credentials of {alias}."),
        Decision::Replace(older) => format!("Replaced {}.", older.alias),
    }
}
