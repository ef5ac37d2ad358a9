//! Live page of a deployment: canary, rate, progress and devices.

mod controls;
mod events;
mod progress;
mod tasks;

use dioxus::prelude::*;
use domain::DeploymentId;
use domain::access::Permission;
use domain::deployment::{ConflictRule, DeploymentState, Options, TaskState, option_specs};
use domain::param::{ParamKind, ParamSpec, ParamValue};
use services::DeploymentDetails;

use super::NotAllowed;
use crate::components::deployment_widgets::{
    blocked_text, deployment_badge, deployment_bar, devices, installed_text, open, pause_text, poll_interval, problem_texts, target_text,
    task_state_text, unsigned,
};
use crate::components::{EmptyState, Glyph, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::deployments_url::{ApksUrl, DeploymentUrl, DeploymentsUrl};
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_paced_polling;
use crate::route::Route;
use controls::{Controls, RollbackOfferLine};
use events::Events;
use progress::DeploymentProgress;
use tasks::Tasks;

/// Problems that are named; all of them are in the table of devices.
const PROBLEMS_MAX: usize = 4;

#[component]
pub(crate) fn Deployment(id: String, query: DeploymentUrl) -> Element {
    let session = use_session();
    if !session.may(Permission::ViewDeployments) {
        return rsx! { NotAllowed { title: "Deployment" } };
    }
    match id.parse::<DeploymentId>() {
        // Keyed, so that another deployment gets a page of its own.
        Ok(id) => rsx! { for id in [id] { Live { key: "{id}", id, query } } },
        Err(_) => rsx! { NoSuchDeployment {} },
    }
}

#[component]
fn NoSuchDeployment() -> Element {
    use_title("No such deployment");
    rsx! {
        h1 { class: "visually-hidden", tabindex: "-1", "No such deployment" }
        EmptyState { glyph: Glyph::Search, title: "There is no such deployment", text: "The deployment may have been removed after its retention period, or the address is incomplete.",
            RouteLink { to: Route::Deployments { query: DeploymentsUrl::default() }, class: "button primary", "Go to the deployments" }
        }
    }
}

#[component]
fn Live(id: DeploymentId, query: DeploymentUrl) -> Element {
    let one = use_paced_polling(
        id,
        |details: &Option<DeploymentDetails>| {
            poll_interval(details.as_ref().is_some_and(|details| details.deployment.finished_at.is_none()))
        },
        |system, principal, id| async move {
            match system.deployments.one(&principal, id).await {
                Ok(details) => Ok(Some(details)),
                Err(domain::ServiceError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        },
    );
    let reading = one.read();
    match reading.value.as_deref() {
        Some(None) => rsx! { NoSuchDeployment {} },
        Some(Some(details)) => rsx! {
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| one.again() }
            }
            Page { details: details.clone(), query, onchange: move |()| one.again() }
        },
        None => rsx! {
            h1 { tabindex: "-1", "Deployment" }
            match &reading.problem {
                Some(problem) => rsx! { Problem { text: problem.clone(), onretry: move |()| one.again() } },
                None => rsx! { section { class: "card", Skeleton {} } },
            }
        },
    }
}

#[component]
fn Page(details: DeploymentDetails, query: DeploymentUrl, onchange: EventHandler<()>) -> Element {
    let session = use_session();
    let manages = session.may(Permission::ManageDeployments);
    let row = &details.deployment;
    use_title(&row.name);
    let now = session.clock.now();
    let id = row.id;
    let unfinished = row.finished_at.is_none();
    let version = format!("{} {} ({})", row.package, row.version_name, row.version_code);
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: Route::Deployments { query: DeploymentsUrl::default() }, "Deployments" } span { aria_hidden: "true", "/" } span { class: "truncate", "{row.name}" } }
        header { class: "page-header",
            div {
                div { class: "title-line",
                    h1 { tabindex: "-1", "data-testid": "deployment-title", "{row.name}" }
                    {deployment_badge(&details)}
                }
                p { class: "lead batch-lead",
                    RouteLink { to: Route::Apks { query: ApksUrl { package: Some(row.package.clone()) } }, "{version}" }
                    span { "to {devices(row.devices.unsigned_abs() as usize)}, {target_text(&row.target)}" }
                    span { "{row.created_by}, " {time_ago(row.created_at, &format::relative(now, row.created_at))} }
                    match row.finished_at {
                        Some(at) => rsx! { span { "finished " {time_ago(at, &format::relative(now, at))} } },
                        None => rsx! { span { "deadline " {time_ago(row.expires_at, &format::relative(now, row.expires_at))} } },
                    }
                    if let Some(of) = row.rolls_back {
                        RouteLink { to: Route::deployment(of), testid: "rolls-back", "Rollback of another deployment" }
                    }
                }
            }
            div { class: "page-actions",
                a { class: "button", href: "/export/deployments/{id}.csv", download: "deployment.csv", "data-testid": "deployment-csv", {icon(Glyph::Download)} "CSV" }
                if manages {
                    Controls { details: details.clone(), onchange }
                }
            }
        }
        if let Some(blocked) = details.blocked.filter(|_| unfinished) {
            p { class: "notice bad", role: "status", "data-testid": "blocked", {icon(Glyph::Alert)}
                span { "{blocked_text(blocked)}" }
                RouteLink { to: Route::Deployments { query: DeploymentsUrl::default() }, class: "button small", "Deployment controls" }
            }
        }
        if let Some(reason) = row.pause_reason {
            p { class: "notice warn", role: "status", "data-testid": "pause-reason", {icon(Glyph::Alert)}
                span {
                    "{pause_text(reason)}"
                    if let Some(at) = row.paused_at { " Paused " {time_ago(at, &format::relative(now, at))} "." }
                }
            }
        }
        if row.state == DeploymentState::Canceled {
            p { class: "notice", role: "status", "data-testid": "canceled-by", {icon(Glyph::Close)}
                span { "Canceled by {row.canceled_by.as_deref().unwrap_or(\"the server\")}." if unfinished { " Installs in progress are left to finish." } }
            }
        }
        if !details.problems.is_empty() && row.state == DeploymentState::Finished {
            div { class: "notice warn", role: "status", "data-testid": "problems", {icon(Glyph::Alert)}
                ul { aria_label: "Devices without the version",
                    for text in problem_texts(&details.problems).into_iter().take(PROBLEMS_MAX) {
                        li { key: "{text}", "{text}" }
                    }
                }
            }
        }
        RollbackOfferLine { details: details.clone() }
        DeploymentProgress { details: details.clone() }
        section { class: "card", aria_labelledby: "progress-title", "data-testid": "deployment-progress", "data-open": "{open(&details)}",
            div { class: "card-head",
                h2 { id: "progress-title", "Progress" }
                span { class: "batch-percent", role: "status", "data-testid": "deployment-percent", "{installed_text(&details)}" }
            }
            {deployment_bar(&details)}
            ul { class: "batch-states task-states",
                for state in TaskState::ALL {
                    li { key: "{state.as_str()}", "data-testid": "count-{state.as_str()}",
                        RouteLink { to: Route::Deployment { id: id.to_string(), query: DeploymentUrl { state: Some(state).filter(|_| query.state != Some(state)), reason: None } }, current: query.state == Some(state),
                            span { class: "state-mark task-{state.as_str()}", aria_hidden: "true" }
                            span { {task_state_text(state)} }
                            strong { {format::number(unsigned(details.count(state)))} }
                        }
                    }
                }
            }
        }
        Tasks { id, query, unfinished }
        div { class: "columns deployment-lower",
            Events { id, unfinished }
            OptionsCard { options: row.options.clone(), conflict: row.conflict }
        }
    }
}

