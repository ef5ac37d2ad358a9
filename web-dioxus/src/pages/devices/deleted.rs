//! Deleted devices, and the way back for each.

use std::time::Duration;

use dioxus::prelude::*;
use domain::access::{Permission, Principal};
use domain::device::DeviceListScope;
use domain::query::{DeviceFilter, PAGE_MAX, Sort};
use domain::{DeviceId, Invalid, ServiceError};
use services::DeviceDetails;
use services::System;
use std::sync::Arc;

use crate::components::form::{FormDialog, TextField, some_of, use_submission};
use crate::components::{EmptyState, Glyph, PageHeader, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;
use crate::url_state::DevicesUrl;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Devices on the page at first, and more each time.
const PAGE: i64 = 100;

#[component]
pub(crate) fn DeletedDevices() -> Element {
    use_title("Deleted devices");
    let session = use_session();
    let mut text = use_signal(String::new);
    let mut wanted = use_signal(|| PAGE);
    let mut restoring = use_signal(|| None::<(DeviceId, String)>);
    let list = use_polling((text(), wanted()), POLL_INTERVAL, |system, principal, (text, wanted)| async move {
        let filter = DeviceFilter { text: Some(text).filter(|text| !text.is_empty()), ..DeviceFilter::default() };
        let page = system.devices.page(&principal, filter, DeviceListScope::Deleted, Sort::default(), None, wanted).await?;
        Ok((page.devices, page.next.is_some()))
    });
    let reading = list.read();
    let manages = session.may(Permission::ManageDevices);
    let now = session.clock.now();
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: Route::Devices { query: DevicesUrl::default() }, "Devices" } span { aria_hidden: "true", "/" } span { "Deleted" } }
        PageHeader { title: "Deleted devices", lead: "They can be restored during the retention period, then they are permanently removed." }
        section { class: "card", aria_label: "Deleted devices",
            div { class: "search card-search",
                {icon(Glyph::Search)}
                input { r#type: "search", name: "deleted-q", "data-search": "1", "data-debounce-ms": "200", initial_value: "", placeholder: "Search alias, model or id", aria_label: "Search alias, model or id", maxlength: "200",
                    oninput: move |event| text.set(event.value().trim().to_owned()),
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((devices, _)) if devices.is_empty() && text.read().is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Trash, title: "No deleted devices", text: "Deleted devices appear here until they are permanently removed." }
                },
                Some((devices, _)) if devices.is_empty() => rsx! { EmptyState { glyph: Glyph::Search, title: "No deleted device matches", text: "Enrolled devices are on the Devices page." } },
                Some((devices, more)) => rsx! {
                    ul { class: "rows",
                        for device in devices.iter() {
                            Deleted {
                                key: "{device.view.identity.id}", device: device.clone(), manages,
                                ago: device.deleted_at.map(|at| format::relative(now, at)).unwrap_or_default(),
                                ends: device.restorable_until.map(|at| format::relative(now, at)).unwrap_or_default(),
                                gone: device.restorable_until.is_some_and(|until| until <= now),
                                onrestore: move |confirming| restoring.set(Some(confirming)),
                            }
                        }
                    }
                    if *more && wanted() < PAGE_MAX {
                        div { class: "more", button { class: "button", r#type: "button", onclick: move |_| wanted.set((wanted() + PAGE * 2).min(PAGE_MAX)), "Load more" } }
                    }
                    if *more && wanted() >= PAGE_MAX {
                        p { class: "muted more", "Only the first {PAGE_MAX} are shown. Search to find others." }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        if let Some((id, alias)) = restoring() {
            Restore { id, alias,
                onclose: move |()| restoring.set(None),
                ondone: move |()| {
                    restoring.set(None);
                    list.again();
                },
            }
        }
    }
}

#[component]
fn Deleted(
    device: DeviceDetails,
    manages: bool,
    ago: String,
    ends: String,
    gone: bool,
    onrestore: EventHandler<(DeviceId, String)>,
) -> Element {
    let identity = device.view.identity.clone();
    rsx! {
        li { class: "row-item", "data-testid": "deleted-row",
            span { class: "row-icon", {icon(Glyph::Device)} }
            div { class: "row-main",
                div { class: "row-title", span { class: "truncate", "{identity.alias}" } }
                div { class: "row-meta",
                    if let Some(at) = device.deleted_at { span { "deleted " {time_ago(at, &ago)} } }
                    if let Some(at) = device.restorable_until.filter(|_| !gone) { span { "permanently removed " {time_ago(at, &ends)} } }
                    if let Some(model) = device.view.model() { span { "{model}" } }
                }
            }
            if manages && !gone {
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", aria_label: "Restore {identity.alias}", "data-testid": "restore", onclick: move |_| onrestore.call((identity.id, identity.alias.clone())), {icon(Glyph::Restore)} "Restore" }
            }
        }
    }
}

async fn restore(system: Arc<System>, principal: Principal, id: DeviceId, alias: Option<String>) -> Result<(), ServiceError> {
    match system.devices.restore(&principal, id, alias).await {
        Ok(_) => Ok(()),
        // The field is to blame for it, and another name helps.
        Err(error @ ServiceError::AliasHeld(_)) => Err(Invalid::new("alias", error.to_string()).into()),
        Err(error) => Err(error),
    }
}

#[component]
fn Restore(id: DeviceId, alias: String, onclose: EventHandler<()>, ondone: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let alias = some_of(&form, "alias");
            let name = alias.clone().unwrap_or_else(|| "The device".into());
            let outcome = session.call(move |system, principal| restore(system, principal, id, alias)).await;
            if submission.done(outcome).is_some() {
                toasts.good(format!("Restored {name}."));
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Restore {alias}?", action: "Restore", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            p { class: "muted", "The device is restored with its history. Its credentials are valid again, unless they were revoked." }
            TextField { name: "alias", value: alias.clone(), hint: "choose another one if it is in use", error: submission.error("alias") }
        }
    }
}
