//! The audit trail: who did what to what, searched, with what each act changed.

mod difference;

use std::sync::Arc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::audit::{AuditFilter, AuditSubject, ChainedEntry, Entry};
use domain::query::PAGE_MAX;
use services::{ArchivedEntries, System};

use crate::audit_url::{AuditUrl, TimeRange};
use crate::components::form::some_of;

use crate::components::{EmptyState, Glyph, LocalTime, PageHeader, Problem, RouteLink, Skeleton, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_paced_polling;
use crate::route::Route;

use difference::difference;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Entries on the page at first.
const PAGE: i64 = 50;
/// Most entries on the page.
const SHOWN_MAX: i64 = 1000;

/// How often a list is read again that archives have a part in: what is in them stays.
const ARCHIVED_INTERVAL: Duration = Duration::from_secs(3600);

/// What the page shows.
struct Shown {
    entries: Vec<ChainedEntry>,
    more: bool,
    /// Entries that are in archives.
    archived: Option<ArchivedEntries>,
    /// Files of archives that were read for this; `None`: none was asked for.
    archives_read: Option<u64>,
}

/// How soon a list is read again.
fn interval_for(shown: &Shown) -> Duration {
    if shown.archives_read.is_some_and(|files| files > 0) { ARCHIVED_INTERVAL } else { POLL_INTERVAL }
}

async fn read(system: Arc<System>, principal: Principal, filter: AuditFilter, wanted: i64, archived: bool) -> Result<Shown, ServiceError> {
    let (mut entries, mut next) = (Vec::new(), None);
    loop {
        let limit = (wanted - entries.len() as i64).min(PAGE_MAX);
        let page = system.audit.page(&principal, filter.clone(), next, limit, archived).await?;
        entries.extend(page.entries);
        next = page.next;
        // One read of archives for each look.
        if next.is_none() || entries.len() as i64 >= wanted || page.archives_read.is_some() {
            return Ok(Shown { entries, more: next.is_some(), archived: page.archived, archives_read: page.archives_read });
        }
    }
}

#[component]
pub(crate) fn Audit(query: AuditUrl) -> Element {
    use_title("Audit");
    let session = use_session();
    if !session.may(Permission::ViewAudit) {
        return rsx! {
            PageHeader { title: "Audit" }
            EmptyState { glyph: Glyph::Key, title: "Only for admins", text: "Your role does not allow this. Ask an admin of this server." }
        };
    }
    let export = Route::Audit { query: AuditUrl { archived: false, ..query.clone() } }.to_string().replace("/audit", "/export/audit.csv");
    rsx! {
        PageHeader { title: "Audit", lead: "All changes with actor, action, target and time. Entries are never changed; old ones move to the archive.",
            a { class: "button", href: export, download: "audit.csv", "data-testid": "export-audit", {icon(Glyph::Download)} "Download CSV" }
        }
        // Another address is another form: what is typed follows it.
        for query in [query] {
            Search { key: "{query}", query: query.clone() }
            Entries { query: query.clone() }
        }
    }
}

#[component]
fn Search(query: AuditUrl) -> Element {
    let navigator = use_navigator();
    let day = |day: Option<chrono::NaiveDate>| day.map(|day| day.to_string()).unwrap_or_default();
    let other = query.action.clone().filter(|action| !AuditSubject::ALL.iter().any(|subject| subject.prefix == action));
    let send = move |event: FormEvent| {
        event.prevent_default();
        let date = |name: &str| some_of(&event, name).and_then(|text| text.parse().ok());
        let query = AuditUrl {
            actor: some_of(&event, "who"),
            action: some_of(&event, "what"),
            target: some_of(&event, "target"),
            text: some_of(&event, "text"),
            within: some_of(&event, "within").and_then(|name| TimeRange::parse(&name)),
            from: date("from"),
            to: date("to"),
            archived: some_of(&event, "archived").is_some(),
        };
        navigator.push(Route::Audit { query });
    };
    rsx! {
        form { class: "card audit-search", role: "search", aria_label: "Search the audit trail", onsubmit: send,
            div { class: "audit-fields",
                Input { name: "who", label: "Actor", value: query.actor.clone().unwrap_or_default(), placeholder: "Name or id" }
                div { class: "field",
                    label { r#for: "what", "Action" }
                    select { id: "what", name: "what",
                        option { value: "", selected: query.action.is_none(), "Any action" }
                        if let Some(other) = other {
                            option { value: "{other}", selected: true, "{other}" }
                        }
                        for subject in AuditSubject::ALL {
                            option { key: "{subject.prefix}", value: subject.prefix, selected: query.action.as_deref() == Some(subject.prefix), {subject.title} }
                        }
                    }
                }
                Input { name: "target", label: "Target", value: query.target.clone().unwrap_or_default(), placeholder: "Name or id" }
                Input { name: "text", label: "Text", value: query.text.clone().unwrap_or_default(), placeholder: "In names and changes" }
                div { class: "field",
                    label { r#for: "within", "Time" }
                    select { id: "within", name: "within",
                        option { value: "", selected: query.within.is_none(), "Any time" }
                        for within in TimeRange::ALL {
                            option { key: "{within.as_str()}", value: within.as_str(), selected: query.within == Some(within), {within.title()} }
                        }
                    }
                }
                Input { name: "from", label: "From day (UTC)", value: day(query.from), kind: "date" }
                Input { name: "to", label: "To day (UTC)", value: day(query.to), kind: "date" }
            }
            label { class: "choice-row",
                input { r#type: "checkbox", name: "archived", value: "1", initial_checked: query.archived, "data-testid": "search-archived" }
                span { strong { "Also in the archive" } span { class: "muted", "entries that have left the database" } }
            }
            div { class: "audit-actions",
                button { class: "button primary", "data-testid": "search-audit", {icon(Glyph::Search)} "Search" }
                if query != AuditUrl::default() {
                    RouteLink { to: Route::Audit { query: AuditUrl::default() }, class: "button quiet", testid: "clear-audit", {icon(Glyph::Close)} "Clear" }
                }
            }
        }
    }
}

#[component]
fn Input(
    name: String,
    label: String,
    value: String,
    #[props(default)] placeholder: String,
    #[props(default = "text".to_owned())] kind: String,
) -> Element {
    rsx! {
        div { class: "field",
            label { r#for: "{name}", "{label}" }
            input { id: "{name}", name: "{name}", r#type: "{kind}", initial_value: "{value}", placeholder: "{placeholder}", autocomplete: "off", spellcheck: "false", maxlength: "200" }
        }
    }
}

#[component]
fn Entries(query: AuditUrl) -> Element {
    let mut wanted = use_signal(|| PAGE);
    let mut open = use_signal(|| None::<i64>);
    let searches_archives = query.archived;
    let list = use_paced_polling((query.clone(), wanted()), interval_for, |system, principal, (query, wanted)| async move {
        let archived = query.archived;
        let filter = query.filter(system.clock.now());
        read(system, principal, filter, wanted, archived).await
    });
    let reading = list.read();
    let now = use_session().clock.now();
    rsx! {
        section { class: "card", aria_label: "Entries", aria_busy: reading.loading.to_string(),
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(Shown { entries, more, archived, archives_read }) if entries.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Search, title: "No entry matches", text: "Change or clear the search." }
                    Archived { archived: archived.clone(), searched: searches_archives }
                    ArchivesRead { files: *archives_read, more: *more }
                },
                Some(Shown { entries, more, archived, archives_read }) => rsx! {
                    div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Audit trail",
                        table { class: "plain audit-table", "data-testid": "audit-table",
                            thead { tr {
                                th { scope: "col", "Time" } th { scope: "col", "Actor" } th { scope: "col", "Action" } th { scope: "col", "Target" }
                                th { scope: "col", "Address" } th { scope: "col", span { class: "visually-hidden", "Details" } }
                            } }
                            for row in entries.iter() {
                                Row {
                                    key: "{row.entry.seq}", row: row.clone(), ago: format::relative(now, row.entry.at), open: open() == Some(row.entry.seq),
                                    ontoggle: move |seq| open.set(Some(seq).filter(|seq| open() != Some(*seq))),
                                }
                            }
                        }
                    }
                    if *more && wanted() < SHOWN_MAX {
                        div { class: "more", button { class: "button", r#type: "button", "data-testid": "load-more", onclick: move |_| wanted.set((wanted() + PAGE * 2).min(SHOWN_MAX)), "Load more" } }
                    }
                    if *more && wanted() >= SHOWN_MAX {
                        p { class: "muted more", "Only the newest {SHOWN_MAX} are shown. Narrow the search, or download all of them." }
                    }
                    if !*more {
                        Archived { archived: archived.clone(), searched: searches_archives }
                    }
                    ArchivesRead { files: *archives_read, more: *more }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

/// Where older entries are.
#[component]
fn Archived(archived: Option<ArchivedEntries>, searched: bool) -> Element {
    let Some(ArchivedEntries { last_seq, last_at, newest }) = archived else { return rsx! {} };
    rsx! {
        p { class: "muted more", "data-testid": "audit-archived",
            "Entries 1 to {last_seq}, up to " {local_time(last_at, LocalTime::Minute)} ", are in the archive; the newest of its files is "
            code { "{newest}.parquet" } "."
            if !searched { " This search did not look there." }
        }
    }
}

/// How far archives were searched.
#[component]
fn ArchivesRead(files: Option<u64>, more: bool) -> Element {
    let Some(files) = files else { return rsx! {} };
    let files = format::count(usize::try_from(files).unwrap_or(usize::MAX), "file", "files");
    rsx! {
        p { class: "muted more", "data-testid": "archives-read",
            "Read {files} of the archive."
            if more { " Older ones were not read: narrow the days to search those." }
        }
    }
}

fn who(entry: &Entry) -> (String, Option<&'static str>) {
    let kind = match entry.actor_kind.as_str() {
        "token" => Some("API token"),
        "device" => Some("device"),
        "system" if entry.actor_id.as_deref() == Some("console") => Some("command line"),
        "system" => Some("system"),
        _ => None,
    };
    (entry.actor_name.clone(), kind)
}

#[component]
fn Row(row: ChainedEntry, ago: String, open: bool, ontoggle: EventHandler<i64>) -> Element {
    let entry = &row.entry;
    let seq = entry.seq;
    let (name, kind) = who(entry);
    let target = entry.target_name.clone().or_else(|| entry.target_id.clone()).unwrap_or_default();
    let target_kind = entry.target_kind.replace('_', " ");
    rsx! {
        tbody { "data-testid": "audit-row", "data-action": "{entry.action}", "data-seq": "{seq}",
            tr {
                td { class: "audit-time", {time_ago(entry.at, &ago)} }
                td { span { class: "truncate", title: name.clone(), "{name}" } if let Some(kind) = kind { span { class: "audit-kind", "{kind}" } } }
                td { code { "{entry.action}" } }
                td { span { class: "truncate", title: target.clone(), "{target}" } span { class: "audit-kind", "{target_kind}" } }
                td { class: "mono", {entry.address.clone().unwrap_or_default()} }
                td { class: "audit-toggle",
                    button { class: "button small", r#type: "button", aria_expanded: open.to_string(), aria_controls: if open { Some(format!("audit-{seq}")) } else { None }, aria_label: "Details of entry {seq}", "data-testid": "audit-details", onclick: move |_| ontoggle.call(seq),
                        if open { {icon(Glyph::ChevronUp)} } else { {icon(Glyph::ChevronDown)} }
                    }
                }
            }
            if open {
                tr { id: "audit-{seq}", class: "audit-open", td { colspan: "6", Details { row: row.clone() } } }
            }
        }
    }
}

#[component]
fn Details(row: ChainedEntry) -> Element {
    let entry = &row.entry;
    let (changes, more) = difference(entry.before.as_deref(), entry.after.as_deref());
    let hash: String = row.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let facts = [
        ("Entry", Some(entry.seq.to_string())),
        ("Actor id", Some(entry.actor_id.clone().unwrap_or_else(|| entry.actor_kind.clone()))),
        ("Target id", entry.target_id.clone()),
        ("Request id", entry.request_id.clone()),
        ("Hash", Some(hash)),
    ];
    rsx! {
        div { class: "audit-detail", "data-testid": "audit-detail",
            if changes.is_empty() {
                p { class: "muted", "No changed fields." }
            } else {
                table { class: "audit-changes", "data-testid": "audit-changes",
                    thead { tr { th { scope: "col", "Field" } th { scope: "col", "Before" } th { scope: "col", "After" } } }
                    tbody {
                        for change in changes {
                            tr { key: "{change.field}",
                                th { scope: "row", "{change.field}" }
                                td { if let Some(before) = &change.before { del { "{before}" } } }
                                td { if let Some(after) = &change.after { ins { "{after}" } } }
                            }
                        }
                    }
                }
                if more > 0 { p { class: "muted", "{more} more fields are in the download." } }
            }
            dl { class: "facts",
                div { dt { "Time" } dd { {local_time(entry.at, LocalTime::Minute)} } }
                for (name, value) in facts {
                    if let Some(value) = value {
                        div { key: "{name}", dt { "{name}" } dd { class: "mono", "{value}" } }
                    }
                }
            }
        }
    }
}
