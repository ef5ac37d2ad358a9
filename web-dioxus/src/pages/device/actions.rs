//! Actions on a device: edit, revoke, delete.

use dioxus::core::spawn_forever;
use dioxus::prelude::*;
use domain::ServiceError;
use domain::access::Permission;
use domain::device::DeviceView;
use services::DeviceDetails;

use super::all_devices;
use super::edit::Edit;
use crate::components::{Confirm, Glyph, icon};
use crate::context::use_session;
use crate::navigation::PendingNavigation;
use crate::polling::Polling;
use crate::toasts::{Undo, use_toasts};

/// The dialog that is open.
#[derive(Clone, Copy, PartialEq)]
enum OpenDialog {
    Edit,
    Revoke,
    Delete,
}

#[component]
pub(super) fn Actions(view: DeviceView, details: Polling<DeviceDetails>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let onward: PendingNavigation = use_context();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let mut busy = use_signal(|| false);
    let manages = session.may(Permission::ManageDevices);
    let (id, alias) = (view.identity.id, view.identity.alias.clone());
    let name = alias.clone();
    let act = use_callback(move |deletes: bool| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, name) = (session.clone(), name.clone());
        // Not of this component: it is gone as soon as the device has left the fleet, which is before
        // the answer is here.
        spawn_forever(async move {
            let outcome: Result<(), ServiceError> = session
                .call(move |system, principal| async move {
                    match deletes {
                        true => system.devices.delete(&principal, id).await,
                        false => system.devices.revoke(&principal, id).await,
                    }
                })
                .await;
            if let (Ok(mut busy), Ok(mut dialog)) = (busy.try_write(), dialog.try_write()) {
                (*busy, *dialog) = (false, None);
            }
            match outcome {
                Ok(()) if deletes => {
                    toasts.undoable(format!("Deleted {name}."), Undo::Restore(vec![id]));
                    onward.go(all_devices());
                }
                Ok(()) => toasts.good(format!("Revoked the credentials of {name}.")),
                Err(error) => toasts.failed(&error),
            }
        });
    });
    if !manages {
        return rsx! {};
    }
    let known = details.read().value;
    rsx! {
        button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "edit-device", disabled: known.is_none(), onclick: move |_| dialog.set(Some(OpenDialog::Edit)),
            {icon(Glyph::Edit)} "Edit"
        }
        button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "revoke-device", onclick: move |_| dialog.set(Some(OpenDialog::Revoke)),
            {icon(Glyph::Key)} "Revoke credentials"
        }
        button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "delete-device", onclick: move |_| dialog.set(Some(OpenDialog::Delete)),
            {icon(Glyph::Trash)} "Delete"
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Edit) => rsx! {
                Edit { identity: view.identity.clone(), monitored: known.as_ref().and_then(|known| known.monitored.clone()), onclose: move |()| dialog.set(None),
                    ondone: move |()| {
                        dialog.set(None);
                        details.again();
                    },
                }
            },
            Some(OpenDialog::Revoke) => rsx! {
                Confirm { title: "Revoke the credentials of {alias}?", action: "Revoke credentials", busy: busy(),
                    onconfirm: move |()| act(false), onclose: move |()| dialog.set(None),
                    p { "The device's token and session are revoked immediately, and its connection is closed. The device remains in the list, but cannot report until it is enrolled again." }
                }
            },
            Some(OpenDialog::Delete) => rsx! {
                Confirm { title: "Delete {alias}?", action: "Delete device", busy: busy(),
                    onconfirm: move |()| act(true), onclose: move |()| dialog.set(None),
                    p { "The device is removed from the fleet, and its agent stops. It can be restored from the list of deleted devices during the retention period." }
                }
            },
        }
    }
}
