//! Packages that may be deployed: who may sign each; allowed, changed and removed by administrators.

use std::sync::Arc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::Timestamp;
use domain::access::Permission;
use domain::apk::ManagedPackage;

use super::package_form::{PackageDialog, PackageForm};
use super::{Signers, Tabs};
use crate::components::{Confirm, EmptyState, Glyph, PageHeader, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::{explain, use_session};
use crate::deployments_url::ApksUrl;
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Allow,
    Change(ManagedPackage),
    Remove(ManagedPackage),
}

#[component]
pub(super) fn PackageList() -> Element {
    let session = use_session();
    let manages = session.may(Permission::ManagePackages);
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { Ok(Arc::new(system.apks.packages(&principal).await?)) });
    let reading = list.read();
    let now = session.clock.now();
    let close = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        PageHeader { title: "Managed packages", lead: "Only these packages can be uploaded and deployed, and only if signed by an allowed signer.",
            if manages {
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "allow-package", onclick: move |_| dialog.set(Some(OpenDialog::Allow)), {icon(Glyph::Plus)} "Allow a package" }
            }
        }
        Tabs { packages: true }
        section { class: "card", aria_labelledby: "packages-title", aria_busy: reading.loading.to_string(),
            h2 { id: "packages-title", class: "visually-hidden", "Packages" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(rows) if rows.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Lock, title: "No managed packages", text: "Uploads of other packages are rejected with the signer of the file. An admin can then allow the package with that signer." }
                },
                Some(rows) => rsx! {
                    div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Managed packages",
                        table { class: "plain apk-table",
                            thead { tr {
                                th { scope: "col", "Package" } th { scope: "col", "Signers" } th { scope: "col", "Versions" } th { scope: "col", "Changed" }
                                th { scope: "col", span { class: "visually-hidden", "Actions" } }
                            } }
                            tbody {
                                for row in rows.iter() {
                                    Row { key: "{row.package}", row: row.clone(), now, manages, onopen: move |what| dialog.set(Some(what)) }
                                }
                            }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Allow) => rsx! { PackageDialog { title: "Allow a package", action: "Allow", given: PackageForm::default(), ondone: close, onclose: close } },
            Some(OpenDialog::Change(row)) => rsx! { PackageDialog { title: "Change {row.package}", action: "Save", given: PackageForm::of(&row), ondone: close, onclose: close } },
            Some(OpenDialog::Remove(row)) => rsx! { Remove { row, onclose: close } },
        }
    }
}

#[component]
fn Row(row: ManagedPackage, now: Timestamp, manages: bool, onopen: EventHandler<OpenDialog>) -> Element {
    let (of_change, of_remove) = (row.clone(), row.clone());
    rsx! {
        tr { "data-testid": "package-row", "data-package": row.package.clone(),
            td { span { class: "mono", "{row.package}" } if !row.note.is_empty() { span { class: "apk-note muted", "{row.note}" } } }
            td { Signers { signers: row.signers_sha256.clone() } }
            td {
                if row.apks > 0 {
                    RouteLink { to: Route::Apks { query: ApksUrl { package: Some(row.package.clone()) } }, "{format::count(row.apks.unsigned_abs() as usize, \"version\", \"versions\")}" }
                } else {
                    span { class: "muted", "none" }
                }
            }
            td { class: "nowrap", "{row.updated_by}, " {time_ago(row.updated_at, &format::relative(now, row.updated_at))} }
            td { class: "row-action",
                if manages {
                    div { class: "apk-actions",
                        button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "change-package", onclick: move |_| onopen.call(OpenDialog::Change(of_change.clone())), {icon(Glyph::Edit)} "Change" span { class: "visually-hidden", " {row.package}" } }
                        button { class: "icon-button", r#type: "button", aria_label: "Remove {row.package}", title: "Remove", aria_haspopup: "dialog", "data-testid": "remove-package", onclick: move |_| onopen.call(OpenDialog::Remove(of_remove.clone())), {icon(Glyph::Trash)} }
                    }
                }
            }
        }
    }
}

#[component]
fn Remove(row: ManagedPackage, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let mut refused = use_signal(|| None::<String>);
    let package = row.package.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, package) = (session.clone(), package.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.apks.remove_package(&principal, &package).await }).await {
                Ok(()) => {
                    toasts.good("Removed.");
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
        Confirm { title: "Remove {row.package}?", action: "Remove", busy: busy() || refused().is_some(), onconfirm, onclose,
            p { "Uploads of its APKs are rejected from then on. Devices that have installed it keep it." }
            if let Some(problem) = refused() {
                p { class: "notice bad", role: "alert", "data-testid": "remove-refused", {icon(Glyph::Alert)} span { "{problem}" } }
            }
        }
    }
}
