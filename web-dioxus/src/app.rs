//! Routing of pages to components, and the frame around every page.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dioxus::history::provide_history_context;
use dioxus::prelude::*;
use domain::access::Permission;

use crate::alert_counts::{AlertCounts, OpenAlerts};
use crate::alerts_url::AlertsUrl;
use crate::audit_url::AuditUrl;
use crate::commands_url::CommandsUrl;
use crate::components::{Glyph, RouteLink, icon};
use crate::context::{InitialPath, use_session};
use crate::deployments_url::{ApksUrl, DeploymentsUrl};
use crate::history::{Address, LiveHistory};
use crate::navigation::{PendingNavigation, Title};
use crate::pages::{
    AgentBuilds, Alert, AlertChannel, AlertChannels, AlertRoutes, AlertRule, AlertRules, AlertSilences, Alerts, Apks, Audit, Cluster,
    CommandBatch, Commands, DeletedDevices, Deployment, Deployments, Device, Devices, Enrollment, ImportDevices, NewDeployment, NotFound,
    Overview, Packages, Reports, Settings, Storage,
};
use crate::polling::use_polling;
use crate::reports_url::ReportsUrl;
use crate::route::{Route, Section};
use crate::storage_url::StorageUrl;
use crate::toasts::{ToastRegion, use_toasts_provider};
use crate::url_state::{DevicesUrl, EnrollmentUrl};

impl Routable for Route {
    // Only for lists of all pages, which do not exist here.
    const SITE_MAP: &'static [dioxus::router::routable::SiteMapSegment] = &[];

    fn render(&self, level: usize) -> Element {
        match level {
            0 => rsx! { Frame {} },
            1 => page(self.clone()),
            _ => VNode::empty(),
        }
    }
}

/// The component that shows a page.
fn page(route: Route) -> Element {
    match route {
        Route::Overview {} => rsx! { Overview {} },
        Route::Devices { query } => rsx! { Devices { query } },
        Route::DeletedDevices {} => rsx! { DeletedDevices {} },
        Route::ImportDevices {} => rsx! { ImportDevices {} },
        Route::Device { id, query } => rsx! { Device { id, query } },
        Route::Enrollment { query } => rsx! { Enrollment { query } },
        Route::Commands { query } => rsx! { Commands { query } },
        Route::CommandBatch { id, query } => rsx! { CommandBatch { id, query } },
        Route::Apks { query } => rsx! { Apks { query } },
        Route::Packages {} => rsx! { Packages {} },
        Route::Deployments { query } => rsx! { Deployments { query } },
        Route::NewDeployment { query } => rsx! { NewDeployment { query } },
        Route::Deployment { id, query } => rsx! { Deployment { id, query } },
        Route::AgentBuilds {} => rsx! { AgentBuilds {} },
        Route::Alerts { query } => rsx! { Alerts { query } },
        Route::Alert { id } => rsx! { Alert { id } },
        Route::AlertRules {} => rsx! { AlertRules {} },
        Route::AlertRule { rule } => rsx! { AlertRule { rule } },
        Route::AlertSilences {} => rsx! { AlertSilences {} },
        Route::AlertChannels {} => rsx! { AlertChannels {} },
        Route::AlertChannel { id, query } => rsx! { AlertChannel { id, query } },
        Route::AlertRoutes {} => rsx! { AlertRoutes {} },
        Route::Reports { query } => rsx! { Reports { query } },
        Route::Cluster {} => rsx! { Cluster {} },
        Route::Storage { query } => rsx! { Storage { query } },
        Route::Audit { query } => rsx! { Audit { query } },
        Route::Settings { section } => rsx! { Settings { section } },
        Route::NotFound { segments } => rsx! { NotFound { segments } },
    }
}

