//! Batches, newest first, each with how far it got.

use dioxus::prelude::*;
use domain::access::Permission;
use domain::{CommandBatchId, Timestamp};
use services::BatchDetails;

use crate::components::command_widgets::{action_named, batch_bar, batch_counts, poll_interval, succeeded_text};
use crate::components::param_words::params_line;
use crate::components::{EmptyState, Glyph, Pager, Problem, RouteLink, Skeleton, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_paced_polling;
use crate::route::Route;
use crate::url_state::DevicesUrl;

/// Batches of a page.
const PAGE: i64 = 20;

/// A page of batches, and where the next one begins.
type Page = (Vec<BatchDetails>, Option<(Timestamp, CommandBatchId)>);

#[component]
pub(super) fn Batches() -> Element {
    let session = use_session();
    let mut before = use_signal(Vec::new);
    let after = before.read().last().copied();
    let list = use_paced_polling(
        after,
        |(batches, _): &Page| poll_interval(batches.iter().any(|batch| batch.open() > 0)),
        |system, principal, after| async move { system.commands.batches(&principal, after, Some(PAGE)).await },
    );
    let reading = list.read();
    let now = session.clock.now();
    rsx! {
        section { class: "card", aria_labelledby: "batches-title", aria_busy: reading.loading.to_string(),
            h2 { id: "batches-title", class: "visually-hidden", "Batches" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((batches, _)) if batches.is_empty() && before.read().is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Terminal, title: "No batches yet", text: "Select devices in the table, or all that match a filter, and send them a command. Its progress appears here.",
                        if session.may(Permission::SendCommands) {
                            RouteLink { to: Route::Devices { query: DevicesUrl::default() }, class: "button primary", "Select devices" }
                        }
                    }
                },
                Some((batches, next)) => {
                    let next = *next;
                    rsx! {
                        ul { class: "batches", aria_label: "Batches",
                            for details in batches.iter() {
                                BatchRow { key: "{details.batch.id}", details: details.clone(), now }
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
fn BatchRow(details: BatchDetails, now: Timestamp) -> Element {
    let batch = &details.batch;
    let params = params_line(&batch.action, &batch.params);
    let open = details.open() > 0;
    rsx! {
        li { class: "batch-row", "data-testid": "batch-row", "data-id": "{batch.id}", "data-open": open.to_string(),
            div { class: "batch-head",
                RouteLink { to: Route::batch(batch.id), class: "batch-link",
                    strong { "{action_named(&batch.action)}" }
                    span { " to {format::count(batch.devices.unsigned_abs() as usize, \"device\", \"devices\")}" }
                }
                if !params.is_empty() { span { class: "muted truncate", "{params}" } }
                match (batch.canceled_at, open) {
                    (Some(_), _) => rsx! { span { class: "badge", "Canceled" } },
                    (None, true) => rsx! { span { class: "badge info", "{succeeded_text(&details)}" } },
                    (None, false) => rsx! {},
                }
                span { class: "batch-when muted", "{batch.created_by}, " {time_ago(batch.created_at, &format::relative(now, batch.created_at))} }
            }
            {batch_bar(&details)}
            {batch_counts(&details)}
        }
    }
}
