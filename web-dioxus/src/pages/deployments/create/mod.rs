//! Creation of a deployment: form, preview and confirmation.

mod draft;
mod fields;
mod plan;
mod target;

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::ServiceError;
use domain::access::Permission;
use domain::apk::Apk;
use domain::saved_filter::SavedFilter;
use domain::{ApkId, Invalid};
use services::{DEPLOYMENT_NAME_MAX_CHARS, DeploymentPlan, DeploymentRequest};

use super::NotAllowed;
use crate::components::deployment_widgets::devices as devices_text;
use crate::components::form::Field;
use crate::components::{Confirm, EmptyState, Glyph, PageHeader, Problem, RouteLink, Skeleton, icon};
use crate::context::{explain, use_session};
use crate::deployments_url::{ApksUrl, DeploymentsUrl, NewDeploymentUrl};
use crate::field_labels::{field_name, labeled};
use crate::format;
use crate::navigation::{PendingNavigation, use_title};
use crate::polling::use_polling;
use crate::route::Route;
use crate::selection::Selection;
use crate::toasts::use_toasts;
use crate::url_state::DevicesUrl;
use draft::{Draft, Problems, field};
use fields::{ConflictField, Form, Line, OptionFields};
use plan::Plan;
use target::{Kind, scope};

/// Poll interval of the choices.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// APKs to choose from.
const APKS_MAX: i64 = 200;

/// Preview: the request and its plan.
#[derive(Clone, PartialEq)]
struct Planned {
    draft: Draft,
    request: Rc<DeploymentRequest>,
    plan: Rc<DeploymentPlan>,
}

#[component]
pub(crate) fn NewDeployment(query: NewDeploymentUrl) -> Element {
    use_title("New deployment");
    let session = use_session();
    if !session.may(Permission::ManageDeployments) {
        return rsx! { NotAllowed { title: "New deployment" } };
    }
    // Keyed, so that another choice begins anew.
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: Route::Deployments { query: DeploymentsUrl::default() }, "Deployments" } span { aria_hidden: "true", "/" } span { "New" } }
        PageHeader { title: "New deployment", lead: "Installs an app version on devices: on a canary first, then on the rest." }
        for (key, query) in [(query.to_string(), query)] {
            Choices { key: "{key}", query }
        }
    }
}