/// Root component of a live page.
pub(crate) fn app() -> Element {
    let address = use_signal(|| Address { path: consume_context::<InitialPath>().0, replace: true });
    let history = use_hook(|| {
        let history = Rc::new(LiveHistory::new(address));
        provide_history_context(history.clone());
        history
    });
    let title = use_signal(|| "NexMDM".to_owned());
    use_context_provider(|| Title(title));
    let open_alerts = use_signal(OpenAlerts::default);
    use_context_provider(|| ShownAlerts(open_alerts));
    let onward = use_signal(|| None);
    use_context_provider(|| PendingNavigation(onward));
    use_toasts_provider();
    let Address { path, replace } = address();
    let title = open_alerts().in_title(&title());
    rsx! {
        div {
            id: "live-ctl", hidden: true,
            "data-path": path, "data-mode": if replace { "replace" } else { "push" }, "data-title": "{title} - NexMDM",
        }
        input { id: "live-nav", hidden: true, aria_hidden: "true", tabindex: "-1", oninput: move |event| history.moved(event.value()) }
        ErrorBoundary {
            handle_error: |errors: ErrorContext| {
                tracing::error!(event = "dashboard.page_failed", error = ?errors.error());
                rsx! {
                    main { class: "content",
                        h1 { "This page failed" }
                        p { "See the server log. " a { href: "/", "Load the overview" } }
                    }
                }
            },
            Router::<Route> {}
        }
        ToastRegion {}
    }
}

/// Navigation, account, and the page.
#[component]
fn Frame() -> Element {
    let session = use_session();
    let route = use_route::<Route>();
    let navigator = use_navigator();
    let PendingNavigation(mut onward) = use_context();
    use_effect(move || {
        if let Some(to) = onward() {
            onward.set(None);
            navigator.push(to);
        }
    });
    let audits = use_session().may(Permission::ViewAudit);
    let on_devices = matches!(route, Route::Devices { .. } | Route::Device { .. } | Route::DeletedDevices {} | Route::ImportDevices {});
    let on_apks = matches!(route, Route::Apks { .. } | Route::Packages {});
    let on_deployments = matches!(route, Route::Deployments { .. } | Route::NewDeployment { .. } | Route::Deployment { .. });
    rsx! {
        a { class: "skip", href: "#content", "Skip to content" }
        div { class: "frame",
            header { class: "side",
                RouteLink { to: Route::Overview {}, class: "brand",
                    img { src: "/favicon.svg", alt: "", width: "24", height: "24" }
                    span { "NexMDM" }
                }
                // Only shown on small screens; the script opens and closes the navigation.
                button { class: "nav-toggle", r#type: "button", "data-nav-toggle": "1", aria_expanded: "false", aria_controls: "nav",
                    {icon(Glyph::Menu)} "Menu"
                }
                nav { id: "nav", class: "nav", aria_label: "Main",
                    RouteLink { to: Route::Overview {}, current: route == Route::Overview {},
                        {icon(Glyph::Overview)} span { "Overview" }
                    }
                    RouteLink { to: Route::Devices { query: DevicesUrl::default() }, current: on_devices,
                        {icon(Glyph::Device)} span { "Devices" }
                    }
                    if session.may(Permission::ViewCommands) {
                        RouteLink { to: Route::Commands { query: CommandsUrl::default() }, current: matches!(route, Route::Commands { .. } | Route::CommandBatch { .. }),
                            {icon(Glyph::Terminal)} span { "Commands" }
                        }
                    }
                    if session.may(Permission::ViewAlerts) {
                        RouteLink { to: Route::Alerts { query: AlertsUrl::default() }, current: route.is_about_alerts(), testid: "nav-alerts",
                            {icon(Glyph::Bell)} span { "Alerts" } AlertCount {}
                        }
                    }
                    if session.may(Permission::ViewDeployments) {
                        RouteLink { to: Route::Apks { query: ApksUrl::default() }, current: on_apks, testid: "nav-apks",
                            {icon(Glyph::Package)} span { "Apps" }
                        }
                        RouteLink { to: Route::Deployments { query: DeploymentsUrl::default() }, current: on_deployments, testid: "nav-deployments",
                            {icon(Glyph::Upload)} span { "Deployments" }
                        }
                        RouteLink { to: Route::AgentBuilds {}, current: route == Route::AgentBuilds {}, testid: "nav-agent-updates",
                            {icon(Glyph::Refresh)} span { "Agent updates" }
                        }
                    }
                    RouteLink { to: Route::Reports { query: ReportsUrl::default() }, current: matches!(route, Route::Reports { .. }), testid: "nav-reports",
                        {icon(Glyph::Chart)} span { "Reports" }
                    }
                    RouteLink { to: Route::Enrollment { query: EnrollmentUrl::default() }, current: matches!(route, Route::Enrollment { .. }),
                        {icon(Glyph::Key)} span { "Enrollment" }
                    }
                    RouteLink { to: Route::Cluster {}, current: route == Route::Cluster {},
                        {icon(Glyph::Cluster)} span { "Cluster" }
                    }
                    RouteLink { to: Route::Storage { query: StorageUrl::default() }, current: matches!(route, Route::Storage { .. }), testid: "nav-storage",
                        {icon(Glyph::Storage)} span { "Storage" }
                    }
                    if audits {
                        RouteLink { to: Route::Audit { query: AuditUrl::default() }, current: matches!(route, Route::Audit { .. }), testid: "nav-audit",
                            {icon(Glyph::List)} span { "Audit" }
                        }
                    }
                    RouteLink { to: Route::settings(Section::Profile), current: matches!(route, Route::Settings { .. }), class: "nav-last",
                        {icon(Glyph::Settings)} span { "Settings" }
                    }
                }
                Account {}
            }
            main { id: "content", class: "content", tabindex: "-1", Outlet::<Route> {} }
        }
    }
}

