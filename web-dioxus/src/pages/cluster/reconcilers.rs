//! The periodic work of the cluster and of each node, and whether it succeeds.

use dioxus::prelude::*;
use services::NodeReconciler;

use super::ClusterSnapshot;
use crate::components::{EmptyState, Glyph, time_ago, unknown};
use crate::format;

/// The state of a reconciler in words, and its colour.
fn state_badge(shown: &NodeReconciler) -> (String, &'static str) {
    match (shown.status.failures_in_a_row, shown.status.last_run_at) {
        (0, None) => ("Waiting".into(), ""),
        (0, Some(_)) => ("OK".into(), "good"),
        (1, _) => ("Failed".into(), "bad"),
        (failures, _) => (format!("Failed {failures} times in a row"), "bad"),
    }
}

#[component]
pub(super) fn Reconcilers(snapshot: ClusterSnapshot) -> Element {
    let reconcilers = &snapshot.overview.reconcilers;
    rsx! {
        section { class: "card", aria_labelledby: "reconcilers-title",
            div { class: "card-head", h2 { id: "reconcilers-title", "Reconcilers" } }
            if reconcilers.is_empty() {
                EmptyState { glyph: Glyph::Refresh, title: "No reconcilers known yet", text: "Nodes report theirs within a second." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of reconcilers",
                    table { class: "plain",
                        thead { tr {
                            th { scope: "col", "Reconciler" } th { scope: "col", "Node" } th { scope: "col", "State" }
                            th { scope: "col", "Last run" } th { scope: "col", class: "number", "Duration" }
                            th { scope: "col", class: "number", "Changes" } th { scope: "col", class: "number", "Runs" }
                        } }
                        tbody {
                            for shown in reconcilers.iter() {
                                ReconcilerRow { key: "{shown.status.name}@{shown.node}", snapshot: snapshot.clone(), shown: shown.clone() }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn ReconcilerRow(snapshot: ClusterSnapshot, shown: NodeReconciler) -> Element {
    let (state, tone) = state_badge(&shown);
    let status = &shown.status;
    let has_run = status.last_run_at.is_some();
    rsx! {
        tr { "data-testid": "reconciler-row", "data-reconciler": "{status.name}",
            td { strong { "{status.name}" }
                if status.per_cluster { span { class: "muted", " once per cluster" } }
            }
            td { "{shown.node}" }
            td { span { class: "badge {tone}", title: status.last_error.clone(), "{state}" } }
            td { match status.running_since {
                Some(since) => rsx! { span { "data-testid": "reconciler-running", "Running, began " {time_ago(since, &format::relative(snapshot.at, since))} } br {} },
                None => rsx! {},
            } match status.last_run_at {
                Some(at) => rsx! { {time_ago(at, &format::relative(snapshot.at, at))} },
                None => unknown(),
            } }
            td { class: "number", if has_run { "{format::number(status.duration_ms)} ms" } else { {unknown()} } }
            td { class: "number", if has_run { {format::number(status.changed)} } else { {unknown()} } }
            td { class: "number", {format::number(status.runs)} }
        }
        if let Some(cause) = &status.last_error {
            tr { td { class: "muted", colspan: "7", "{status.name}: {cause}" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::reconcile::ReconcilerStatus;

    #[test]
    fn a_state_tells_failures_from_waiting() {
        let state = |failures_in_a_row, ran: bool| {
            let last_run_at = ran.then_some(chrono::DateTime::UNIX_EPOCH);
            let status = ReconcilerStatus { failures_in_a_row, last_run_at, ..ReconcilerStatus::default() };
            state_badge(&NodeReconciler { node: "a".into(), status }).0
        };
        assert_eq!([state(0, false), state(0, true), state(1, true)], ["Waiting", "OK", "Failed"]);
        assert_eq!(state(3, true), "Failed 3 times in a row");
    }
}
