//! Events of a deployment, newest first.

use dioxus::prelude::*;
use domain::deployment::DeploymentEvent;
use domain::{DeploymentId, Timestamp};

use crate::components::deployment_widgets::{event_detail, event_text, poll_interval};
use crate::components::{Pager, Problem, RouteLink, Skeleton, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_paced_polling;
use crate::route::Route;

/// Events of a page.
const PAGE: i64 = 20;

#[component]
pub(super) fn Events(id: DeploymentId, unfinished: bool) -> Element {
    let mut before = use_signal(Vec::<i64>::new);
    let after = before.read().last().copied();
    let list = use_paced_polling(
        (id, unfinished, after),
        move |_: &(Vec<DeploymentEvent>, Option<i64>)| poll_interval(unfinished) * 2,
        |system, principal, (id, _, after): (_, bool, _)| async move { system.deployments.events(&principal, id, after, Some(PAGE)).await },
    );
    let reading = list.read();
    let now = use_session().clock.now();
    rsx! {
        section { class: "card", aria_labelledby: "events-title", aria_busy: reading.loading.to_string(), "data-testid": "deployment-events",
            h2 { id: "events-title", "Events" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((rows, _)) if rows.is_empty() => rsx! { p { class: "muted", "No events yet." } },
                Some((rows, next)) => {
                    let next = *next;
                    rsx! {
                        ol { class: "deployment-events",
                            for row in rows.iter() {
                                EventRow { key: "{row.id}", row: row.clone(), now }
                            }
                        }
                        Pager { page: before.read().len(), more: next.is_some(),
                            onnewer: move |()| { before.write().pop(); },
                            onolder: move |()| before.write().extend(next),
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

#[component]
fn EventRow(row: DeploymentEvent, now: Timestamp) -> Element {
    let detail = event_detail(&row.detail);
    rsx! {
        li { "data-testid": "deployment-event", "data-kind": row.kind.clone(),
            span { class: "event-what",
                strong { "{event_text(&row.kind)}" }
                if let Some(device) = row.device_id {
                    RouteLink { to: Route::device(device), "View device" }
                }
                if let Some(by) = &row.by_whom { span { class: "muted", "by {by}" } }
            }
            if !detail.is_empty() { span { class: "muted event-detail", "{detail}" } }
            span { class: "muted event-when", {time_ago(row.at, &format::relative(now, row.at))} }
        }
    }
}
