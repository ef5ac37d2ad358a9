//! The dialog that makes an uploaded APK of the agent a build.

use std::time::Duration;

use dioxus::prelude::*;
use domain::{ApkId, Invalid};

use crate::components::form::{Field, FormDialog, text_of, use_submission};
use crate::components::{Dialog, EmptyState, Glyph, Problem, Skeleton};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the uploaded APKs are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(15);

#[component]
pub(super) fn Add(ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let apks = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.agent_builds.candidates(&principal).await });
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let (apk, notes) = (text_of(&form, "apk_id").parse::<ApkId>(), text_of(&form, "release_notes").trim().to_owned());
            let outcome = match apk {
                Ok(apk) => {
                    session.call(move |system, principal| async move { system.agent_builds.add(&principal, apk, &notes).await }).await
                }
                Err(_) => Err(Invalid::new("apk_id", "choose one").into()),
            };
            if let Some(details) = submission.done(outcome) {
                toasts.good(format!("Added {}. No device is offered the build until you promote it.", super::name_of(&details)));
                ondone.call(());
            }
        });
    });
    let reading = apks.read();
    let rows = match reading.value.as_deref() {
        Some(rows) if !rows.is_empty() => rows.clone(),
        other => {
            return rsx! {
                Dialog { title: "Add a build", onclose,
                    div { class: "dialog-body",
                        match (other, &reading.problem) {
                            (Some(_), _) => rsx! {
                                EmptyState { glyph: Glyph::Package, title: "No APK to add", text: "No agent APK was uploaded, or each is already a build. Upload a new one first." }
                            },
                            (None, Some(problem)) => rsx! { Problem { text: problem.clone(), onretry: move |()| apks.again() } },
                            (None, None) => rsx! { Skeleton {} },
                        }
                    }
                    div { class: "dialog-actions", button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "Close" } }
                }
            };
        }
    };
    let (apk_error, notes_error) = (submission.error("apk_id"), submission.error("release_notes"));
    rsx! {
        FormDialog { title: "Add a build", action: "Add", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            Field { name: "apk_id", label: "APK of the agent", hint: "uploaded APKs without a build, newest version first", error: apk_error.clone(),
                select { id: "apk_id", name: "apk_id", class: "choice", aria_describedby: "apk_id-note", aria_invalid: apk_error.map(|_| "true"),
                    for apk in rows.iter() {
                        option { key: "{apk.id}", value: "{apk.id}", "{apk.version_name} ({apk.version_code}), {format::bytes(apk.size_bytes)}" }
                    }
                }
            }
            Field { name: "release_notes", hint: "internal, at most 4,000 characters", error: notes_error.clone(),
                textarea { id: "release_notes", name: "release_notes", rows: "4", aria_describedby: "release_notes-note", aria_invalid: notes_error.map(|_| "true") }
            }
        }
    }
}
