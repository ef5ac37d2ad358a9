//! The partition manager, the last reconciliations, work that people started, and backups.

use dioxus::prelude::*;
use domain::Timestamp;
use domain::backup::BackupRecord;
use domain::reconciliation::ReconciliationRun;
use domain::storage::PartitionWork;

use super::{Shared, words};
use crate::components::{EmptyState, Glyph, LocalTime, icon, local_time, time_ago, unknown};
use crate::format;

#[component]
pub(super) fn Runs(shown: Shared) -> Element {
    let Shared(overview) = &shown;
    rsx! {
        div { class: "columns",
            Manager { shown: shown.clone() }
            Backup { backup: overview.backup.clone(), next: overview.next_backup_at, now: overview.at }
        }
        Reconciliations { runs: overview.reconciliations.clone(), now: overview.at }
        if !overview.work.is_empty() {
            Started { work: overview.work.clone(), now: overview.at }
        }
    }
}

#[component]
fn Manager(shown: Shared) -> Element {
    let Shared(overview) = &shown;
    let now = overview.at;
    rsx! {
        section { class: "card", aria_labelledby: "manager-title", "data-testid": "manager",
            h2 { id: "manager-title", "Partition manager" }
            match &overview.manager {
                None => rsx! { EmptyState { glyph: Glyph::Refresh, title: "No run yet", text: "Nodes report their runs within a second." } },
                Some(manager) => {
                    let status = &manager.status;
                    rsx! {
                        dl { class: "facts",
                            div { dt { "Node" } dd { "{manager.node}" } }
                            div { dt { "Last run" } dd { match status.last_run_at {
                                Some(at) => rsx! { {time_ago(at, &format::relative(now, at))} span { class: "muted", ", {format::number(status.duration_ms)} ms" } },
                                None => unknown(),
                            } } }
                            if let Some(since) = status.running_since {
                                div { dt { "Running" } dd { "since " {time_ago(since, &format::relative(now, since))} } }
                            }
                            div { dt { "Next run" } dd { "data-testid": "next-run", match overview.next_run_at {
                                Some(at) if at > now => rsx! { {local_time(at, LocalTime::Minute)} },
                                Some(_) => rsx! { "any moment" },
                                None => unknown(),
                            } } }
                            div { dt { "Kept" } dd { {format::count(overview.kept_days as usize, "day", "days")} " in the database" } }
                            div { dt { "Archive" } dd { class: "wrap", "{overview.archive_url}" } }
                        }
                        if let Some(problem) = &overview.archive_problem {
                            div { class: "notice bad", "data-testid": "archive-problem", {icon(Glyph::Alert)} span { "The archive cannot be used: {problem}" } }
                        }
                        if let Some(cause) = &status.last_error {
                            div { class: "notice bad", {icon(Glyph::Alert)} span { "{cause}" } }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn Backup(backup: Option<BackupRecord>, next: Option<Timestamp>, now: Timestamp) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "backup-title", "data-testid": "backup",
            h2 { id: "backup-title", "Newest backup" }
            match backup {
                None => rsx! { EmptyState { glyph: Glyph::Save, title: "No backup yet", text: "Make one with nexmdm backup create, or set a schedule in [backup]." } },
                Some(backup) => {
                    let made = backup.finished_at.unwrap_or(backup.started_at);
                    rsx! {
                        dl { class: "facts",
                            div { dt { "Made" } dd { {time_ago(made, &format::relative(now, made))} } }
                            div { dt { "File" } dd { class: "wrap", "{backup.file}" } }
                            div { dt { "Size" } dd { {format::bytes(backup.bytes)} } }
                            div { dt { "By" } dd { "{backup.node}" } }
                            div { dt { "Verified" } dd { match backup.verified_at {
                                Some(at) => rsx! { {time_ago(at, &format::relative(now, at))} },
                                None => rsx! { "not yet" },
                            } } }
                        }
                    }
                }
            }
            match next {
                Some(at) if at > now => rsx! { p { class: "muted", "data-testid": "next-backup", "Next: " {local_time(at, LocalTime::Minute)} } },
                Some(_) => rsx! { p { class: "muted", "data-testid": "next-backup", "The next is due now." } },
                None => rsx! { p { class: "muted", "No schedule." } },
            }
        }
    }
}

/// What a reconciliation found, and its colour.
fn found(run: &ReconciliationRun) -> (String, &'static str) {
    match (run.drifted, run.healed) {
        (0, _) if run.complete => ("No drift".to_owned(), "good"),
        (0, _) => ("Not complete".to_owned(), ""),
        (drifted, healed) if drifted == healed => (format!("{} differed, all mended", format::number(drifted)), "info"),
        (drifted, healed) => (format!("{} differed, {} mended", format::number(drifted), format::number(healed)), "bad"),
    }
}

#[component]
fn Reconciliations(runs: Vec<ReconciliationRun>, now: Timestamp) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "reconciliations-title",
            h2 { id: "reconciliations-title", "Reconciliation" }
            if runs.is_empty() {
                EmptyState { glyph: Glyph::Check, title: "No reconciliation yet", text: "Derived data is compared with what it is derived from every hour." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of reconciliations",
                    table { class: "plain",
                        thead { tr {
                            th { scope: "col", "Compared" } th { scope: "col", "Found" } th { scope: "col", class: "number", "Rows" }
                            th { scope: "col", class: "number", "Duration" } th { scope: "col", "When" }
                        } }
                        tbody {
                            for run in runs.iter() {
                                ReconciliationRow { key: "{run.check.as_str()}@{run.node}", run: run.clone(), now }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn ReconciliationRow(run: ReconciliationRun, now: Timestamp) -> Element {
    let (text, tone) = found(&run);
    rsx! {
        tr { "data-testid": "reconciliation-row", "data-check": run.check.as_str(),
            td { strong { {run.check.label()} } if !run.node.is_empty() { span { class: "muted", " on {run.node}" } } }
            td { span { class: "badge {tone}", "{text}" } }
            td { class: "number", {format::number(run.checked)} }
            td { class: "number", "{run.seconds:.1} s" }
            td { {time_ago(run.started_at, &format::relative(now, run.started_at))} }
        }
        for (n, drift) in run.examples.iter().take(5).enumerate() {
            tr { key: "{n}", td { class: "muted", colspan: "5", {drift.kind.label()} ": {drift.subject}"
                for field in drift.fields.iter() {
                    " {field.field}: {field.stored.as_deref().unwrap_or(format::UNKNOWN)} instead of {field.expected.as_deref().unwrap_or(format::UNKNOWN)};"
                }
            } }
        }
    }
}

#[component]
fn Started(work: Vec<PartitionWork>, now: Timestamp) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "started-title",
            h2 { id: "started-title", "Work that was started" }
            div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of started work",
                table { class: "plain",
                    thead { tr { th { scope: "col", "Work" } th { scope: "col", "State" } th { scope: "col", "Outcome" } th { scope: "col", "By" } th { scope: "col", "Started" } } }
                    tbody {
                        for one in work.iter() {
                            tr { key: "{one.id}", "data-testid": "work-row", "data-state": one.state.as_str(),
                                td { strong { {words::work(one)} } }
                                td { span { class: "badge {words::work_state(one.state).1}", {words::work_state(one.state).0} } }
                                td { {one.outcome.clone().unwrap_or_else(|| one.step.clone())} }
                                td { "{one.by}" }
                                td { {time_ago(one.started_at, &format::relative(now, one.started_at))} }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::reconciliation::Check;

    #[test]
    fn drift_that_is_not_mended_stands_out() {
        let of = |drifted, healed, complete| {
            found(&ReconciliationRun {
                check: Check::LastStatus,
                node: String::new(),
                started_at: chrono::DateTime::UNIX_EPOCH,
                seconds: 1.0,
                checked: 10,
                drifted,
                healed,
                complete,
                kinds: Default::default(),
                examples: vec![],
            })
        };
        assert_eq!(of(0, 0, true), ("No drift".to_owned(), "good"));
        assert_eq!(of(0, 0, false).1, "");
        assert_eq!(of(2, 2, true), ("2 differed, all mended".to_owned(), "info"));
        assert_eq!(of(3, 1, true), ("3 differed, 1 mended".to_owned(), "bad"));
    }
}
