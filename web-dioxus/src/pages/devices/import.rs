//! Import of devices from a CSV file: upload, preview, and application as a whole.

use std::rc::Rc;
use std::sync::Arc;

use dioxus::prelude::*;
use domain::access::Permission;
use services::{ImportReport, RowChange};

use crate::components::{EmptyState, Glyph, PageHeader, RouteLink, icon};
use crate::context::{explain, use_session};
use crate::files::UPLOAD_BYTES_MAX;
use crate::format;
use crate::navigation::use_title;
use crate::route::Route;
use crate::toasts::use_toasts;
use crate::url_state::DevicesUrl;

/// Rows of each kind on the page.
const ROWS_MAX: usize = 200;

/// Preview of an import.
#[derive(Clone)]
struct ImportPreview {
    file: Arc<[u8]>,
    report: Rc<ImportReport>,
}

impl PartialEq for ImportPreview {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.report, &other.report)
    }
}

#[component]
pub(crate) fn ImportDevices() -> Element {
    use_title("Import devices");
    let session = use_session();
    let toasts = use_toasts();
    let mut looked = use_signal(|| None::<ImportPreview>);
    let mut problem = use_signal(|| None::<String>);
    let mut busy = use_signal(|| false);
    let allowed = session.may(Permission::ManageDevices);
    let of_upload = session.clone();
    let uploaded = use_callback(move |reported: String| {
        let session = of_upload.clone();
        // The script writes the number of the upload, or an error.
        let (id, why) = reported.split_once(' ').unwrap_or((reported.as_str(), ""));
        if id == "failed" {
            problem.set(Some(why.to_owned()));
            return;
        }
        let Some(file) = session.uploads.take(&session.principal, id) else {
            problem.set(Some("The upload failed. Choose the file again.".into()));
            return;
        };
        busy.set(true);
        spawn(async move {
            let read = Arc::clone(&file);
            let report = session.call(move |system, principal| async move { system.devices.import(&principal, read, true).await }).await;
            busy.set(false);
            match report {
                Ok(report) => {
                    problem.set(None);
                    looked.set(Some(ImportPreview { file, report: Rc::new(report) }));
                }
                Err(error) => problem.set(Some(explain(&error))),
            }
        });
    });
    let apply = use_callback(move |()| {
        let Some(ImportPreview { file, .. }) = looked.peek().clone() else { return };
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            let read = Arc::clone(&file);
            let report = session.call(move |system, principal| async move { system.devices.import(&principal, read, false).await }).await;
            busy.set(false);
            match report {
                Ok(report) => {
                    if report.applied {
                        toasts.good(format!("Changed {}.", format::count(report.changes.len(), "device", "devices")));
                    }
                    looked.set(Some(ImportPreview { file, report: Rc::new(report) }));
                }
                Err(error) => toasts.failed(&error),
            }
        });
    });
    let devices = Route::Devices { query: DevicesUrl::default() };
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: devices.clone(), "Devices" } span { aria_hidden: "true", "/" } span { "Import" } }
        PageHeader { title: "Import devices", lead: "Bulk edit of aliases, tags and groups from a CSV file." }
        if !allowed {
            section { class: "card", EmptyState { glyph: Glyph::Key, title: "Only for operators", text: "Your role does not allow this. Ask an operator or an admin.", RouteLink { to: devices, class: "button", "Go to the devices" } } }
        } else {
            section { class: "card", aria_labelledby: "choose-title",
                h2 { id: "choose-title", "Choose a file" }
                p { class: "muted card-lead",
                    "CSV with a header row. " code { "id" } " or " code { "alias" } " identifies the device; " code { "alias" } " next to an id, or " code { "new_alias" }
                    ", renames it; " code { "tags" } " and " code { "groups" } " hold several values separated by " code { "|" } ". Missing columns change no values. An exported file can be imported unchanged."
                }
                div { class: "file-choice",
                    label { class: "button primary", r#for: "import-file", {icon(Glyph::Upload)} if looked.read().is_some() { "Choose another file" } else { "Choose a file" } }
                    input { id: "import-file", class: "visually-hidden", r#type: "file", accept: ".csv,text/csv", "data-upload": "/live/upload", "data-upload-max": "{UPLOAD_BYTES_MAX}", "data-upload-max-text": format::bytes(i64::try_from(UPLOAD_BYTES_MAX).unwrap_or(i64::MAX)), "data-testid": "import-file" }
                    a { class: "button", href: "/export/devices.csv", download: "devices.csv", {icon(Glyph::Download)} "Export as a template" }
                    input { r#type: "text", hidden: true, aria_hidden: "true", tabindex: "-1", "data-upload-told": "1", oninput: move |event| uploaded.call(event.value()) }
                    if busy() {
                        span { class: "muted", role: "status", "Reading…" }
                    }
                }
                if let Some(problem) = problem() {
                    div { class: "notice bad", role: "alert", "data-testid": "import-problem", {icon(Glyph::Alert)} span { "{problem}" } }
                }
            }
            if let Some(ImportPreview { report, .. }) = looked() {
                Report { report, busy: busy(), onapply: apply }
            }
        }
    }
}

#[component]
fn Report(report: Rc<ImportReport>, busy: bool, onapply: EventHandler<()>) -> Element {
    let changing = report.changes.len();
    let title = match (report.applied, report.problems_total) {
        (true, _) => "Applied",
        (false, 0) => "Preview",
        _ => "No changes applied: the file has problems",
    };
    rsx! {
        section { class: "card", aria_labelledby: "report-title", "data-testid": "import-report", "data-applied": report.applied.to_string(),
            div { class: "card-head",
                h2 { id: "report-title", tabindex: "-1", "{title}" }
                if !report.applied {
                    button { class: "button primary", r#type: "button", disabled: busy || report.problems_total > 0 || changing == 0, "data-testid": "import-apply", onclick: move |_| onapply.call(()),
                        "Change {format::count(changing, \"device\", \"devices\")}"
                    }
                }
            }
            div { role: "status",
            ul { class: "tally",
                li { strong { {format::number(report.rows as u64)} } " rows" }
                li { class: "good", "data-testid": "import-changes", strong { {format::number(changing as u64)} } if report.applied { " changed" } else { " would change" } }
                li { strong { {format::number(report.unchanged as u64)} } " unchanged" }
                li { class: if report.problems_total > 0 { "bad" } else { "" }, "data-testid": "import-problems", strong { {format::number(report.problems_total as u64)} } " problems" }
            }
            }
            if report.problems_total > 0 {
                h3 { "Problems" }
                p { class: "muted", "A file is applied as a whole or not at all. Fix these rows and choose the file again." }
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Problems",
                    table { class: "plain",
                        thead { tr { th { scope: "col", class: "number", "Line" } th { scope: "col", "Column" } th { scope: "col", "Problem" } } }
                        tbody {
                            for (n, problem) in report.problems.iter().take(ROWS_MAX).enumerate() {
                                tr { key: "{n}", td { class: "number", "{problem.line}" } td { class: "mono", {problem.field.split('[').next().unwrap_or_default()} } td { "{problem.problem}" } }
                            }
                        }
                    }
                }
                More { shown: ROWS_MAX, all: report.problems_total }
            }
            if changing > 0 {
                h3 { "Changes" }
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Changes",
                    table { class: "plain",
                        thead { tr { th { scope: "col", class: "number", "Line" } th { scope: "col", "Device" } th { scope: "col", "Change" } } }
                        tbody {
                            for change in report.changes.iter().take(ROWS_MAX) {
                                tr { key: "{change.line}", "data-testid": "import-change", td { class: "number", "{change.line}" } td { class: "truncate", "{change.alias}" } td { for field in fields(change) { div { key: "{field}", "{field}" } } } }
                            }
                        }
                    }
                }
                More { shown: ROWS_MAX, all: changing }
            }
        }
    }
}

#[component]
fn More(shown: usize, all: usize) -> Element {
    let rest = all.saturating_sub(shown);
    rsx! {
        if rest > 0 {
            p { class: "muted more", "and {format::number(rest as u64)} more" }
        }
    }
}

/// Changes of a row, a line for each field.
fn fields(change: &RowChange) -> Vec<String> {
    let list = |values: &[String]| if values.is_empty() { "none".to_owned() } else { values.join(", ") };
    change.fields.iter().map(|field| format!("{}: {} → {}", field.field, list(&field.before), list(&field.after))).collect()
}
