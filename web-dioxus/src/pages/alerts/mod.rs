//! Alerts: what is open, what was, the rules behind it, silences, and the channels that are notified.

mod acknowledge;
mod channel;
mod channel_actions;
mod channel_form;
mod channels;
mod filters;
mod groups;
mod list;
mod matcher_form;
mod one;
mod preview;
mod remediation;
mod route_form;
mod routes;
mod rule;
mod rule_form;
mod rules;
mod runbook;
mod silence;
mod silences;
mod subscriptions;
mod together;
mod windows;

use dioxus::prelude::*;
use domain::access::{Permission, Principal};
use domain::alert::{AlertGrouping, AlertState};

use crate::alerts_url::AlertsUrl;
use crate::components::{EmptyState, Glyph, PageHeader, RouteLink, icon};
use crate::context::use_session;
use crate::navigation::use_title;
use crate::route::Route;

pub(crate) use channel::AlertChannel;
pub(crate) use channels::AlertChannels;
use filters::Filters;
use groups::Groups;
use list::List;
pub(crate) use one::Alert;
pub(crate) use routes::AlertRoutes;
pub(crate) use rule::AlertRule;
pub(crate) use rules::AlertRules;
pub(crate) use silences::AlertSilences;
use together::TogetherRows;

/// A page about alerts, in the order of the tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Alerts,
    Rules,
    Silences,
    Channels,
    Routes,
}

impl Tab {
    const ALL: [Self; 5] = [Self::Alerts, Self::Rules, Self::Silences, Self::Channels, Self::Routes];

    fn title(self) -> &'static str {
        match self {
            Self::Alerts => "Alerts",
            Self::Rules => "Rules",
            Self::Silences => "Silences",
            Self::Channels => "Channels",
            Self::Routes => "Routes",
        }
    }

    fn lead(self) -> &'static str {
        match self {
            Self::Alerts => "Conditions that need somebody's attention, and who looks after them.",
            Self::Rules => "The conditions that raise alerts, and their thresholds.",
            Self::Silences => "Times without notifications. Alerts are recorded all the same.",
            Self::Channels => "Where notifications are sent, and whether they arrived.",
            Self::Routes => "Which alerts lead to which channel, and when.",
        }
    }

    fn route(self) -> Route {
        match self {
            Self::Alerts => Route::Alerts { query: AlertsUrl::default() },
            Self::Rules => Route::AlertRules {},
            Self::Silences => Route::AlertSilences {},
            Self::Channels => Route::AlertChannels {},
            Self::Routes => Route::AlertRoutes {},
        }
    }

    /// Whether someone may see it at all. The services decide about everything in it.
    fn open_to(self, principal: &Principal) -> bool {
        match self {
            Self::Alerts | Self::Rules | Self::Silences => principal.may(Permission::ViewAlerts),
            Self::Channels | Self::Routes => principal.may(Permission::ManageAlertChannels),
        }
    }
}

/// Header and tabs of a page about alerts; what it shows to those who may see it is below.
#[component]
fn Frame(tab: Tab, actions: Option<Element>, children: Element) -> Element {
    use_title(tab.title());
    let session = use_session();
    let open = tab.open_to(&session.principal);
    rsx! {
        PageHeader { title: tab.title(), lead: tab.lead(), if open { {actions} } }
        nav { class: "tabs settings-tabs", aria_label: "Alerts",
            for other in Tab::ALL.into_iter().filter(|tab| tab.open_to(&session.principal)) {
                RouteLink { key: "{other.title()}", to: other.route(), current: other == tab, testid: "tab-{other.title().to_lowercase()}", {other.title()} }
            }
        }
        if open {
            {children}
        } else {
            NotAllowed {}
        }
    }
}

#[component]
fn NotAllowed() -> Element {
    rsx! {
        section { class: "card",
            EmptyState { glyph: Glyph::Key, title: "Not for this role", text: "Your role does not allow this. Ask an admin of this server." }
        }
    }
}

/// Title of the list of alerts in a state.
fn list_title(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "Open",
        AlertState::Acknowledged => "Acknowledged",
        AlertState::Resolved => "History",
    }
}

#[component]
pub(crate) fn Alerts(query: AlertsUrl) -> Element {
    let export = Route::Alerts { query: query.clone() }.to_string().replacen("/alerts", "/export/alerts.csv", 1);
    let actions = rsx! {
        a { class: "button", href: export, download: "alerts.csv", "data-testid": "export-alerts", {icon(Glyph::Download)} "Download CSV" }
    };
    // What is put together knows no single device, group or tag.
    let together = |by| AlertsUrl { by: Some(by), group: None, tag: None, device: None, ..query.clone() };
    let one_by_one = AlertsUrl { by: None, ..query.clone() };
    rsx! {
        Frame { tab: Tab::Alerts, actions,
            div { class: "alert-views",
                nav { class: "tabs", aria_label: "Alerts by state",
                    for state in AlertState::ALL {
                        RouteLink { key: "{state.as_str()}", to: Route::Alerts { query: AlertsUrl { state, by: query.by.filter(|_| state.is_open()), ..query.clone() } }, current: state == query.state, testid: "state-{state.as_str()}", {list_title(state)} }
                    }
                }
                if query.state.is_open() {
                    nav { class: "tabs", aria_label: "Arrangement",
                        RouteLink { to: Route::Alerts { query: one_by_one }, current: query.by.is_none(), testid: "as-list", "List" }
                        for by in AlertGrouping::ALL {
                            RouteLink { key: "{by.as_str()}", to: Route::Alerts { query: together(by) }, current: query.by == Some(by), testid: "by-{by.as_str()}", "By {by.as_str()}" }
                        }
                    }
                }
            }
            // Keyed, so that another list begins at its first page, and without a selection.
            for (key, query) in [(query.to_string(), query)] {
                section { key: "{key}", class: "card", aria_labelledby: "alerts-title",
                    h2 { id: "alerts-title", class: "visually-hidden", {list_title(query.state)} }
                    Filters { query: query.clone() }
                    match query.by {
                        None => rsx! { List { query: query.clone() } },
                        Some(AlertGrouping::Rule) => rsx! { Groups { query: query.clone() } },
                        Some(by) => rsx! { TogetherRows { query: query.clone(), by } },
                    }
                }
            }
        }
    }
}
