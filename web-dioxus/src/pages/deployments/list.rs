//! Deployments, newest first, each with how far it got.

use std::time::Duration;

use dioxus::prelude::*;
use domain::Timestamp;
use domain::access::Permission;
use domain::deployment::{DeploymentQuery, DeploymentState};
use services::{DeploymentCursor, DeploymentDetails};

use crate::components::deployment_widgets::{
    deployment_badge, deployment_bar, deployment_counts, devices, installed_text, open, poll_interval, problem_texts,
};
use crate::components::{EmptyState, Glyph, Pager, Problem, RouteLink, Skeleton, time_ago};
use crate::context::use_session;
use crate::deployments_url::{ApksUrl, DeploymentsUrl};
use crate::format;
use crate::polling::use_paced_polling;
use crate::route::Route;

/// Deployments of a page.
const PAGE: i64 = 20;
/// How often the list is read at most: every look counts the devices of all of its deployments.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A page of deployments, and where the next one begins.
type Page = (Vec<DeploymentDetails>, Option<DeploymentCursor>);

#[component]
pub(super) fn List(query: DeploymentsUrl) -> Element {
    let session = use_session();
    let mut before = use_signal(Vec::<DeploymentCursor>::new);
    let after = before.read().last().copied();
    let list = use_paced_polling(
        (query, after),
        |(rows, _): &Page| poll_interval(rows.iter().any(|details| details.deployment.finished_at.is_none())).max(POLL_INTERVAL),
        |system, principal, (query, after): (DeploymentsUrl, _)| async move {
            let query = DeploymentQuery { state: query.state, ..DeploymentQuery::default() };
            system.deployments.list(&principal, &query, after, Some(PAGE)).await
        },
    );
    let reading = list.read();
    let now = session.clock.now();
    rsx! {
        section { class: "card", aria_labelledby: "deployments-title", aria_busy: reading.loading.to_string(),
            h2 { id: "deployments-title", class: "visually-hidden", "Deployments" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((rows, _)) if rows.is_empty() && before.read().is_empty() => rsx! {
                    if query.state.is_some() {
                        EmptyState { glyph: Glyph::Search, title: "No deployments in this state", text: "Choose another state, or show all deployments.",
                            RouteLink { to: Route::Deployments { query: DeploymentsUrl::default() }, class: "button primary", "Show all" }
                        }
                    } else {
                        EmptyState { glyph: Glyph::Package, title: "No deployments yet", text: "Choose an app version and deploy it: to a canary first, then to the rest. Its progress appears here.",
                            if session.may(Permission::ManageDeployments) {
                                RouteLink { to: Route::Apks { query: ApksUrl::default() }, class: "button primary", "Choose an app" }
                            }
                        }
                    }
                },
                Some((rows, next)) => {
                    let next = *next;
                    rsx! {
                        ul { class: "batches", aria_label: "Deployments",
                            for details in rows.iter() {
                                DeploymentRow { key: "{details.deployment.id}", details: details.clone(), now }
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
fn DeploymentRow(details: DeploymentDetails, now: Timestamp) -> Element {
    let row = &details.deployment;
    let unfinished = row.finished_at.is_none();
    let phase = match row.phase {
        domain::deployment::Phase::Canary => "canary",
        domain::deployment::Phase::Rollout => "rollout",
    };
    rsx! {
        li { class: "batch-row", "data-testid": "deployment-row", "data-id": "{row.id}", "data-state": row.state.as_str(), "data-open": "{open(&details)}",
            div { class: "batch-head",
                RouteLink { to: Route::deployment(row.id), class: "batch-link truncate", strong { "{row.name}" } }
                {deployment_badge(&details)}
                if unfinished {
                    span { class: "muted deployment-phase", "{phase}, {installed_text(&details)}" }
                }
                span { class: "batch-when muted", "{row.created_by}, " {time_ago(row.created_at, &format::relative(now, row.created_at))} }
            }
            p { class: "muted deployment-what", "{row.package} {row.version_name} ({row.version_code}) to {devices(row.devices.unsigned_abs() as usize)}" }
            {deployment_bar(&details)}
            {deployment_counts(&details)}
            if let Some(first) = problem_texts(&details.problems).first().filter(|_| row.state == DeploymentState::Finished) {
                p { class: "muted deployment-what", "data-testid": "main-problem", "Mostly {first}" }
            }
        }
    }
}