/// Number of open alerts, as title and navigation show it.
#[derive(Clone, Copy)]
struct ShownAlerts(Signal<OpenAlerts>);

/// How often the number of open alerts is read again.
const ALERTS_INTERVAL: Duration = Duration::from_secs(3);

/// The number of open alerts behind the link to them, if there are any.
#[component]
fn AlertCount() -> Element {
    let session = use_session();
    let ShownAlerts(mut shown) = use_context();
    let counts = use_polling((), ALERTS_INTERVAL, move |system, principal, ()| {
        let shared = Arc::clone(&session.alert_counts);
        async move { AlertCounts::get(shared, async { Ok(OpenAlerts::of(&system.alerts.counts(&principal).await?)) }).await }
    });
    let read = counts.read().value.map(|counts| *counts);
    use_effect(use_reactive((&read,), move |(read,)| {
        if let Some(read) = read
            && *shown.peek() != read
        {
            shown.set(read);
        }
    }));
    let open = shown();
    if open.firing == 0 {
        return rsx! {};
    }
    rsx! {
        span { class: if open.critical > 0 { "nav-count bad" } else { "nav-count" }, "data-testid": "open-alerts", aria_hidden: "true", {open.label()} }
        span { class: "visually-hidden", ", {open.label()} open" }
    }
}

/// Signed-in account, theme switch and sign-out.
#[component]
fn Account() -> Element {
    let session = use_session();
    let (name, role) = (session.principal.username(), session.principal.role().as_str());
    rsx! {
        details { class: "account", "data-menu": "1",
            summary {
                span { class: "avatar", aria_hidden: "true", {name.chars().next().unwrap_or('?').to_uppercase().to_string()} }
                span { class: "account-name", span { "data-testid": "current-user", "{name}" } span { class: "muted", "data-testid": "current-role", "{role}" } }
                {icon(Glyph::ChevronUp)}
            }
            div { class: "menu",
                div { class: "menu-who", strong { "{name}" } span { class: "muted", "{role}" } }
                RouteLink { to: Route::settings(Section::Profile), class: "menu-item", {icon(Glyph::User)} "Your profile" }
                div { class: "theme", role: "group", aria_label: "Theme",
                    button { r#type: "button", "data-theme-set": "system", {icon(Glyph::Monitor)} "System" }
                    button { r#type: "button", "data-theme-set": "light", {icon(Glyph::Sun)} "Light" }
                    button { r#type: "button", "data-theme-set": "dark", {icon(Glyph::Moon)} "Dark" }
                }
                form { method: "post", action: "/logout",
                    button { class: "menu-item", "data-testid": "sign-out", {icon(Glyph::Logout)} "Sign out" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
