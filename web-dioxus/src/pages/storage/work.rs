//! Work on days: starting it, and how far it is.

use std::time::Duration;

use chrono::NaiveDate;
use dioxus::prelude::*;
use domain::Timestamp;
use domain::storage::{PartitionWork, WorkState};
use services::WorkRequest;

use super::words;
use crate::components::{Confirm, Problem, Skeleton, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// Poll interval of the plan that a dialog shows.
const PLAN_INTERVAL: Duration = Duration::from_secs(10);
/// Most days of a plan that a dialog lists.
const PLANNED_SHOWN: usize = 12;

/// Kind of work on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartKind {
    Archive,
    Verify,
    Restore,
    Forget,
}

impl StartKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive-day",
            Self::Verify => "verify-day",
            Self::Restore => "restore-day",
            Self::Forget => "forget-day",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Archive => "Archive",
            Self::Verify => "Verify",
            Self::Restore => "Restore",
            Self::Forget => "Drop",
        }
    }

    fn request(self, day: NaiveDate) -> WorkRequest {
        match self {
            Self::Archive => WorkRequest::Archive(day),
            Self::Verify => WorkRequest::Verify(day),
            Self::Restore => WorkRequest::Restore(day),
            Self::Forget => WorkRequest::Forget(day),
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Archive => {
                "Its rows are written to the archive and read back. The table stays until the day is older than what is kept. Of a day that is archived already, the archive is read back only."
            }
            Self::Verify => {
                "The archive is read back from the store: file, rows and their digests are compared with what was recorded. Nothing is changed."
            }
            Self::Forget => {
                "The archive is read back, and the table that was restored from it is dropped now instead of when its time is over. The rows stay in the archive; the day can be restored again."
            }
            Self::Restore => {
                "Its rows come back from the archive into the database, where they take the room that they took before. The table is dropped again after the time for which restored days are kept."
            }
        }
    }
}

#[component]
pub(super) fn StartDay(kind: StartKind, day: NaiveDate, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            let request = kind.request(day);
            match session.call(move |system, principal| async move { system.storage.start(&principal, request).await }).await {
                Ok(work) => toasts.good(format!("{}: started.", words::work(&work))),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "{kind.title()} {day}?", action: "{kind.title()}", mild: true, busy: busy(), onconfirm, onclose,
            p { {kind.explained()} }
            p { "It goes on in the background; one such work is under way at a time." }
        }
    }
}

#[component]
pub(super) fn RunNow(ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let plan = use_polling((), PLAN_INTERVAL, |system, principal, ()| async move { system.storage.plan(&principal).await });
    let reading = plan.read();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.storage.start(&principal, WorkRequest::Run).await }).await {
                Ok(_) => toasts.good("The run was started. It begins once a run that is under way has ended.".to_owned()),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Run now?", action: "Run", mild: true, busy: busy(), onconfirm, onclose,
            p { "Everything that is due is done now instead of with the next run. A day is dropped only after its archive was read back and matched." }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| plan.again() }
            }
            match reading.value.as_deref() {
                Some(days) if days.is_empty() => rsx! { p { "data-testid": "nothing-due", strong { "Nothing is due." } } },
                Some(days) => rsx! {
                    ul { class: "due", "data-testid": "run-plan",
                        for day in days.iter().take(PLANNED_SHOWN) {
                            li { key: "{day.day}", strong { "{day.day}" } ": "
                                {day.steps.iter().map(|step| words::action(step.action).to_lowercase()).collect::<Vec<_>>().join(", ")}
                            }
                        }
                        if days.len() > PLANNED_SHOWN {
                            li { {format!("and {} more", format::count(days.len() - PLANNED_SHOWN, "day", "days"))} }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

/// How far work is, in words.
fn progress_text(work: &PartitionWork) -> String {
    let number = |rows: i64| format::number(rows.max(0).unsigned_abs());
    match work.total {
        Some(total) => format!("{}: {} of {} rows", work.step, number(work.done), number(total)),
        None if work.done > 0 => format!("{}: {} rows", work.step, number(work.done)),
        None => work.step.clone(),
    }
}

/// The newest work: its progress, or what came out.
#[component]
pub(super) fn WorkCard(work: PartitionWork, now: Timestamp) -> Element {
    let (state, tone) = words::work_state(work.state);
    let running = work.state == WorkState::Running;
    rsx! {
        section { class: "card work", aria_labelledby: "work-title", "data-testid": "work", "data-state": work.state.as_str(), "data-kind": work.kind.as_str(),
            div { class: "card-head",
                h2 { id: "work-title", {words::work(&work)} }
                span { class: "badge {tone}", "{state}" }
            }
            if running {
                label { class: "work-progress",
                    span { role: "status", {progress_text(&work)} }
                    match work.share() {
                        Some(share) => rsx! { progress { max: "100", value: "{share * 100.0:.1}" } },
                        None => rsx! { progress {} },
                    }
                }
            }
            if let Some(outcome) = &work.outcome {
                p { "data-testid": "work-outcome", "{outcome}" }
            }
            p { class: "muted", "Started by {work.by} on {work.node}, " {time_ago(work.started_at, &format::relative(now, work.started_at))} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::PartitionWorkId;
    use domain::storage::WorkKind;

    #[test]
    fn progress_names_rows_as_far_as_they_are_known() {
        let at = chrono::DateTime::UNIX_EPOCH;
        let text = |done, total| {
            progress_text(&PartitionWork {
                id: PartitionWorkId(uuid::Uuid::nil()),
                kind: WorkKind::Archive,
                day: None,
                state: WorkState::Running,
                step: "Archiving".into(),
                done,
                total,
                by: String::new(),
                node: String::new(),
                started_at: at,
                renewed_at: at,
                ended_at: None,
                outcome: None,
            })
        };
        assert_eq!(text(1500, Some(20_000)), "Archiving: 1,500 of 20,000 rows");
        assert_eq!(text(1500, None), "Archiving: 1,500 rows");
        assert_eq!(text(0, None), "Archiving");
    }
}
