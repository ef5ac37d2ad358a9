//! Everybody's accounts: added, changed, disabled, their passwords reset, their sessions ended.

use std::time::Duration;

use dioxus::prelude::*;
use domain::UserId;
use domain::access::Role;
use domain::account::{Account, AccountChange};
use domain::query::PAGE_MAX;
use secrecy::ExposeSecret;

use super::profile::role_text;
use super::sessions::SignInList;
use crate::components::form::{FormDialog, TextField, text_of, use_submission};
use crate::components::{Confirm, CopyButton, Dialog, Glyph, KeptSecret, LocalTime, Problem, Skeleton, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// Accounts on the page at first, and more each time.
const PAGE: i64 = 100;

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Add,
    Role(Account),
    Email(Account),
    Disable(Account),
    Enable(Account),
    Reset(Account),
    Sessions(Account),
}

/// A generated password, which is shown once.
#[derive(Clone, PartialEq)]
struct MadePassword {
    username: String,
    secret: String,
}

impl MadePassword {
    /// The password as the browser remembers it, then the account's name.
    fn to_lines(&self) -> String {
        format!("{}\n{}", self.secret, self.username)
    }

    fn from_lines(lines: &str) -> Option<Self> {
        let (secret, username) = lines.split_once('\n')?;
        Some(Self { username: username.to_owned(), secret: secret.to_owned() })
    }
}

