//! Controls of a deployment: pause, resume, cancel and roll back; the last two ask for confirmation.

use dioxus::prelude::*;
use domain::DeploymentId;
use domain::apk::Apk;
use domain::deployment::{DeploymentState, DeploymentTransition, NoRollback, Phase, TaskState};
use services::DeploymentDetails;

use crate::components::deployment_widgets::{devices, open, unsigned};
use crate::components::{Confirm, Glyph, RouteLink, icon};
use crate::context::use_session;
use crate::format;
use crate::navigation::PendingNavigation;
use crate::route::Route;
use crate::toasts::use_toasts;

/// The dialog that is open.
#[derive(Clone, Copy, PartialEq)]
enum OpenDialog {
    Cancel,
    RollBack,
}

/// APK that a rollback would install, and number of devices; `None` without a rollback.
fn rollback_target(details: &DeploymentDetails) -> Option<(Apk, usize)> {
    details.rollback.as_ref().and_then(|offer| offer.way.clone().ok())
}

fn version(apk: &Apk) -> String {
    format!("{} ({})", apk.version_name, apk.version_code)
}

#[component]
pub(super) fn Controls(details: DeploymentDetails, onchange: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let mut busy = use_signal(|| false);
    let row = &details.deployment;
    let id = row.id;
    let transition = use_callback(move |(transition, done): (DeploymentTransition, &'static str)| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session
                .call(move |system, principal| async move { system.deployments.transition(&principal, id, transition).await })
                .await
            {
                Ok(_) => toasts.good(done),
                Err(error) => toasts.failed(&error),
            }
            busy.set(false);
            onchange.call(());
        });
    });
    let steers = matches!(row.state, DeploymentState::Running | DeploymentState::Paused) && row.finished_at.is_none();
    let again = if row.phase == Phase::Canary && details.canary.failed > 0 {
        "Resumes the rollout and retries the failed canary devices"
    } else {
        "Resumes the rollout"
    };
    rsx! {
        if steers && row.state == DeploymentState::Running {
            button { class: "button", r#type: "button", disabled: busy(), "data-testid": "pause", onclick: move |_| transition.call((DeploymentTransition::Pause, "Paused. No new installs start until the deployment is resumed.")), {icon(Glyph::Pause)} "Pause" }
        }
        if steers && row.state == DeploymentState::Paused {
            button { class: "button primary", r#type: "button", disabled: busy(), title: "{again}", "data-testid": "resume", onclick: move |_| transition.call((DeploymentTransition::Resume, "Resumed.")), {icon(Glyph::Play)} "Resume" }
        }
        if rollback_target(&details).is_some() {
            button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "roll-back", onclick: move |_| dialog.set(Some(OpenDialog::RollBack)), {icon(Glyph::Restore)} "Roll back" }
        }
        if steers {
            button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "cancel-deployment", onclick: move |_| dialog.set(Some(OpenDialog::Cancel)), {icon(Glyph::Close)} "Cancel" }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Cancel) => rsx! { Cancel { details: details.clone(), onclose: move |()| {
                dialog.set(None);
                onchange.call(());
            } } },
            Some(OpenDialog::RollBack) => rsx! { RollBack { details: details.clone(), onclose: move |()| {
                dialog.set(None);
                onchange.call(());
            } } },
        }
    }
}

#[component]
fn Cancel(details: DeploymentDetails, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = details.deployment.id;
    let installing = unsigned(details.count(TaskState::Installing));
    let left = open(&details).saturating_sub(installing);
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.deployments.transition(&principal, id, DeploymentTransition::Cancel).await }).await
            {
                Ok(_) => toasts.good("Canceled."),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Cancel “{details.deployment.name}”?", action: "Cancel deployment", dismiss: "Keep running", busy: busy(), onconfirm, onclose,
            p { "Installs that have not started are canceled on {devices(left as usize)}. A canceled deployment cannot be resumed." }
            if installing > 0 {
                p { "{format::count(installing as usize, \"install in progress is\", \"installs in progress are\")} left to finish." }
            }
        }
    }
}

#[component]
fn RollBack(details: DeploymentDetails, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let onward = use_context::<PendingNavigation>();
    let mut busy = use_signal(|| false);
    let (id, ends): (DeploymentId, bool) = (details.deployment.id, details.deployment.finished_at.is_none());
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.deployments.roll_back(&principal, id).await }).await {
                Ok(made) => {
                    toasts.good("Rollback started.");
                    onward.go(Route::deployment(made.id));
                }
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    // It may have gone while the question stood.
    let Some((apk, count)) = rollback_target(&details) else { return rsx! {} };
    rsx! {
        Confirm { title: "Roll back “{details.deployment.name}”?", action: "Roll back", busy: busy(), onconfirm, onclose,
            p { "A new deployment installs {apk.package} {version(&apk)} on the {devices(count)} that got {details.deployment.version_name} ({details.deployment.version_code}) from this deployment, with the same options." }
            if ends {
                p { "This deployment is canceled: no new installs start." }
            }
        }
    }
}

/// Line about the possible rollback, highlighted when it is recommended.
#[component]
pub(super) fn RollbackOfferLine(details: DeploymentDetails) -> Element {
    let Some(offer) = &details.rollback else { return rsx! {} };
    let said = match &offer.way {
        Err(NoRollback::UnderWay { by }) => {
            return rsx! {
                p { class: "notice", role: "status", "data-testid": "taken-back", {icon(Glyph::Restore)}
                    span { "This deployment is being rolled back." }
                    RouteLink { to: Route::deployment(*by), class: "button small", "View rollback" }
                }
            };
        }
        Ok((apk, count)) => format!("Rolling back installs {} {} on {}.", apk.package, version(apk), devices(*count)),
        Err(why) => format!("Rollback unavailable: {why}."),
    };
    rsx! {
        if offer.offered {
            p { class: "notice bad", role: "status", "data-testid": "rollback-offered", {icon(Glyph::Restore)} span { "Too many devices failed. {said}" } }
        } else {
            p { class: "muted way-back", "data-testid": "way-back", {icon(Glyph::Restore)} span { "{said}" } }
        }
    }
}
