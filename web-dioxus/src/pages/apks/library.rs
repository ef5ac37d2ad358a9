//! The versions in the library, by package: what each is, who signed it, and what can be done with it.

use std::sync::Arc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::Timestamp;
use domain::access::Permission;
use domain::apk::Apk;
use services::ApkCursor;

use super::Signers;
use crate::components::{Confirm, EmptyState, Glyph, Pager, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::{explain, use_session};
use crate::deployments_url::{ApksUrl, NewDeploymentUrl};
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;
use crate::selection::Selection;
use crate::toasts::use_toasts;

/// APKs of a page.
const PAGE: i64 = 100;
/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// APKs of one package, newest first.
type Group = (String, Vec<Apk>);

/// The APKs of a page by their packages; the package with the newest APK stands first.
fn by_package(apks: &[Apk]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for apk in apks {
        match groups.iter_mut().find(|(package, _)| *package == apk.package) {
            Some((_, group)) => group.push(apk.clone()),
            None => groups.push((apk.package.clone(), vec![apk.clone()])),
        }
    }
    groups
}

#[component]
pub(super) fn Library(query: ApksUrl, changed: u32, onupload: EventHandler<()>) -> Element {
    let session = use_session();
    let mut before = use_signal(Vec::<ApkCursor>::new);
    let mut deleting = use_signal(|| None::<Apk>);
    let after = before.read().last().copied();
    let list =
        use_polling((query.clone(), after, changed), POLL_INTERVAL, |system, principal, (query, after, _): (ApksUrl, _, u32)| async move {
            let (apks, next) = system.apks.apks(&principal, query.package.as_deref(), after, Some(PAGE)).await?;
            Ok((Arc::new(apks), next))
        });
    let reading = list.read();
    let now = session.clock.now();
    rsx! {
        section { class: "card", aria_labelledby: "apks-title", aria_busy: reading.loading.to_string(),
            h2 { id: "apks-title", class: "visually-hidden", "Versions" }
            if let Some(package) = &query.package {
                p { class: "notice", span { "Only " strong { "{package}" } } RouteLink { to: Route::Apks { query: ApksUrl::default() }, class: "button small", testid: "clear-filters", "Show all" } }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((apks, _)) if apks.is_empty() && before.read().is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Package, title: "No apps yet", text: "Upload the APK of an app here, or from a CI build with an API token. The signature is verified as on a device.",
                        if session.may(Permission::UploadApks) {
                            button { class: "button primary", r#type: "button", aria_haspopup: "dialog", onclick: move |_| onupload.call(()), "Upload an APK" }
                        }
                    }
                },
                Some((apks, next)) => {
                    let next = *next;
                    rsx! {
                        for (package, group) in by_package(apks) {
                            PackageGroup { key: "{package}", package, apks: group, now, ondelete: move |apk| deleting.set(Some(apk)) }
                        }
                        Pager { page: before.read().len(), more: next.is_some(),
                            onnewer: move |()| { before.write().pop(); },
                            onolder: move |()| before.write().extend(next),
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        if let Some(apk) = deleting() {
            Delete { apk, onclose: move |()| {
                deleting.set(None);
                list.again();
            } }
        }
    }
}

#[component]
fn PackageGroup(package: String, apks: Vec<Apk>, now: Timestamp, ondelete: EventHandler<Apk>) -> Element {
    let session = use_session();
    let (deploys, deletes) = (session.may(Permission::ManageDeployments), session.may(Permission::ManagePackages));
    let title = apks.first().map(|apk| apk.label.clone()).filter(|label| !label.is_empty()).unwrap_or_else(|| package.clone());
    let icon_of = apks.iter().find(|apk| apk.has_icon).map(|apk| apk.id);
    let names: Vec<_> = apks.iter().map(|apk| (apk.id, version(apk))).collect();
    rsx! {
        div { class: "apk-group", "data-testid": "apk-group", "data-package": package.clone(),
            div { class: "apk-head",
                span { class: "apk-icon",
                    match icon_of {
                        Some(id) => rsx! { img { src: "/live/apk-icons/{id}", alt: "", width: "32", height: "32", loading: "lazy" } },
                        None => rsx! { {icon(Glyph::Package)} },
                    }
                }
                div { h3 { "{title}" } p { class: "muted mono", "{package}" } }
            }
            div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Versions of {title}",
                table { class: "plain apk-table",
                    thead { tr {
                        th { scope: "col", "Version" } th { scope: "col", "Size" } th { scope: "col", "Android" } th { scope: "col", "Signer" } th { scope: "col", "Uploaded" }
                        th { scope: "col", span { class: "visually-hidden", "Actions" } }
                    } }
                    tbody {
                        for apk in apks {
                            Row { key: "{apk.id}", brings_back: apk.rollback_of.map(|of| names.iter().find(|(id, _)| *id == of).map_or_else(|| "an older version".to_owned(), |(_, name)| name.clone())), apk, now, deploys, deletes, ondelete }
                        }
                    }
                }
            }
        }
    }
}

fn version(apk: &Apk) -> String {
    format!("{} ({})", apk.version_name, apk.version_code)
}

#[component]
fn Row(apk: Apk, brings_back: Option<String>, now: Timestamp, deploys: bool, deletes: bool, ondelete: EventHandler<Apk>) -> Element {
    let level = |level: Option<i32>| level.map_or_else(|| format::UNKNOWN.to_owned(), |level| level.to_string());
    let to = Route::NewDeployment { query: NewDeploymentUrl { apk: Some(apk.id), devices: Selection::default() } };
    let name = version(&apk);
    let of_delete = apk.clone();
    rsx! {
        tr { "data-testid": "apk-row", "data-id": "{apk.id}", "data-version": "{apk.version_code}",
            td {
                strong { "{apk.version_name}" } " " span { class: "muted", "({apk.version_code})" }
                if let Some(of) = brings_back { span { class: "apk-note", "rollback build of {of}" } }
                if !apk.notes.is_empty() { span { class: "apk-note muted", "{apk.notes}" } }
            }
            td { class: "nowrap", "{format::bytes(apk.size_bytes)}" }
            td { class: "nowrap",
                "min {level(apk.min_sdk)}, target {level(apk.target_sdk)}"
                if !apk.native_abis.is_empty() { span { class: "apk-note muted", {apk.native_abis.join(", ")} } }
            }
            td { Signers { signers: apk.signers_sha256.clone(), lineage: apk.lineage_sha256.clone() } }
            td { class: "nowrap", "{apk.uploaded_by}, " {time_ago(apk.uploaded_at, &format::relative(now, apk.uploaded_at))} }
            td { class: "row-action",
                div { class: "apk-actions",
                    if deploys {
                        RouteLink { to, class: "button small primary", testid: "deploy-apk", {icon(Glyph::Send)} "Deploy" span { class: "visually-hidden", " {name}" } }
                    }
                    if deletes {
                        button { class: "icon-button", r#type: "button", aria_label: "Delete {name}", title: "Delete", aria_haspopup: "dialog", "data-testid": "delete-apk", onclick: move |_| ondelete.call(of_delete.clone()), {icon(Glyph::Trash)} }
                    }
                }
            }
        }
    }
}

/// Asks, and says what uses it when it stays.
#[component]
fn Delete(apk: Apk, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let mut refused = use_signal(|| None::<String>);
    let (id, name) = (apk.id, version(&apk));
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.apks.delete(&principal, id).await }).await {
                Ok(()) => {
                    toasts.good("Deleted.");
                    onclose.call(());
                }
                Err(error) => {
                    busy.set(false);
                    refused.set(Some(explain(&error)));
                }
            }
        });
    });
    rsx! {
        Confirm { title: "Delete {apk.package} {name}?", action: "Delete", busy: busy() || refused().is_some(), onconfirm, onclose,
            p { "The file is removed and can no longer be deployed. Devices that have installed it keep it." }
            if let Some(problem) = refused() {
                p { class: "notice bad", role: "alert", "data-testid": "delete-refused", {icon(Glyph::Alert)} span { "{problem}" } }
            }
        }
    }
}
