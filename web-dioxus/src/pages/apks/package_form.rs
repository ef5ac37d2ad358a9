//! Form of a managed package: name, signers and note.

use dioxus::prelude::*;
use domain::apk::ManagedPackage;

use crate::components::form::{Field, FormDialog, Submission, TextField, some_of, text_of, use_submission};
use crate::context::use_session;
use crate::toasts::use_toasts;

/// Names of the fields, as the service has them.
const FIELDS: [&str; 3] = ["package", "signers_sha256", "note"];

/// Initial values of the form.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PackageForm {
    /// Package, unless it is to be entered.
    pub(super) package: Option<String>,
    /// Certificates, SHA-256 as hex.
    pub(super) signers: Vec<String>,
    /// Internal note.
    pub(super) note: String,
}

impl PackageForm {
    /// Values of an existing package.
    pub(super) fn of(row: &ManagedPackage) -> Self {
        Self { package: Some(row.package.clone()), signers: row.signers_sha256.clone(), note: row.note.clone() }
    }
}

/// Certificates of a text, one on each line or separated by commas.
fn signers_of(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::trim).filter(|signer| !signer.is_empty()).map(str::to_owned).collect()
}

/// Dialog that allows a package or changes its signers.
#[component]
pub(super) fn PackageDialog(
    title: String,
    action: String,
    given: PackageForm,
    ondone: EventHandler<()>,
    onclose: EventHandler<()>,
) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let fixed = given.package.clone();
    let of_send = fixed.clone();
    let sent = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let package = of_send.clone().or_else(|| some_of(&form, "package")).unwrap_or_default();
        let (signers, note) = (signers_of(&text_of(&form, "signers_sha256")), text_of(&form, "note").trim().to_owned());
        let session = session.clone();
        spawn(async move {
            let answer = session
                .call(move |system, principal| async move { system.apks.allow_package(&principal, &package, &signers, &note).await })
                .await;
            if let Some((row, new)) = submission.done(answer) {
                toasts.good(if new { format!("Allowed {}.", row.package) } else { format!("Changed {}.", row.package) });
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title, action, busy: submission.busy(), focus: submission.focus(), wide: true, onsubmit: sent, onclose,
            PackageFields { given, fixed: fixed.is_some(), submission }
        }
    }
}

#[component]
fn PackageFields(given: PackageForm, fixed: bool, submission: Submission) -> Element {
    let error = submission.error("signers_sha256");
    let rows = given.signers.len().clamp(2, 6);
    rsx! {
        if fixed {
            p { class: "mono", "{given.package.clone().unwrap_or_default()}" }
        } else {
            TextField { name: "package", placeholder: "com.example.till", error: submission.error("package") }
        }
        Field { name: "signers_sha256", hint: "SHA-256 of certificates, one per line; an APK must be signed with one of them or its rotated key", error: error.clone(),
            textarea { id: "signers_sha256", name: "signers_sha256", class: "mono", rows: "{rows}", maxlength: "4000", spellcheck: "false", aria_describedby: "signers_sha256-note", aria_invalid: error.map(|_| "true"), initial_value: given.signers.join("\n") }
        }
        TextField { name: "note", value: given.note, hint: "internal note", error: submission.error("note") }
        if let Some(problem) = submission.other_error(&FIELDS) {
            p { class: "field-error", role: "alert", "{problem}" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_stand_on_lines_or_between_commas() {
        assert_eq!(signers_of(" aa:bb \n\ncc, dd,\n"), ["aa:bb", "cc", "dd"]);
        assert!(signers_of(" \n").is_empty());
    }
}