/// Loads the choices of the form.
#[component]
fn Choices(query: NewDeploymentUrl) -> Element {
    let wanted = query.apk;
    let lists = use_polling(wanted, POLL_INTERVAL, |system, principal, wanted: Option<ApkId>| async move {
        let (mut apks, _) = system.apks.apks(&principal, None, None, Some(APKS_MAX)).await?;
        if let Some(wanted) = wanted.filter(|wanted| !apks.iter().any(|apk| apk.id == *wanted)) {
            match system.apks.apk(&principal, wanted).await {
                Ok((row, _)) if row.deleted_at.is_none() => apks.push(row),
                Ok(_) | Err(ServiceError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let filters = system.filters.list(&principal).await?;
        Ok((std::sync::Arc::new(apks), std::sync::Arc::new(filters)))
    });
    let reading = lists.read();
    match (reading.value.as_deref(), &reading.problem) {
        (Some((apks, _)), _) if apks.is_empty() => rsx! {
            section { class: "card",
                EmptyState { glyph: Glyph::Package, title: "No app to deploy yet", text: "Upload the APK of an app first.",
                    RouteLink { to: Route::Apks { query: ApksUrl::default() }, class: "button primary", "Go to the apps" }
                }
            }
        },
        (Some((apks, filters)), _) => rsx! { Compose { query, apks: apks.to_vec(), filters: filters.to_vec() } },
        (None, Some(problem)) => rsx! { Problem { text: problem.clone(), onretry: move |()| lists.again() } },
        (None, None) => rsx! { section { class: "card", Skeleton {} } },
    }
}

#[component]
fn Compose(query: NewDeploymentUrl, apks: Vec<Apk>, filters: Vec<SavedFilter>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let chosen = use_hook(|| query.devices.clone());
    let first = query.apk.filter(|id| apks.iter().any(|apk| apk.id == *id));
    let draft = use_signal(|| {
        let mut draft = Draft::conservative();
        draft.set(field::APK, first.map(|id| id.to_string()).unwrap_or_default());
        let kind = if query.devices.is_empty() { "" } else { Kind::Chosen.as_str() };
        draft.set(field::TARGET, kind.to_owned());
        draft
    });
    let mut refused = use_signal(|| None::<(Draft, Invalid)>);
    let mut asked = use_signal(|| false);
    let mut planned = use_signal(|| None::<Planned>);
    let mut busy = use_signal(|| false);
    // Where the glue moves the focus; only an attempt does, never a key. The number makes every attempt a change.
    let mut focus = use_signal(|| (0u32, String::new()));
    let mut confirming = use_signal(|| false);
    let filters = Rc::new(filters);
    let (of_count, of_filters, of_chosen) = (session.clone(), Rc::clone(&filters), chosen.clone());
    let target = use_memo(use_reactive((&of_filters,), move |(filters,)| scope(&draft.read(), &of_chosen, &filters)));
    let count = use_resource(move || {
        let (session, target) = (of_count.clone(), target());
        async move {
            match target {
                Ok(target) => Some(target.devices(&session).await.len()),
                Err(_) => None,
            }
        }
    });
    let devices = count.read().flatten();
    let problems = use_memo(move || {
        let draft = draft.read();
        let fleet = draft.get(field::TARGET) == Kind::Fleet.as_str();
        let (_, mut problems) = draft.options(count.read().flatten(), fleet);
        if let Err(invalid) = domain::text::line(field::NAME, draft.get(field::NAME), DEPLOYMENT_NAME_MAX_CHARS) {
            problems.insert(invalid.field, invalid.problem);
        }
        if let Some((_, invalid)) = refused.read().as_ref().filter(|(of, _)| *of == *draft) {
            problems.entry(field_of(invalid)).or_insert_with(|| invalid.problem.clone());
        }
        // Missing values are errors only after an attempt.
        if asked() {
            if draft.get(field::APK).is_empty() {
                problems.insert(field::APK.to_owned(), "choose one".to_owned());
            }
            if let Err((name, missing)) = target() {
                problems.insert(name.to_owned(), missing.to_owned());
            }
        }
        problems
    });
    let form = Form { draft, problems };
    let of_plan = session.clone();
    let check = use_callback(move |()| {
        asked.set(true);
        let held = draft.peek().clone();
        let (Ok(target), Ok(apk)) = (target.peek().clone(), held.get(field::APK).parse::<ApkId>()) else { return };
        let fleet = held.get(field::TARGET) == Kind::Fleet.as_str();
        let (options, wrong) = held.options(count.peek().flatten(), fleet);
        if let Some(first) = wrong.keys().next() {
            let attempt = focus.peek().0 + 1;
            focus.set((attempt, format!("{first}:{attempt}")));
        }
        if busy() || !wrong.is_empty() {
            return;
        }
        busy.set(true);
        let session = of_plan.clone();
        spawn(async move {
            let name = Some(held.get(field::NAME).to_owned()).filter(|name| !name.is_empty());
            let request = DeploymentRequest { apk, name, scope: target.scope(&session).await, options, conflict: held.conflict() };
            let wanted = request.clone();
            let answer = session.call(move |system, principal| async move { system.deployments.plan(&principal, &wanted).await }).await;
            busy.set(false);
            match answer {
                Ok(plan) => planned.set(Some(Planned { draft: held, request: Rc::new(request), plan: Rc::new(plan) })),
                Err(ServiceError::Invalid(invalid)) => refused.set(Some((held, invalid))),
                Err(error) => toasts.bad(explain(&error)),
            }
        });
    });
    // A changed form needs a new preview.
    let current = planned.read().clone().filter(|planned| planned.draft == *draft.read());
    let wrong = problems.read();
    let elsewhere: Vec<String> = problems_without_field(&wrong);
    rsx! {
        form { class: "deployment-form", novalidate: true, "data-draft": "deployment", "data-focus": focus.read().1.clone(), "data-testid": "deployment-form", onsubmit: move |_| check.call(()),
            ApkSection { form, apks: apks.clone() }
            TargetSection { form, chosen: chosen.clone(), filters: filters.to_vec(), devices }
            OptionFields { form, devices }
            for problem in elsewhere {
                p { key: "{problem}", class: "field-error", role: "alert", "{problem}" }
            }
            div { class: "form-bar",
                span { class: "muted", role: "status", "data-testid": "form-says",
                    match wrong.len() {
                        0 => match devices { Some(count) => devices_text(count), None => "Choose a target".to_owned() },
                        count => format::count(count, "value needs to be fixed", "values need to be fixed"),
                    }
                }
                button { class: if current.is_some() { "button" } else { "button primary" }, disabled: busy(), "data-testid": "dry-run", {icon(Glyph::Search)} if busy() { "Planning…" } else { "Dry run" } }
            }
        }
        if let Some(planned) = &current {
            section { class: "card", aria_labelledby: "plan-title", "data-testid": "plan",
                div { class: "card-head",
                    h2 { id: "plan-title", tabindex: "-1", "data-arrive": "1", "Preview" }
                    button { class: "button primary", r#type: "button", aria_haspopup: "dialog", disabled: plan::wanted(&planned.plan) == 0, "data-testid": "deploy", onclick: move |_| confirming.set(true), {icon(Glyph::Send)} "Deploy…" }
                }
                p { class: "muted", "Nothing is sent yet. This is what is planned right now." }
                Plan { plan: planned.plan.clone() }
            }
            if confirming() {
                Start { planned: planned.clone(), onclose: move |()| confirming.set(false) }
            }
        }
    }
}

/// Field of an error, without the index within a list.
fn field_of(invalid: &Invalid) -> String {
    let name = field_name(invalid);
    if name == "target.ids" { field::TARGET.to_owned() } else { name.to_owned() }
}

/// Problems that belong to no field on the page.
fn problems_without_field(problems: &Problems) -> Vec<String> {
    let known =
        |name: &str| name.starts_with("options.") || name.starts_with("target") || [field::APK, field::NAME, field::CANARY].contains(&name);
    problems
        .iter()
        .filter(|(name, _)| !known(name))
        .map(|(name, problem)| labeled(&Invalid::new(name.as_str(), problem.as_str())))
        .collect()
}

#[component]
fn ApkSection(form: Form, apks: Vec<Apk>) -> Element {
    let error = form.error(field::APK);
    let chosen = form.draft.read().get(field::APK).to_owned();
    let mut draft = form.draft;
    let apk = apks.iter().find(|apk| apk.id.to_string() == chosen);
    rsx! {
        fieldset { class: "card option-group",
            legend { "App" }
            div { class: "field-pair even",
                Field { name: field::APK, hint: apk.map(|apk| apk.notes.chars().take(120).collect::<String>()).unwrap_or_default(), error: error.clone(),
                    select { id: field::APK, name: field::APK, aria_describedby: "{field::APK}-note", aria_invalid: error.map(|_| "true"), onchange: move |event| draft.write().set(field::APK, event.value()),
                        option { value: "", selected: chosen.is_empty(), "Choose one" }
                        for apk in apks.iter() {
                            option { key: "{apk.id}", value: "{apk.id}", selected: apk.id.to_string() == chosen, "{label(apk)}" }
                        }
                    }
                }
                Line { form, name: field::NAME, label: "Name", placeholder: apk.map(|apk| format!("{} {}", title(apk), apk.version_name)).unwrap_or_default(), hint: "shown in lists; empty: app and version", number: false }
            }
        }
    }
}

fn title(apk: &Apk) -> &str {
    if apk.label.is_empty() { &apk.package } else { &apk.label }
}

fn label(apk: &Apk) -> String {
    format!("{} {} ({}), {}", title(apk), apk.version_name, apk.version_code, apk.package)
}

#[component]
fn TargetSection(form: Form, chosen: Selection, filters: Vec<SavedFilter>, devices: Option<usize>) -> Element {
    let mut draft = form.draft;
    let kind = Kind::parse(draft.read().get(field::TARGET));
    let words = |kind: Kind| match kind {
        Kind::Fleet => ("All devices", "Every device that is enrolled now.".to_owned()),
        Kind::Chosen => (
            "Selected devices",
            match &chosen {
                Selection::Devices(ids) if ids.is_empty() => "Select them in the device table.".to_owned(),
                Selection::Devices(ids) => format!("{} selected in the table.", devices_text(ids.len())),
                Selection::Matching { except, .. } if except.is_empty() => "All devices that match the table's filter.".to_owned(),
                Selection::Matching { except, .. } => format!("All devices that match the table's filter except {}.", except.len()),
            },
        ),
        Kind::Tags => ("Devices with a tag", "With any of these tags.".to_owned()),
        Kind::Groups => ("Devices of a group", "In any of these groups.".to_owned()),
        Kind::Saved => ("A saved filter", "All devices that match it now.".to_owned()),
    };
    let (error, saved_error) = (form.error(field::TARGET), form.error(field::SAVED));
    let saved = draft.read().get(field::SAVED).to_owned();
    rsx! {
        fieldset { class: "card option-group",
            legend { "Target" }
            div { class: "choices target-kinds", role: "radiogroup", aria_label: "Target",
                for one in Kind::ALL {
                    label { key: "{one.as_str()}", class: "choice-row",
                        input { r#type: "radio", name: field::TARGET, value: one.as_str(), checked: kind == Some(one), onchange: move |_| draft.write().set(field::TARGET, one.as_str().to_owned()) }
                        span { strong { {words(one).0} } span { class: "muted", {words(one).1} } }
                    }
                }
            }
            if let Some(problem) = error {
                p { class: "field-error", role: "alert", "data-testid": "error-{field::TARGET}", {icon(Glyph::Alert)} "{problem}" }
            }
            match kind {
                Some(Kind::Chosen) => rsx! {
                    RouteLink { to: Route::Devices { query: DevicesUrl { selected: chosen.clone(), ..DevicesUrl::default() } }, class: "button small", testid: "choose-devices", {icon(Glyph::Device)} "Select in the table" }
                },
                Some(Kind::Tags) => rsx! { Line { form, name: field::TAGS, label: "Tags", placeholder: "till, ground-floor", hint: "separated by commas", number: false } },
                Some(Kind::Groups) => rsx! { Line { form, name: field::GROUPS, label: "Groups", placeholder: "berlin, hamburg", hint: "separated by commas", number: false } },
                Some(Kind::Saved) => rsx! {
                    Field { name: field::SAVED, label: "Filter", hint: if filters.is_empty() { "No saved filters yet: save one on the Devices page." } else { "" }, error: saved_error.clone(),
                        select { id: field::SAVED, name: field::SAVED, aria_describedby: "{field::SAVED}-note", aria_invalid: saved_error.map(|_| "true"), onchange: move |event| draft.write().set(field::SAVED, event.value()),
                            option { value: "", selected: saved.is_empty(), "Choose one" }
                            for filter in filters.iter() {
                                option { key: "{filter.id}", value: "{filter.id}", selected: filter.id.to_string() == saved, "{filter.name}" }
                            }
                        }
                    }
                },
                _ => rsx! {},
            }
            p { class: "target-count", role: "status", "data-testid": "target-count",
                match devices {
                    Some(0) => "No devices right now".to_owned(),
                    Some(count) => format!("{} right now", devices_text(count)),
                    None => String::new(),
                }
            }
            ConflictField { form }
        }
    }
}

/// Confirmation that starts the deployment.
#[component]
fn Start(planned: Planned, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let onward = use_context::<PendingNavigation>();
    let mut busy = use_signal(|| false);
    let (plan, request) = (planned.plan.clone(), planned.request.clone());
    let (count, first) = (plan::wanted(&plan), plan::canary(&plan));
    let what = format!("{} {}", title(&plan.apk), plan.apk.version_name);
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, request) = (session.clone(), (*request).clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.deployments.create(&principal, request, None).await }).await {
                Ok((row, _)) => {
                    toasts.good("Deployment started.");
                    onward.go(Route::deployment(row.id));
                }
                Err(error) => {
                    busy.set(false);
                    toasts.failed(&error);
                    onclose.call(());
                }
            }
        });
    });
    rsx! {
        Confirm { title: "Deploy {what} to {devices_text(count)}?", action: if busy() { "Starting…" } else { "Deploy" }, busy: busy(), mild: true, onconfirm, onclose,
            match (plan.options.canary, first) {
                (Some(canary), 1..) => rsx! { p { "Starts with a canary of {devices_text(first)}. The rollout continues once at least {canary.success_threshold_pct} % of them succeeded; otherwise the deployment pauses." } },
                _ => rsx! { p { "No canary: the rollout starts on all devices." } },
            }
            p { "At most {format::number(plan.options.concurrency.into())} concurrent installs" if plan.options.rate_per_minute > 0 { ", and {format::number(plan.options.rate_per_minute.into())} installs/min" } "." }
        }
    }
}