/// Options of the deployment.
#[component]
fn OptionsCard(options: Options, conflict: ConflictRule) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "options-title", "data-testid": "deployment-options",
            h2 { id: "options-title", "Options" }
            dl { class: "plan",
                for (name, value) in option_lines(&options, conflict) {
                    div { key: "{name}", dt { "{name}" } dd { "{value}" } }
                }
            }
        }
    }
}

/// Every option with its value as text.
pub(super) fn option_lines(options: &Options, conflict: ConflictRule) -> Vec<(&'static str, String)> {
    // Those of several values have a line for all of them.
    let single = option_specs().filter(|spec| !spec.param.name.starts_with("window.") && !spec.param.name.starts_with("restart_intent."));
    let mut lines: Vec<_> = single.filter_map(|spec| Some((spec.param.label, option_text(&spec.param, &spec.value(options)?)))).collect();
    lines.extend([
        ("Maintenance window", options.window.as_ref().map_or_else(|| "any time".to_owned(), ToString::to_string)),
        ("Restart intent", options.restart_intent.as_ref().map_or_else(|| "none".to_owned(), |intent| intent.action.clone())),
        (
            "Older deployments",
            match conflict {
                ConflictRule::Wait => "queue behind older".to_owned(),
                ConflictRule::Supersede => "supersede older".to_owned(),
            },
        ),
    ]);
    lines
}

/// Value of an option as text, in its unit.
fn option_text(param: &ParamSpec, value: &ParamValue) -> String {
    match (value, param.unit) {
        (ParamValue::Flag(on), _) => if *on { "yes" } else { "no" }.to_owned(),
        (ParamValue::Integer(0), _) if !param.zero.is_empty() => param.zero.to_owned(),
        (ParamValue::Integer(number), "%") => format!("{number} %"),
        (ParamValue::Integer(seconds), "s") => format::duration(*seconds),
        (ParamValue::Integer(minutes), "min") => format::duration(minutes * 60),
        (ParamValue::Integer(hours), "h") => format::duration(hours * 3600),
        (ParamValue::Integer(mebibytes), "MB") => format::mebibytes(*mebibytes),
        (ParamValue::Integer(number), _) => format::number(number.unsigned_abs()),
        (ParamValue::Text(name), _) => match param.kind {
            ParamKind::Choice(choices) => choices.iter().find(|(choice, _)| choice == name).map_or("", |(_, label)| *label).to_lowercase(),
            _ => name.clone(),
        },
        (ParamValue::Texts(texts), _) => texts.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_words_and_each_once() {
        let lines = option_lines(&Options::conservative(500), ConflictRule::Wait);
        let value = |wanted: &str| lines.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(value("Canary size"), Some("5"));
        assert_eq!(value("Max installs/min"), Some("10"));
        assert_eq!(value("Deadline"), Some("7 d"));
        assert_eq!(value("Minimum battery"), Some("40 %"));
        assert_eq!(value("Minimum free storage"), Some("any"));
        assert_eq!(value("Evaluation timeout"), Some("1 h"));
        assert_eq!(value("Wi-Fi or Ethernet"), Some("yes"));
        assert_eq!(value("Unmet requirements"), Some("wait until the deadline"));
        let mut names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), lines.len());
    }
}
