//! Bulk actions on the selected devices.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::DeviceId;
use domain::access::Permission;
use domain::bulk::BULK_MAX;
use domain::query::Sort;

use super::DevicesState;
use super::bulk::{Bulk, BulkKind};
use super::send::SendMany;
use crate::components::{Glyph, RouteLink, icon};
use crate::context::{Session, use_session};
use crate::deployments_url::NewDeploymentUrl;
use crate::format;
use crate::route::Route;
use crate::sampling::{CALM, use_fleet};
use crate::selection::Selection;

/// Kinds of dialogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DialogKind {
    Change(BulkKind),
    Send,
}

/// The dialog that is open, with the devices that were selected when it was opened.
#[derive(Clone, PartialEq)]
struct OpenDialog {
    kind: DialogKind,
    ids: Rc<Vec<DeviceId>>,
}

/// The selected devices right now. Those that left the fleet are left out.
async fn resolve(session: &Session, selection: Selection) -> Vec<DeviceId> {
    let fleet = session.fleet.clone();
    // Off the pages' threads: a look at a hundred thousand devices takes a while.
    let looked = tokio::task::spawn_blocking(move || match selection {
        Selection::Devices(ids) => ids.into_iter().filter(|id| fleet.device(*id).is_some()).collect(),
        Selection::Matching { filter, except } => {
            let mut ids = fleet.order(&filter, Sort::default());
            ids.retain(|id| !except.contains(id));
            ids
        }
    });
    looked.await.unwrap_or_default()
}

#[component]
pub(super) fn SelectionBar(state: DevicesState, manages: bool, sends: bool) -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let tick = use_fleet(CALM, |fleet, _| fleet.revision());
    let (of_count, session_of_bar) = (session.clone(), session.clone());
    let count = use_resource(move || {
        tick();
        let (session, selection) = (of_count.clone(), state.url.read().selected.clone());
        async move {
            match selection {
                Selection::Devices(ids) => ids.len(),
                matching => resolve(&session, matching).await.len(),
            }
        }
    });
    let open = use_callback(move |kind: DialogKind| {
        let (session, selection) = (session.clone(), state.url.peek().selected.clone());
        spawn(async move {
            let ids = resolve(&session, selection).await;
            if ids.is_empty() {
                state.toasts.bad("The selected devices are no longer in the fleet.");
            } else if ids.len() > BULK_MAX {
                let (ids, most) = (format::number(ids.len() as u64), format::number(BULK_MAX as u64));
                state.toasts.bad(format!("{ids} devices are selected; the limit is {most}."));
            } else {
                dialog.set(Some(OpenDialog { kind, ids: Rc::new(ids) }));
            }
        });
    });
    let clear = move |()| state.adjust(|url| url.selected = Selection::default());
    let selection = state.url.read().selected.clone();
    if selection.is_empty() && dialog().is_none() {
        return rsx! {};
    }
    let counted = match (&selection, *count.read()) {
        (Selection::Devices(ids), _) => Some(ids.len()),
        (_, count) => count,
    };
    let deploys = session_of_bar.may(Permission::ManageDeployments);
    let to_deploy = Route::NewDeployment { query: NewDeploymentUrl { apk: None, devices: selection.clone() } };
    let by_filter = matches!(selection, Selection::Matching { .. });
    rsx! {
        if !selection.is_empty() {
            div { class: "selection-bar", role: "region", aria_label: "Selection", "data-testid": "selection-bar",
                strong { role: "status",
                    match counted {
                        Some(count) => rsx! { "{format::number(count as u64)} selected" },
                        None => rsx! { "Counting…" },
                    }
                    if by_filter {
                        span { class: "muted", " all that match" }
                    }
                }
                if sends {
                    button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "bulk-send", onclick: move |_| open.call(DialogKind::Send), {icon(Glyph::Send)} "Send command" }
                }
                if deploys {
                    RouteLink { to: to_deploy, class: "button", testid: "bulk-deploy", {icon(Glyph::Package)} "Deploy" }
                }
                if manages {
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "bulk-tags", onclick: move |_| open.call(DialogKind::Change(BulkKind::Tags)), {icon(Glyph::Tag)} "Tags" }
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "bulk-groups", onclick: move |_| open.call(DialogKind::Change(BulkKind::Groups)), {icon(Glyph::Cluster)} "Groups" }
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", title: "Revoke credentials", "data-testid": "bulk-revoke", onclick: move |_| open.call(DialogKind::Change(BulkKind::Revoke)), {icon(Glyph::Key)} "Revoke" }
                    button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "bulk-delete", onclick: move |_| open.call(DialogKind::Change(BulkKind::Delete)), {icon(Glyph::Trash)} "Delete" }
                }
                button { class: "button quiet", r#type: "button", "data-testid": "clear-selection", onclick: move |_| clear(()), "Clear selection" }
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog { kind: DialogKind::Send, ids }) => rsx! { SendMany { ids, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog { kind: DialogKind::Change(wanted), ids }) => rsx! {
                Bulk { wanted, ids, onclose: move |()| dialog.set(None),
                    ondone: move |()| {
                        dialog.set(None);
                        clear(());
                    },
                }
            },
        }
    }
}
