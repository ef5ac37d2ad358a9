//! One's own account: who one is here, and one's password.

use std::time::Duration;

use dioxus::prelude::*;
use domain::Invalid;
use domain::access::Role;

use crate::components::form::{TextField, text_of, use_submission};
use crate::components::{LocalTime, Problem, Skeleton, local_time};
use crate::context::use_session;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// The account changes rarely.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// Description of a role, for those who have it.
pub(super) fn role_text(role: Role) -> &'static str {
    match role {
        Role::Admin => "Full access, including accounts and the cluster",
        Role::Operator => "Manages the fleet: enrolls, edits and deletes devices",
        Role::Viewer => "Read-only access to the fleet",
    }
}

#[component]
pub(super) fn Profile() -> Element {
    let account = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.accounts.own_account(&principal).await });
    let reading = account.read();
    rsx! {
        section { class: "card", aria_labelledby: "account-title",
            h2 { id: "account-title", "Account" }
            match (&reading.value, &reading.problem) {
                (Some(account), _) => rsx! {
                    dl { class: "facts settings-facts",
                        div { dt { "Name" } dd { "data-testid": "profile-name", "{account.username}" } }
                        div { dt { "Role" } dd { "{account.role}" span { class: "muted", " · {role_text(account.role)}" } } }
                        div { dt { "Created" } dd { {local_time(account.created_at, LocalTime::Minute)} } }
                        div { dt { "Password changed" } dd { {local_time(account.password_changed_at, LocalTime::Minute)} } }
                    }
                },
                (None, Some(problem)) => rsx! { Problem { text: problem.clone(), onretry: move |()| account.again() } },
                (None, None) => rsx! { Skeleton {} },
            }
        }
        Password { onchanged: move |()| account.again() }
    }
}

#[component]
fn Password(onchanged: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    // A new key makes new, empty fields.
    let mut generation = use_signal(|| 0u32);
    let name = session.principal.username().to_owned();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let (current, new) = (text_of(&form, "current_password"), text_of(&form, "new_password"));
            let outcome = if new == text_of(&form, "repeated") {
                let address = session.address;
                session
                    .call(move |system, principal| async move {
                        system.accounts.change_own_password(&principal, &current.into(), &new.into(), address).await
                    })
                    .await
            } else {
                Err(Invalid::new("repeated", "does not match the new password").into())
            };
            if submission.done(outcome).is_some() {
                toasts.good("Password changed. Your other sessions are ended.");
                generation += 1;
                onchanged.call(());
            }
        });
    });
    rsx! {
        section { class: "card", aria_labelledby: "password-title",
            h2 { id: "password-title", "Change your password" }
            p { class: "muted card-lead", "All your other sessions end; this one continues. API tokens stay valid." }
            for generation in [generation()] {
                form { key: "{generation}", class: "stacked-form", novalidate: true, "data-focus": submission.focus(), onsubmit: move |event: FormEvent| send.call(event),
                    // Password managers want to know whose password this is.
                    input { r#type: "text", name: "username", value: "{name}", autocomplete: "username", hidden: true, readonly: true }
                    TextField { name: "current_password", kind: "password", autocomplete: "current-password", error: submission.error("current_password") }
                    TextField { name: "new_password", kind: "password", autocomplete: "new-password", error: submission.error("new_password") }
                    TextField { name: "repeated", kind: "password", autocomplete: "new-password", error: submission.error("repeated") }
                    div { button { class: "button primary", disabled: submission.busy(), "data-testid": "change-password", "Change password" } }
                }
            }
        }
    }
}
