//! The way from an empty fleet to the first device: three steps that tick themselves off.

use dioxus::prelude::*;
use domain::access::Permission;
use domain::enrollment::TokenQuery;

use super::register_command;
use crate::components::{Curl, Glyph, RouteLink, icon};
use crate::context::use_session;
use crate::route::Route;
use crate::sampling::{CALM, ticks};
use crate::url_state::{DevicesUrl, EnrollmentUrl};

/// How far the fleet has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// There is an enrollment token, or there was one.
    pub(super) token: bool,
    /// A device is enrolled.
    pub(super) enrolled: bool,
    /// A device has reported.
    pub(super) reported: bool,
}

impl Progress {
    /// The first step that is still to be done.
    fn current(self) -> usize {
        match self {
            Self { reported: true, .. } => 3,
            Self { enrolled: true, .. } => 2,
            Self { token: true, .. } => 1,
            _ => 0,
        }
    }
}

/// Whether there is any token, used or not. Looked at again whenever one changed.
fn use_any_token() -> Signal<bool> {
    let session = use_session();
    let mut any = use_signal(|| false);
    use_future(move || {
        let session = session.clone();
        async move {
            let mut ticks = ticks(CALM);
            let mut known = None;
            while !*any.peek() {
                ticks.tick().await;
                let revision = session.fleet.enrollment_revision();
                if known == Some(revision) {
                    continue;
                }
                let query = TokenQuery { status: None, after: None, limit: 1 };
                // While the database is away the next tick asks again.
                if let Ok(page) =
                    session.call(move |system, principal| async move { system.enrollment.tokens(&principal, query).await }).await
                {
                    known = Some(revision);
                    if !page.tokens.is_empty() {
                        any.set(true);
                    }
                }
            }
        }
    });
    any
}

#[component]
pub(super) fn FirstSteps(enrolled: bool, reported: bool, ondone: EventHandler<()>) -> Element {
    let session = use_session();
    let token = use_any_token();
    let progress = Progress { token: token() || enrolled, enrolled, reported };
    let current = progress.current();
    let makes = session.may(Permission::ManageEnrollment);
    let command = register_command(&session.origin, "ENROLLMENT_TOKEN", Some("my-first-device"));
    rsx! {
        section { class: "card first-steps", aria_labelledby: "first-steps",
            div { class: "first-steps-head",
                span { class: "empty-mark", {icon(if reported { Glyph::Check } else { Glyph::Device })} }
                div {
                    h2 { id: "first-steps",
                        {match (reported, enrolled) {
                        (true, _) => "Your first device is online",
                        (false, true) => "Waiting for the first heartbeat",
                        (false, false) => "No devices yet",
                        }}
                    }
                    p { class: "muted", role: "status", "data-testid": "first-steps-progress",
                        if reported { "All three steps are completed." } else { "Enroll the first device in three steps. The page updates as each step completes." }
                    }
                }
                if reported {
                    button { class: "button primary", r#type: "button", "data-testid": "first-steps-done", onclick: move |_| ondone.call(()), "Show the overview" }
                }
            }
            ol { class: "steps",
                Step { number: 1, current, title: "Create an enrollment token",
                    p { "A token enrolls exactly one device. It can preset the device's alias, tags and groups." }
                    if makes {
                        RouteLink { to: Route::Enrollment { query: EnrollmentUrl::default() }, class: "button primary", "Create an enrollment token" }
                    } else {
                        p { class: "muted", "Operators and admins can create tokens." }
                    }
                }
                Step { number: 2, current, title: "Plug in the phone and enroll it",
                    p { "Connect the phone to a computer by USB and run the enrollment command for your token there. To enroll a device without a phone, make this API call:" }
                    Curl { command, testid: None }
                }
                Step { number: 3, current, title: "See the device online",
                    p { "After its first heartbeat the device appears here and on the Devices page." }
                    if enrolled {
                        RouteLink { to: Route::Devices { query: DevicesUrl::default() }, class: "button", "Go to the devices" }
                    }
                }
            }
        }
    }
}

/// One step: done, the one to do now, or still ahead.
#[component]
fn Step(number: usize, current: usize, title: String, children: Element) -> Element {
    let (state, said) = match number - 1 {
        at if at < current => ("done", "done"),
        at if at == current => ("now", "next"),
        _ => ("ahead", "later"),
    };
    rsx! {
        li { class: "step {state}", "data-testid": "step-{number}", "data-state": state, aria_current: (state == "now").then_some("step"),
            span { class: "step-mark", aria_hidden: "true",
                if state == "done" {
                    {icon(Glyph::Check)}
                } else {
                    "{number}"
                }
            }
            div { class: "step-body",
                h3 { "{title}" span { class: "visually-hidden", ", {said}" } }
                {children}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_step_proves_the_earlier_ones() {
        let current = |token, enrolled, reported| Progress { token, enrolled, reported }.current();
        assert_eq!(
            [current(false, false, false), current(true, false, false), current(true, true, false), current(true, true, true)],
            [0, 1, 2, 3]
        );
        assert_eq!(current(false, true, false), 2, "the token may be gone from the list");
    }
}