#[component]
fn NewPassword(password: MadePassword, onclose: EventHandler<()>) -> Element {
    let MadePassword { username, secret } = password;
    rsx! {
        Dialog { title: "New password of {username}", onclose,
            div { class: "dialog-body",
                p { "Copy the password now. It is not shown again." }
                div { class: "command", pre { code { "data-testid": "new-password", "{secret}" } } CopyButton { text: secret, label: "Copy the password" } }
            }
            div { class: "dialog-actions", button { class: "button primary", r#type: "button", onclick: move |_| onclose.call(()), "Done" } }
        }
    }
}

#[component]
pub(super) fn Users() -> Element {
    let session = use_session();
    let mut wanted = use_signal(|| PAGE);
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let mut made = use_signal(|| None::<MadePassword>);
    let list = use_polling(wanted(), POLL_INTERVAL, |system, principal, wanted| async move {
        let page = system.accounts.accounts(&principal, None, wanted).await?;
        Ok((page.accounts, page.next.is_some()))
    });
    let own = session.principal.user_id();
    let reading = list.read();
    let now = session.clock.now();
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "users-title",
            div { class: "card-head",
                h2 { id: "users-title", "Users" }
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-user", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "Add user" }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((accounts, more)) => rsx! {
                    ul { class: "rows",
                        for account in accounts.iter() {
                            UserRow { key: "{account.id}", account: account.clone(), own: Some(account.id) == own, seen: account.last_seen_at.map(|at| format::relative(now, at)), onopen: move |what| dialog.set(Some(what)) }
                        }
                    }
                    if *more && wanted() < PAGE_MAX {
                        div { class: "more", button { class: "button", r#type: "button", onclick: move |_| wanted.set((wanted() + PAGE).min(PAGE_MAX)), "Load more" } }
                    }
                    if *more && wanted() >= PAGE_MAX {
                        p { class: "muted more", "Only the first {PAGE_MAX} accounts are shown." }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        KeptSecret { name: "password", secret: made().map(|password| password.to_lines()), onrestore: move |lines: String| made.set(MadePassword::from_lines(&lines)) }
        if let Some(password) = made() {
            NewPassword { password, onclose: move |()| made.set(None) }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Add) => rsx! { Add { ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Role(account)) => rsx! { ChangeRole { account, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Email(account)) => rsx! { ChangeEmail { account, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Disable(account)) => rsx! { SetDisabled { account, disabled: true, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Enable(account)) => rsx! { SetDisabled { account, disabled: false, ondone: done, onclose: move |()| dialog.set(None) } },
                Some(OpenDialog::Reset(account)) => rsx! { Reset { account, onmade: move |password| {
                dialog.set(None);
                made.set(Some(password));
                list.again();
            }, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Sessions(account)) => rsx! { UserSessions { account, ondone: done, onclose: move |()| dialog.set(None) } },
            }
    }
}

#[component]
fn UserRow(account: Account, own: bool, seen: Option<String>, onopen: EventHandler<OpenDialog>) -> Element {
    let disabled = account.disabled_at.is_some();
    let initial = account.username.chars().next().unwrap_or('?').to_uppercase().to_string();
    let open = move |what: fn(Account) -> OpenDialog, account: &Account| {
        let account = account.clone();
        move |_| onopen.call(what(account.clone()))
    };
    rsx! {
        li { class: if disabled { "row-item off" } else { "row-item" }, "data-testid": "user-row", "data-user": "{account.username}",
            span { class: "avatar", aria_hidden: "true", "{initial}" }
            div { class: "row-main",
                div { class: "row-title",
                    span { class: "truncate", "{account.username}" }
                    span { class: "badge", "data-testid": "user-role", "{account.role}" }
                    if own { span { class: "badge info", "You" } }
                    if disabled { span { class: "badge bad", "Disabled" } }
                }
                div { class: "row-meta",
                    match account.last_seen_at.zip(seen) {
                        Some((at, text)) => rsx! { span { "last seen " {time_ago(at, &text)} } },
                        None => rsx! { span { "never signed in" } },
                    }
                    span { "added " {local_time(account.created_at, LocalTime::Day)} }
                }
            }
            div { class: "row-actions", role: "group", aria_label: "Actions for {account.username}",
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "change-role", onclick: open(OpenDialog::Role, &account), "Role" }
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "change-email", onclick: open(OpenDialog::Email, &account), "E-mail" }
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", onclick: open(OpenDialog::Sessions, &account), "Sessions" }
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "reset-password", onclick: open(OpenDialog::Reset, &account), "Reset password" }
                if disabled {
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "enable-user", onclick: open(OpenDialog::Enable, &account), "Enable" }
                } else {
                    button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "disable-user", onclick: open(OpenDialog::Disable, &account), "Disable" }
                }
            }
        }
    }
}

/// The roles to choose from, with what they mean.
#[component]
fn RoleChoice(chosen: Role) -> Element {
    rsx! {
        fieldset { class: "choices",
            legend { "Role" }
            for role in Role::ALL {
                label { key: "{role}", class: "choice-row",
                    input { r#type: "radio", name: "role", value: "{role}", initial_checked: role == chosen }
                    span { strong { "{role}" } span { class: "muted", {role_text(role)} } }
                }
            }
        }
    }
}

#[component]
fn Add(ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let (username, password, email) = (text_of(&form, "username"), text_of(&form, "password"), text_of(&form, "email"));
            let role = text_of(&form, "role").parse::<Role>();
            let outcome = match role {
                Err(invalid) => Err(invalid.into()),
                Ok(role) => {
                    session
                        .call(move |system, principal| async move {
                            // Who is invited sets a password of their own.
                            let made_up = password.is_empty() && !email.is_empty() && system.account_mail.is_on();
                            let password = if made_up { services::crypto::random_token()? } else { password };
                            system
                                .add_account(&principal, &username, &password.into(), role, Some(email), made_up)
                                .await
                                .map(|added| (added, made_up))
                        })
                        .await
                }
            };
            if let Some(((account, invited), made_up)) = submission.done(outcome) {
                match (invited, made_up) {
                    (true, _) => toasts.good(format!("Added {} and sent the invitation.", account.username)),
                    (false, true) => toasts.good(format!(
                        "Added {}. The invitation could not be sent: reset the password, or invite again.",
                        account.username
                    )),
                    (false, false) => toasts.good(format!("Added {}.", account.username)),
                }
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Add a user", action: "Add user", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            TextField { name: "username", hint: "for signing in", error: submission.error("username") }
            TextField { name: "email", label: "E-mail", kind: "email", autocomplete: "off", hint: "optional; for links to set a password", error: submission.error("email") }
            TextField { name: "password", kind: "password", autocomplete: "new-password", hint: "empty with an e-mail address: an invitation is sent, if there is a mail server", error: submission.error("password") }
            RoleChoice { chosen: Role::Viewer }
        }
    }
}

#[component]
fn ChangeRole(account: Account, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let id = account.id;
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let outcome = match text_of(&form, "role").parse::<Role>() {
                Err(invalid) => Err(invalid.into()),
                Ok(role) => {
                    let change = AccountChange { role: Some(role), disabled: None };
                    session.call(move |system, principal| async move { system.accounts.change(&principal, id, change).await }).await
                }
            };
            if let Some(account) = submission.done(outcome) {
                toasts.good(format!("{} is now {}.", account.username, account.role));
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Role of {account.username}", action: "Change role", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            RoleChoice { chosen: account.role }
            p { class: "muted", "The change takes effect immediately, in all open sessions." }
        }
    }
}

#[component]
fn ChangeEmail(account: Account, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let id = account.id;
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let (email, invite) = (text_of(&form, "email"), text_of(&form, "invite") == "yes");
            let outcome = session
                .call(move |system, principal| async move {
                    let account = system.accounts.set_email(&principal, id, &email).await?;
                    if invite {
                        system.account_mail.invite(&principal, id).await?;
                    }
                    Ok((account, invite))
                })
                .await;
            if let Some((account, invited)) = submission.done(outcome) {
                let what = if invited { "The invitation is sent to" } else { "Changed the e-mail address of" };
                toasts.good(format!("{what} {}.", account.username));
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "E-mail address of {account.username}", action: "Save", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            TextField { name: "email", label: "E-mail", kind: "email", autocomplete: "off", value: account.email.clone().unwrap_or_default(), hint: "links to set a password are sent here; empty: none", error: submission.error("email") }
            label { class: "choice-row",
                input { r#type: "checkbox", name: "invite", value: "yes" }
                span { strong { "Send an invitation" } span { class: "muted", "a link to set a password, valid for three days" } }
            }
        }
    }
}

#[component]
fn SetDisabled(account: Account, disabled: bool, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = account.id;
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            let change = AccountChange { role: None, disabled: Some(disabled) };
            match session.call(move |system, principal| async move { system.accounts.change(&principal, id, change).await }).await {
                Ok(account) => {
                    toasts.good(format!("{} is {}.", account.username, if disabled { "disabled" } else { "enabled" }));
                    ondone.call(());
                }
                Err(error) => {
                    toasts.failed(&error);
                    onclose.call(());
                }
            }
        });
    });
    let (title, action) = if disabled { ("Disable", "Disable") } else { ("Enable", "Enable") };
    rsx! {
        Confirm { title: "{title} {account.username}?", action, mild: !disabled, busy: busy(), onconfirm, onclose,
            if disabled {
                p { "The user's sessions end immediately, and the API tokens are permanently revoked. The account can be enabled again." }
            } else {
                p { "The user can sign in again with the same password. Sessions and API tokens are not restored." }
            }
        }
    }
}

