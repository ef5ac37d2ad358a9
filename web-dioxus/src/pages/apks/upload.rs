//! Upload of an APK: the page starts and completes it, the script sends the parts; offers to allow a package that is not managed
//! yet.

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::ServiceError;
use domain::access::Permission;
use domain::apk::Apk;
use domain::{ApkId, ApkUploadId};
use services::{UploadError, UploadFacts};

use super::package_form::{PackageDialog, PackageForm};
use crate::apk_files::error_text;
use crate::components::form::{Field, some_of, text_of};
use crate::components::{Dialog, Glyph, icon};
use crate::context::{Session, explain, use_session};
use crate::deployments_url::NewDeploymentUrl;
use crate::field_labels::labeled;
use crate::format;
use crate::navigation::PendingNavigation;
use crate::polling::use_polling;
use crate::route::Route;
use crate::selection::Selection;
use crate::toasts::use_toasts;

/// Poll interval of the versions to choose from.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Versions to choose from.
const APKS_MAX: i64 = 200;

/// Chosen file, whose content is in the browser.
#[derive(Debug, Clone, PartialEq)]
struct Chosen {
    name: String,
    size: i64,
}

/// Stage of the upload.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// File and metadata are being entered.
    Compose,
    /// Parts are being sent.
    Sending(ApkUploadId, i64),
    /// All parts have arrived; the file is being verified.
    Checking(ApkUploadId),
    /// Refused with a message; with package and signers, the package can be allowed.
    Refused(ApkUploadId, String, Option<(String, Vec<String>)>),
    /// The APK is in the library.
    Done(Rc<Apk>, bool),
}

impl Stage {
    fn upload(&self) -> Option<ApkUploadId> {
        match self {
            Self::Sending(id, _) | Self::Checking(id) | Self::Refused(id, ..) => Some(*id),
            Self::Compose | Self::Done(..) => None,
        }
    }
}

/// Message of the upload script.
#[derive(Debug, PartialEq)]
enum UploadMessage {
    File(Chosen),
    Sent(i64),
    Done,
    Failed(String),
}

impl UploadMessage {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "file" => {
                let (size, name) = rest.split_once(' ')?;
                // As long as the service takes it; it is for people only.
                Some(Self::File(Chosen { name: name.chars().take(255).collect(), size: size.parse().ok()? }))
            }
            "sent" => rest.parse().ok().map(Self::Sent),
            "done" => Some(Self::Done),
            "failed" => Some(Self::Failed(rest.to_owned())),
            _ => None,
        }
    }
}

