//! Every device of a deployment: of ten thousand rows only those around the visible ones are read and exist.

use std::rc::Rc;
use std::sync::Arc;

use dioxus::prelude::*;
use domain::deployment::{ErrorCode, Reason, TaskQuery, TaskReason, TaskState, TaskView};
use domain::{DeploymentId, Timestamp};

use crate::components::deployment_widgets::{poll_interval, reason_detail, reason_text, stage_text, task_badge, task_state_text};
use crate::components::{Problem, RouteLink, Skeleton, time_ago};
use crate::context::use_session;
use crate::deployments_url::DeploymentUrl;
use crate::format;
use crate::polling::use_paced_polling;
use crate::route::Route;

/// Height of a row; the style sheet has the same.
const ROW_PX: usize = 40;
/// Rows that exist. With fewer, fast scrolling shows blanks before they arrive.
const WINDOW_ROWS: usize = 160;
/// The window moves in steps, so that a little scrolling reads nothing.
const STEP_ROWS: usize = 20;
/// Rows that are visible at a time.
const VISIBLE_ROWS: usize = 20;

/// The rows around the visible ones: how many there are at all, and where these begin.
type Window = (i64, usize, Arc<Vec<TaskView>>);

/// The first row to read when `scrolled_px` are scrolled away.
fn window_start(scrolled_px: f64) -> usize {
    // A browser may report what lies outside while it bounces.
    let top = (scrolled_px.max(0.0) / ROW_PX as f64) as usize;
    top.saturating_sub((WINDOW_ROWS - VISIBLE_ROWS) / 2) / STEP_ROWS * STEP_ROWS
}

