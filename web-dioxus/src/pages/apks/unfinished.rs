//! Uploads that have not finished: of everybody for those who manage packages, else one's own; each can be removed.

use std::time::Duration;

use dioxus::prelude::*;
use domain::Timestamp;
use domain::access::Permission;
use domain::apk::ApkUpload;

use crate::components::{Confirm, Glyph, Problem, icon, time_ago};
use crate::context::{explain, use_session};
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The list; nothing while there is none.
#[component]
pub(super) fn UnfinishedUploads() -> Element {
    let session = use_session();
    let mut removing = use_signal(|| None::<ApkUpload>);
    let allowed = session.may(Permission::UploadApks);
    let list = use_polling(allowed, POLL_INTERVAL, |system, principal, allowed: bool| async move {
        Ok(if allowed { system.apks.uploads(&principal).await? } else { Vec::new() })
    });
    let reading = list.read();
    let now = session.clock.now();
    let uploads = reading.value.as_deref().map(|uploads| uploads.to_vec()).unwrap_or_default();
    rsx! {
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| list.again() }
        }
        if !uploads.is_empty() {
            section { class: "card", aria_labelledby: "uploads-title",
                h2 { id: "uploads-title", "Unfinished uploads" }
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Files of unfinished uploads",
                    table { class: "plain",
                        thead { tr {
                            th { scope: "col", "File" } th { scope: "col", "Received" } th { scope: "col", "Begun" } th { scope: "col", "Last part" }
                            th { scope: "col", span { class: "visually-hidden", "Actions" } }
                        } }
                        tbody {
                            for upload in uploads {
                                Row { key: "{upload.id}", upload, now, onremove: move |upload| removing.set(Some(upload)) }
                            }
                        }
                    }
                }
            }
        }
        if let Some(upload) = removing() {
            Remove { upload, onclose: move |()| {
                removing.set(None);
                list.again();
            } }
        }
    }
}

#[component]
fn Row(upload: ApkUpload, now: Timestamp, onremove: EventHandler<ApkUpload>) -> Element {
    let of_remove = upload.clone();
    rsx! {
        tr { "data-testid": "upload-row", "data-id": "{upload.id}",
            td { "{upload.file_name}" }
            td { class: "nowrap", "{format::bytes(upload.received)} of {format::bytes(upload.size_bytes)}" }
            td { class: "nowrap", "{upload.created_by}, " {time_ago(upload.created_at, &format::relative(now, upload.created_at))} }
            td { class: "nowrap", {time_ago(upload.touched_at, &format::relative(now, upload.touched_at))} }
            td { class: "row-action",
                button { class: "icon-button", r#type: "button", aria_label: "Remove {upload.file_name}", title: "Remove", aria_haspopup: "dialog", "data-testid": "remove-upload", onclick: move |_| onremove.call(of_remove.clone()), {icon(Glyph::Trash)} }
            }
        }
    }
}

#[component]
fn Remove(upload: ApkUpload, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let mut refused = use_signal(|| None::<String>);
    let (id, name) = (upload.id, upload.file_name.clone());
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.apks.abandon_upload(&principal, id).await }).await {
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
        Confirm { title: "Remove the upload of {name}?", action: "Remove", busy: busy() || refused().is_some(), onconfirm, onclose,
            p { "What was received of the file is deleted, and another upload can begin. Whoever is sending it has to start over." }
            if let Some(problem) = refused() {
                p { class: "notice bad", role: "alert", {icon(Glyph::Alert)} span { "{problem}" } }
            }
        }
    }
}