async fn complete(session: &Session, id: ApkUploadId) -> Stage {
    // It is a call of its own kind: an upload fails in more ways than others.
    let answer = session.call(move |system, principal| async move { Ok(system.apks.complete_upload(&principal, id).await) }).await;
    match answer.unwrap_or_else(|error| Err(error.into())) {
        Ok((row, new)) => Stage::Done(Rc::new(row), new),
        Err(UploadError::Service(ServiceError::Invalid(invalid))) => {
            let unknown = if invalid.field == "package" { domain::apk::unknown_package(&invalid.problem) } else { None };
            let text = match invalid.field.as_str() {
                "package" | "signers_sha256" | "rollback_of" => invalid.problem,
                _ => labeled(&invalid),
            };
            Stage::Refused(id, sentence(&text), unknown)
        }
        Err(error) => Stage::Refused(id, error_text(&error), None),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    // A package is called what it is called.
    let head = text.split(' ').next().unwrap_or_default();
    match chars.next() {
        Some(first) if !head.contains('.') => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        _ => format!("{text}."),
    }
}

#[component]
pub(super) fn Upload(onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let onward = use_context::<PendingNavigation>();
    let mut stage = use_signal(|| Stage::Compose);
    let mut chosen = use_signal(|| None::<Chosen>);
    let mut problem = use_signal(|| None::<String>);
    let mut busy = use_signal(|| false);
    let mut allowing = use_signal(|| false);
    let part_max = session.system.upgrade().map_or(0, |system| system.apks.part_max_bytes());
    let (of_told, of_begin, of_close, of_again) = (session.clone(), session.clone(), session.clone(), session.clone());
    let check = use_callback(move |id: ApkUploadId| {
        stage.set(Stage::Checking(id));
        let session = of_again.clone();
        spawn(async move {
            let after = complete(&session, id).await;
            if let Stage::Done(row, _) = &after {
                toasts.good(format!("Uploaded {} {}.", row.package, row.version_name));
            }
            stage.set(after);
        });
    });
    let reported = use_callback(move |text: String| {
        let before = stage.peek().clone();
        match (UploadMessage::parse(&text), before) {
            (Some(UploadMessage::File(file)), Stage::Compose) => {
                problem.set(None);
                chosen.set(Some(file));
            }
            (Some(UploadMessage::Sent(sent)), Stage::Sending(id, before)) if sent > before => stage.set(Stage::Sending(id, sent)),
            (Some(UploadMessage::Done), Stage::Sending(id, _)) => check.call(id),
            (Some(UploadMessage::Failed(why)), Stage::Sending(id, _)) => {
                problem.set(Some(why));
                stage.set(Stage::Compose);
                let session = of_told.clone();
                spawn(async move {
                    let _ = session.call(move |system, principal| async move { system.apks.abandon_upload(&principal, id).await }).await;
                });
            }
            _ => {}
        }
    });
    let begin = use_callback(move |form: FormEvent| {
        let Some(file) = chosen.peek().clone() else {
            problem.set(Some("Choose a file first.".to_owned()));
            return;
        };
        if busy() {
            return;
        }
        busy.set(true);
        problem.set(None);
        let rollback_of = some_of(&form, "rollback_of").and_then(|id| id.parse::<ApkId>().ok());
        let facts = UploadFacts { sha256: None, rollback_of, notes: text_of(&form, "notes").trim().to_owned() };
        let session = of_begin.clone();
        spawn(async move {
            let begun = session
                .call(move |system, principal| async move { system.apks.begin_upload(&principal, &file.name, file.size, facts).await })
                .await;
            busy.set(false);
            match begun {
                Ok(row) => stage.set(Stage::Sending(row.id, 0)),
                Err(error) => problem.set(Some(explain(&error))),
            }
        });
    });
    // An incomplete upload is discarded with the dialog.
    let close = use_callback(move |()| {
        if let Some(id) = stage.peek().upload() {
            let session = of_close.clone();
            dioxus::core::spawn_forever(async move {
                let _ = session.call(move |system, principal| async move { system.apks.abandon_upload(&principal, id).await }).await;
            });
        }
        onclose.call(());
    });
    let now = stage();
    let upload_to = match &now {
        Stage::Sending(id, _) => Some(format!("/live/apk-uploads/{id}")),
        _ => None,
    };
    let composing = now == Stage::Compose;
    if allowing()
        && let Stage::Refused(id, _, Some((package, signers))) = now.clone()
    {
        // In its place: the bytes are on the server, and one dialog at a time is enough.
        return rsx! {
            PackageDialog { title: "Allow {package}?", action: "Allow and add", given: PackageForm { package: Some(package), signers, note: String::new() },
                ondone: move |()| {
                    allowing.set(false);
                    check.call(id);
                },
                onclose: move |()| allowing.set(false),
            }
        };
    }
    rsx! {
        Dialog { title: "Upload an APK", wide: true, onclose: close,
            form { class: "dialog-form", novalidate: true, "data-draft": "upload", "data-testid": "upload-form", onsubmit: move |form| begin.call(form),
                div { class: "file-choice",
                    label { class: if composing { "button" } else { "button off" }, r#for: "apk-file", {icon(Glyph::Package)} if chosen.read().is_some() { "Choose another file" } else { "Choose a file" } }
                    input { id: "apk-file", class: "visually-hidden", r#type: "file", accept: ".apk,application/vnd.android.package-archive", disabled: !composing, "data-apk-file": "1", "data-part-max": "{part_max}", "data-upload-to": upload_to, "data-testid": "apk-file" }
                    input { r#type: "text", hidden: true, aria_hidden: "true", tabindex: "-1", "data-apk-told": "1", oninput: move |event| reported.call(event.value()) }
                    if let Some(file) = chosen() {
                        span { class: "truncate", "data-testid": "chosen-file", "{file.name}, {format::bytes(file.size)}" }
                    }
                }
                if composing {
                    Facts {}
                }
                Progress { stage: now.clone(), size: chosen().map_or(0, |file| file.size) }
                if let Some(problem) = problem() {
                    p { class: "notice bad", role: "alert", "data-testid": "upload-problem", {icon(Glyph::Alert)} span { "{problem}" } }
                }
                if let Stage::Refused(id, text, unknown) = &now {
                    Refused { id: *id, text: text.clone(), unknown: unknown.clone(), onallow: move |()| allowing.set(true), onagain: check }
                }
                div { class: "dialog-actions",
                    button { class: "button", r#type: "button", onclick: move |_| close.call(()), if matches!(now, Stage::Done(..)) { "Close" } else { "Cancel" } }
                    match &now {
                        Stage::Compose => rsx! { button { class: "button primary", disabled: busy() || chosen.read().is_none(), "data-testid": "submit", "Upload" } },
                        Stage::Done(row, _) if session.may(Permission::ManageDeployments) => {
                            let id = row.id;
                            rsx! { button { class: "button primary", r#type: "button", "data-testid": "deploy-uploaded", onclick: move |_| onward.go(Route::NewDeployment { query: NewDeploymentUrl { apk: Some(id), devices: Selection::default() } }), "Deploy" } }
                        }
                        _ => rsx! {},
                    }
                }
            }
        }
    }
}

/// Metadata fields.
#[component]
fn Facts() -> Element {
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move {
        let (apks, _) = system.apks.apks(&principal, None, None, Some(APKS_MAX)).await?;
        Ok(std::sync::Arc::new(apks))
    });
    let reading = list.read();
    rsx! {
        Field { name: "rollback_of", hint: "an older version, rebuilt with a higher version code, so that a deployment can be rolled back to it",
            select { id: "rollback_of", name: "rollback_of", aria_describedby: "rollback_of-note",
                option { value: "", "None" }
                for apk in reading.value.iter().flat_map(|apks| apks.iter()) {
                    option { key: "{apk.id}", value: "{apk.id}", "{apk.package} {apk.version_name} ({apk.version_code})" }
                }
            }
        }
        Field { name: "notes", hint: "internal, such as what is new",
            textarea { id: "notes", name: "notes", rows: "2", maxlength: "4000", aria_describedby: "notes-note" }
        }
    }
}

#[component]
fn Progress(stage: Stage, size: i64) -> Element {
    match stage {
        Stage::Sending(_, sent) => rsx! {
            div { class: "upload-progress", "data-testid": "upload-progress", "data-sent": "{sent}",
                progress { max: "{size.max(1)}", value: "{sent}", aria_label: "Upload" }
                span { class: "muted", "{format::bytes(sent)} of {format::bytes(size)}" }
            }
        },
        Stage::Checking(_) => rsx! {
            div { class: "upload-progress", role: "status", "data-testid": "upload-checking",
                progress { aria_label: "Check" }
                span { class: "muted", "Reading the file and verifying its signature…" }
            }
        },
        Stage::Done(row, new) => rsx! {
            p { class: "notice", role: "status", "data-testid": "upload-done", {icon(Glyph::Check)}
                span { "{row.package} {row.version_name} ({row.version_code}) " if new { "uploaded." } else { "is already uploaded: the file is identical." } }
            }
        },
        Stage::Compose | Stage::Refused(..) => rsx! {},
    }
}

/// Refusal with its reason, and the option to allow the package.
#[component]
fn Refused(
    id: ApkUploadId,
    text: String,
    unknown: Option<(String, Vec<String>)>,
    onallow: EventHandler<()>,
    onagain: EventHandler<ApkUploadId>,
) -> Element {
    let manages = use_session().may(Permission::ManagePackages);
    rsx! {
        div { class: "notice bad", role: "alert", "data-testid": "upload-refused", {icon(Glyph::Alert)} span { class: "break", "{text}" } }
        div { class: "refused-ways",
            if unknown.is_some() && manages {
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "allow-this", onclick: move |_| onallow.call(()), {icon(Glyph::Check)} "Allow package" }
            }
            button { class: "button", r#type: "button", "data-testid": "upload-again", onclick: move |_| onagain.call(id), "Try again" }
            span { class: "muted", "The file is kept on the server for now." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_glue_is_understood_and_nobody_else() {
        let file = Chosen { name: "a b.apk".into(), size: 12 };
        assert_eq!(UploadMessage::parse("file 12 a b.apk"), Some(UploadMessage::File(file)));
        assert_eq!(UploadMessage::parse("sent 7"), Some(UploadMessage::Sent(7)));
        assert_eq!(UploadMessage::parse("done"), Some(UploadMessage::Done));
        assert_eq!(UploadMessage::parse("failed for a reason"), Some(UploadMessage::Failed("for a reason".into())));
        assert_eq!(
            [UploadMessage::parse("file x"), UploadMessage::parse("sent x"), UploadMessage::parse("eval 1"), UploadMessage::parse("")],
            [None, None, None, None]
        );
    }

    #[test]
    fn refusals_read_as_sentences() {
        assert_eq!(sentence("the file is signed by aa"), "The file is signed by aa.");
        assert_eq!(sentence("com.example.till is not a managed package"), "com.example.till is not a managed package.");
    }
}