#[component]
pub(super) fn Tasks(id: DeploymentId, query: DeploymentUrl, unfinished: bool) -> Element {
    let navigator = use_navigator();
    let mut start = use_signal(|| 0usize);
    // Another filter begins at the top, as its list does.
    let shown = query.to_string();
    use_effect(use_reactive((&shown,), move |_| start.set(0)));
    let list = use_paced_polling(
        (id, query, unfinished, start()),
        move |_: &Window| poll_interval(unfinished),
        |system, principal, (id, query, _, start): (_, DeploymentUrl, bool, usize)| async move {
            let query = TaskQuery { state: query.state, reason: query.reason, device: None };
            let (all, rows) = system.deployments.task_window(&principal, id, query, start as i64, WINDOW_ROWS as i64).await?;
            Ok((all, start, Arc::new(rows)))
        },
    );
    let reading = list.read();
    let go = move |query: DeploymentUrl| {
        navigator.push(Route::Deployment { id: id.to_string(), query });
    };
    rsx! {
        section { class: "card", aria_labelledby: "tasks-title", aria_busy: reading.loading.to_string(), "data-testid": "tasks",
            div { class: "card-head",
                h2 { id: "tasks-title", "Devices" }
                div { class: "task-filters",
                    select { class: if query.state.is_some() { "choice chosen" } else { "choice" }, name: "state", aria_label: "State",
                        onchange: move |event| go(DeploymentUrl { state: TaskState::parse(&event.value()), ..query }),
                        option { value: "", selected: query.state.is_none(), "State: any" }
                        for state in TaskState::ALL {
                            option { key: "{state.as_str()}", value: state.as_str(), selected: query.state == Some(state), {task_state_text(state)} }
                        }
                    }
                    select { class: if query.reason.is_some() { "choice chosen" } else { "choice" }, name: "reason", aria_label: "Reason",
                        onchange: move |event| go(DeploymentUrl { reason: Reason::parse(&event.value()), ..query }),
                        option { value: "", selected: query.reason.is_none(), "Reason: any" }
                        for reason in reasons() {
                            option { key: "{reason.as_str()}", value: reason.as_str(), selected: query.reason == Some(reason), {reason_text(reason)} }
                        }
                    }
                    if query.is_filtered() {
                        button { class: "button small", r#type: "button", "data-testid": "clear-filters", onclick: move |_| go(DeploymentUrl::default()), "Show all" }
                    }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((0, ..)) => rsx! { p { class: "muted", "data-testid": "no-tasks", if query.is_filtered() { "No device matches." } else { "No devices." } } },
                Some((all, first, rows)) => rsx! {
                    Table { all: *all, first: *first, rows: rows.iter().cloned().map(Rc::new).collect::<Vec<_>>(), shown,
                        onscroll: move |top: f64| {
                            let wanted = window_start(top);
                            if wanted != *start.peek() {
                                start.set(wanted);
                            }
                        },
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

/// Every reason, those of the server first.
fn reasons() -> impl Iterator<Item = Reason> {
    TaskReason::ALL.into_iter().map(Reason::from).chain(ErrorCode::ALL.into_iter().map(Reason::from))
}

#[component]
fn Table(all: i64, first: usize, rows: Vec<Rc<TaskView>>, shown: String, onscroll: EventHandler<f64>) -> Element {
    let count = usize::try_from(all).unwrap_or_default();
    let now = use_session().clock.now();
    let height = (count * ROW_PX).min(ROW_PX * VISIBLE_ROWS / 2 * 3) + 38;
    rsx! {
        div {
            class: "table-scroll tasks-table", role: "table", aria_label: "Devices of this deployment", aria_rowcount: "{count + 1}", tabindex: "0",
            style: "max-height:{height}px", "data-testid": "tasks-table", "data-count": "{count}", "data-scroll-kept": "1", "data-scroll-top": shown,
            onscroll: move |event| onscroll.call(event.scroll_top()),
            div { class: "table-head", role: "row", aria_rowindex: "1",
                span { role: "columnheader", "data-col": "device", "Device" }
                span { role: "columnheader", "data-col": "state", "State" }
                span { role: "columnheader", "data-col": "reason", "Reason" }
                span { role: "columnheader", "data-col": "tries", "Attempts" }
                span { role: "columnheader", "data-col": "version", "Version change" }
                span { role: "columnheader", "data-col": "when", "Since" }
            }
            div { class: "table-body", role: "rowgroup", style: "height:{count * ROW_PX}px",
                for (n, row) in rows.into_iter().enumerate() {
                    Row { key: "{row.device_id}", index: first + n, seen: when(&row, now), row }
                }
            }
        }
    }
}

/// When the task got where it is, as far as that is known, and in words.
fn when(row: &TaskView, now: Timestamp) -> Option<(Timestamp, String)> {
    let at = row.finished_at.or(row.accepted_at.filter(|_| row.state.is_busy())).or(row.started_at.filter(|_| row.state.is_busy()));
    at.map(|at| (at, format::relative(now, at)))
}

/// Reason of a task's state, with the device's message.
fn why(row: &TaskView) -> String {
    let mut parts = Vec::new();
    if row.state == TaskState::Installing {
        match (row.stage, row.progress_pct) {
            (Some(stage), Some(percent)) => parts.push(format!("{}, {percent} %", stage_text(stage))),
            (Some(stage), None) => parts.push(stage_text(stage).to_owned()),
            (None, _) => {}
        }
    } else if row.state == TaskState::Confirming {
        parts.push("waiting for a heartbeat that shows the version".to_owned());
    } else if let Some(reason) = row.reason {
        parts.push(reason_detail(reason, row.detail.as_deref()));
    }
    let failed = row.error.as_deref().and_then(Reason::parse).filter(|error| Some(*error) != row.reason && !row.state.is_busy());
    parts.extend(failed.map(|error| reason_text(error).to_owned()));
    parts.extend(row.message.clone().filter(|message| !message.is_empty()));
    parts.join("; ")
}

#[component]
fn Row(index: usize, row: Rc<TaskView>, seen: Option<(Timestamp, String)>) -> Element {
    let why = why(&row);
    rsx! {
        div { class: "table-row", role: "row", aria_rowindex: "{index + 2}", style: "top:{index * ROW_PX}px", "data-testid": "task-row", "data-id": "{row.device_id}", "data-state": row.state.as_str(),
            span { role: "cell", "data-col": "device",
                RouteLink { to: Route::device(row.device_id), class: "truncate", "{row.alias}" }
                if row.canary { span { class: "badge", "data-testid": "task-canary", "canary" } }
            }
            span { role: "cell", "data-col": "state", {task_badge(row.state)} }
            span { role: "cell", "data-col": "reason", class: "truncate", title: "{why}", "{why}" }
            span { role: "cell", "data-col": "tries", "{row.attempts}" }
            span { role: "cell", "data-col": "version", class: "truncate",
                match row.version_before {
                    Some(code) => rsx! { "{code}" },
                    None => rsx! { {format::UNKNOWN} },
                }
                if let Some(installed) = &row.installed_version { " → {installed}" }
            }
            span { role: "cell", "data-col": "when",
                match &seen {
                    Some((at, text)) => time_ago(*at, text),
                    None => rsx! { {format::UNKNOWN} },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_surrounds_what_is_visible() {
        for scrolled in 0..10_000 {
            let start = window_start((scrolled * ROW_PX) as f64);
            assert!(start <= scrolled && start + WINDOW_ROWS >= scrolled + VISIBLE_ROWS, "{scrolled}");
            assert_eq!(start % STEP_ROWS, 0);
        }
        assert_eq!([window_start(-50.0), window_start(f64::NAN)], [0, 0]);
    }

    #[test]
    fn a_row_says_why_in_words_and_each_thing_once() {
        let mut row = TaskView {
            position: 0,
            device_id: domain::DeviceId(uuid::Uuid::nil()),
            alias: "till-1".into(),
            canary: true,
            state: TaskState::Failed,
            reason: Reason::parse("low_storage"),
            detail: None,
            stage: None,
            progress_pct: None,
            attempts: 3,
            not_before: None,
            started_at: None,
            accepted_at: None,
            finished_at: None,
            error: Some("low_storage".into()),
            message: Some("12 MB left".into()),
            version_before: Some(3),
            installed_version: None,
        };
        assert_eq!(why(&row), "insufficient storage; 12 MB left");
        (row.state, row.reason, row.message) = (TaskState::Queued, Reason::parse("backoff"), None);
        assert_eq!(why(&row), "waiting to retry; insufficient storage");
        (row.reason, row.error) = (Reason::parse("low_battery"), None);
        row.detail = Some("battery 10 % < 40 %".into());
        assert_eq!(why(&row), "battery too low: battery 10 % < 40 %");
        row.state = TaskState::Confirming;
        assert_eq!(why(&row), "waiting for a heartbeat that shows the version");
        (row.state, row.stage, row.progress_pct) = (TaskState::Installing, Some(domain::deployment::Stage::Downloading), Some(40));
        assert_eq!(why(&row), "downloading, 40 %");
    }
}
