//! Deployments: list with progress, kill switch, live pages and creation.

mod create;
mod kill_switch;
mod list;
mod one;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::deployment::DeploymentState;

use crate::components::deployment_widgets::deployment_state_text;
use crate::components::{EmptyState, Glyph, PageHeader, RouteLink, icon};
use crate::context::use_session;
use crate::deployments_url::{DeploymentsUrl, NewDeploymentUrl};
use crate::navigation::use_title;
use crate::route::Route;

pub(crate) use create::NewDeployment;
use kill_switch::{BlockedNotice, KillSwitch};
use list::List;
pub(crate) use one::Deployment;

#[component]
pub(crate) fn Deployments(query: DeploymentsUrl) -> Element {
    use_title("Deployments");
    let session = use_session();
    if !session.may(Permission::ViewDeployments) {
        return rsx! { NotAllowed { title: "Deployments" } };
    }
    let all = DeploymentsUrl::default();
    rsx! {
        PageHeader { title: "Deployments", lead: "Rollouts of app versions to devices.",
            KillSwitch {}
            if session.may(Permission::ManageDeployments) {
                RouteLink { to: Route::NewDeployment { query: NewDeploymentUrl::default() }, class: "button primary", testid: "new-deployment", {icon(Glyph::Plus)} "New deployment" }
            }
        }
        BlockedNotice {}
        nav { class: "tabs settings-tabs", aria_label: "Deployments by state",
            RouteLink { to: Route::Deployments { query: all }, current: query.state.is_none(), testid: "state-all", "All" }
            for state in DeploymentState::ALL {
                RouteLink { key: "{state.as_str()}", to: Route::Deployments { query: DeploymentsUrl { state: Some(state) } }, current: query.state == Some(state), testid: "state-{state.as_str()}", {deployment_state_text(state)} }
            }
        }
        // Keyed, so that another state begins at its first page.
        for (key, query) in [(query.to_string(), query)] {
            List { key: "{key}", query }
        }
    }
}

#[component]
fn NotAllowed(title: String) -> Element {
    rsx! {
        PageHeader { title }
        section { class: "card",
            EmptyState { glyph: Glyph::Key, title: "Not for this role", text: "Your role does not allow this. Ask an admin of this server." }
        }
    }
}