#[component]
fn Reset(account: Account, onmade: EventHandler<MadePassword>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let submission = use_submission();
    let toasts = use_toasts();
    let (id, username) = (account.id, account.username.clone());
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let (session, username) = (session.clone(), username.clone());
        spawn(async move {
            let given = Some(text_of(&form, "password")).filter(|password| !password.is_empty());
            let outcome = session
                .call(move |system, principal| async move { system.accounts.reset_password(&principal, id, given.map(Into::into)).await })
                .await;
            match submission.done(outcome) {
                None => {}
                Some(Some(secret)) => onmade.call(MadePassword { username, secret: secret.expose_secret().to_owned() }),
                Some(None) => {
                    toasts.good("Password reset. The user's sessions are ended.");
                    ondone.call(());
                }
            }
        });
    });
    rsx! {
        FormDialog { title: "Reset the password of {account.username}", action: "Reset password", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            p { class: "muted", "The user's sessions end, and a lockout after failed sign-ins is cleared." }
            TextField { name: "password", label: "New password", kind: "password", autocomplete: "new-password", hint: "empty: generated and shown once", error: submission.error("password") }
        }
    }
}

#[component]
fn UserSessions(account: Account, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let id = account.id;
    let list =
        use_polling(id, POLL_INTERVAL, |system, principal, id: UserId| async move { system.accounts.sign_ins(&principal, id).await });
    let reading = list.read();
    let of_page = session.clone();
    let end = use_callback(move |one| {
        let session = of_page.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.accounts.end_sign_in(&principal, id, one).await }).await {
                Ok(()) => toasts.good("Ended 1 session."),
                Err(error) => toasts.failed(&error),
            }
            list.again();
        });
    });
    let end_all = move |_| {
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.accounts.end_sign_ins(&principal, id).await }).await {
                Ok(ended) => {
                    toasts.good(format!("Ended {}.", format::count(ended as usize, "session", "sessions")));
                    ondone.call(());
                }
                Err(error) => toasts.failed(&error),
            }
        });
    };
    rsx! {
        Dialog { title: "Sessions of {account.username}", wide: true, onclose,
            div { class: "dialog-body",
                if let Some(problem) = &reading.problem {
                    Problem { text: problem.clone(), onretry: move |()| list.again() }
                }
                match &reading.value {
                    Some(sign_ins) if sign_ins.is_empty() => rsx! { p { "No active sessions." } },
                    Some(sign_ins) => rsx! { SignInList { sign_ins: sign_ins.clone(), own: None, onend: end } },
                    None => rsx! { Skeleton {} },
                }
            }
            div { class: "dialog-actions",
                button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "Close" }
                if reading.value.as_ref().is_some_and(|sign_ins| !sign_ins.is_empty()) {
                    button { class: "button danger", r#type: "button", onclick: end_all, "End all" }
                }
            }
        }
    }
}
