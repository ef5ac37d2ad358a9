//! API tokens: made, shown once, listed, revoked.

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::api_token::{ApiToken, ApiTokenRequest, ApiTokenStatus};
use domain::query::PAGE_MAX;
use domain::{ApiTokenId, Invalid, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use services::ApiTokenOwner;

use crate::components::form::{Field, FormDialog, TextField, checked_of, some_of, text_of, use_submission};
use crate::components::{Confirm, CopyButton, Curl, EmptyState, Glyph, KeptSecret, Problem, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// Tokens on the page at first, and more each time.
const PAGE: i64 = 50;
/// Lives to choose from; the empty one is the server's own choice.
const LIVES: [(&str, &str); 6] =
    [("", "Default"), ("86400", "1 day"), ("604800", "7 days"), ("2592000", "30 days"), ("7776000", "90 days"), ("31536000", "1 year")];

/// Description of a permission.
fn scope_text(permission: Permission) -> &'static str {
    match permission {
        Permission::ViewDevices => "View devices, their state and history",
        Permission::ManageDevices => "Change, revoke and delete devices",
        Permission::ViewEnrollment => "View enrollment tokens, without their secrets",
        Permission::ManageEnrollment => "Create and revoke enrollment tokens",
        Permission::ManageUsers => "Manage accounts",
        Permission::ViewCluster => "View nodes and shards",
        Permission::ManageCluster => "Drain and resume nodes",
        Permission::ManageTokens => "Create and revoke API tokens within its own scopes",
        Permission::ViewCommands => "View commands and their outcome",
        Permission::SendCommands => "Send and cancel commands",
        Permission::SendSensitiveCommands => "Send commands that clear data, run programs or change keys",
        Permission::ManageExec => "Manage allowed commands",
        Permission::ViewAudit => "Read the audit trail",
        Permission::ViewDeployments => "View APKs, deployments and agent builds",
        Permission::UploadApks => "Upload APKs",
        Permission::ManagePackages => "Manage packages, delete APKs",
        Permission::ManageDeployments => "Deploy APKs, pause, cancel, roll back",
        Permission::ManageAgentBuilds => "Promote builds of the agent",
        Permission::ManageFlags => "Enable and disable features",
        Permission::ViewAlerts => "View alerts, their rules and silences",
        Permission::ManageAlerts => "Acknowledge and silence alerts, change their rules",
        Permission::ManageAlertChannels => "Manage channels and routes of notifications",
    }
}

/// A token that was just made, its name and its secret, which is nowhere else.
#[derive(Clone)]
struct CreatedToken(Rc<(String, SecretString)>);

impl CreatedToken {
    fn new(name: String, secret: SecretString) -> Self {
        Self(Rc::new((name, secret)))
    }

    /// The token as the browser remembers it: its secret, then its name.
    fn to_lines(&self) -> String {
        format!("{}\n{}", self.0.1.expose_secret(), self.0.0)
    }

    fn from_lines(lines: &str) -> Option<Self> {
        let (secret, name) = lines.split_once('\n')?;
        Some(Self::new(name.to_owned(), secret.into()))
    }
}

impl PartialEq for CreatedToken {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

#[component]
pub(super) fn Tokens() -> Element {
    let session = use_session();
    let everybody = session.may(Permission::ManageUsers);
    let mut wanted = use_signal(|| PAGE);
    let mut creating = use_signal(|| false);
    let mut made = use_signal(|| None::<CreatedToken>);
    let mut revoking = use_signal(|| None::<ApiToken>);
    let list = use_polling(wanted(), POLL_INTERVAL, move |system, principal, wanted| async move {
        let owner = if everybody { ApiTokenOwner::All } else { ApiTokenOwner::Own };
        let page = system.api_tokens.tokens(&principal, owner, None, wanted).await?;
        Ok((page.tokens, page.next.is_some()))
    });
    let reading = list.read();
    let now = session.clock.now();
    let own = session.principal.user_id();
    rsx! {
        KeptSecret { name: "api-token", secret: made().map(|token| token.to_lines()), onrestore: move |lines: String| made.set(CreatedToken::from_lines(&lines)) }
        if let Some(CreatedToken(token)) = made() {
            NewTokenCard { secret: token.1.expose_secret().to_owned(), name: token.0.clone(), origin: session.origin.clone(), onclose: move |()| made.set(None) }
        }
        section { class: "card", aria_labelledby: "api-tokens-title",
            div { class: "card-head",
                h2 { id: "api-tokens-title", "API tokens" }
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "create-api-token", onclick: move |_| creating.set(true), {icon(Glyph::Plus)} "Create token" }
            }
            p { class: "muted card-lead",
                if everybody { "Tokens give scripts access on behalf of an account. Admins see the tokens of all accounts." } else { "Tokens give scripts access on your behalf, within the chosen scopes." }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((tokens, _)) if tokens.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Key, title: "No API tokens", text: "Scripts that call the API need a token. Its secret is shown once, on creation." }
                },
                Some((tokens, more)) => rsx! {
                    ul { class: "rows",
                        for token in tokens.iter() {
                            TokenRow { key: "{token.id}", token: token.clone(), status: token.status(now), foreign: Some(token.user_id) != own, now, onrevoke: move |token| revoking.set(Some(token)) }
                        }
                    }
                    if *more && wanted() < PAGE_MAX {
                        div { class: "more", button { class: "button", r#type: "button", onclick: move |_| wanted.set((wanted() + PAGE * 3).min(PAGE_MAX)), "Load more" } }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        if creating() {
            Create {
                onclose: move |()| creating.set(false),
                onmade: move |token: CreatedToken| {
                    creating.set(false);
                    made.set(Some(token));
                    list.again();
                },
            }
        }
        if let Some(token) = revoking() {
            Revoke { id: token.id, name: token.name.clone(),
                onclose: move |()| {
                    revoking.set(None);
                    list.again();
                },
            }
        }
    }
}

/// The secret, this once.
#[component]
fn NewTokenCard(secret: String, name: String, origin: String, onclose: EventHandler<()>) -> Element {
    let authorization = format::shell_word(&format!("Authorization: Bearer {secret}"));
    let command = format!("curl -sS {} \\\n  -H {authorization}", format::shell_word(&format!("{origin}/v1/devices")));
    rsx! {
        section { class: "card made", aria_labelledby: "made-title", role: "status",
            div { class: "card-head",
                h2 { id: "made-title", "Token “{name}” created" }
                button { class: "button", r#type: "button", "data-testid": "made-done", onclick: move |_| onclose.call(()), "Done" }
            }
            p { class: "notice warn", {icon(Glyph::Alert)} "Copy the token now. It is not shown again." }
            div { class: "command", pre { tabindex: "0", code { "data-testid": "api-token-secret", "{secret}" } } CopyButton { text: secret.clone(), label: "Copy the token" } }
            h3 { "Try it" }
            Curl { command, testid: None }
        }
    }
}

#[component]
fn TokenRow(token: ApiToken, status: ApiTokenStatus, foreign: bool, now: Timestamp, onrevoke: EventHandler<ApiToken>) -> Element {
    let (tone, text) = match status {
        ApiTokenStatus::Active => ("badge good", "Active"),
        ApiTokenStatus::Expired => ("badge", "Expired"),
        ApiTokenStatus::Revoked => ("badge bad", "Revoked"),
    };
    let active = status == ApiTokenStatus::Active;
    let confirming = token.clone();
    rsx! {
        li { class: if active { "row-item" } else { "row-item off" }, "data-testid": "api-token-row", "data-status": status.as_str(),
            span { class: "row-icon", {icon(Glyph::Key)} }
            div { class: "row-main",
                div { class: "row-title",
                    span { class: "truncate", "{token.name}" }
                    code { class: "muted", "{token.prefix}…" }
                    span { class: tone, "{text}" }
                }
                div { class: "row-meta",
                    if foreign { span { "of " strong { "{token.username}" } } }
                    match status {
                        ApiTokenStatus::Active | ApiTokenStatus::Expired => rsx! {
                            span { if active { "expires " } else { "expired " } {time_ago(token.expires_at, &format::relative(now, token.expires_at))} }
                        },
                        ApiTokenStatus::Revoked => rsx! {
                            if let Some(at) = token.revoked_at { span { "revoked " {time_ago(at, &format::relative(now, at))} } }
                        },
                    }
                    match token.last_used_at {
                        Some(at) => rsx! {
                            span { "last used " {time_ago(at, &format::relative(now, at))}
                                if let Some(address) = &token.last_used_address { " from " span { class: "mono", "{address}" } }
                            }
                        },
                        None => rsx! { span { "never used" } },
                    }
                }
                div { class: "row-scopes",
                    for scope in token.scopes.iter() {
                        span { key: "{scope}", class: "label mono", title: scope_text(scope), "{scope}" }
                    }
                }
            }
            if active {
                button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Revoke {token.name}", "data-testid": "revoke-api-token", onclick: move |_| onrevoke.call(confirming.clone()), "Revoke" }
            }
        }
    }
}

#[component]
fn Create(onmade: EventHandler<CreatedToken>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let submission = use_submission();
    let scopes: Vec<_> = Permission::ALL.into_iter().filter(|permission| session.may(*permission)).collect();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let expires_in_s = match some_of(&form, "expires_in_seconds").map(|text| text.parse::<i64>()).transpose() {
                Ok(seconds) => seconds,
                Err(_) => {
                    let _ = submission.done::<()>(Err(Invalid::new("expires_in_seconds", "must be a whole number").into()));
                    return;
                }
            };
            let request = ApiTokenRequest { name: text_of(&form, "name"), scopes: checked_of(&form, "scopes"), expires_in_s };
            let outcome = session.call(move |system, principal| async move { system.api_tokens.create(&principal, request).await }).await;
            if let Some(token) = submission.done(outcome) {
                onmade.call(CreatedToken::new(token.token.name, token.secret));
            }
        });
    });
    let scopes_error = submission.error("scopes");
    rsx! {
        FormDialog { title: "Create an API token", action: "Create token", wide: true, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            TextField { name: "name", hint: "its purpose", placeholder: "nightly report", error: submission.error("name") }
            Field { name: "expires_in_seconds", error: submission.error("expires_in_seconds"),
                select { id: "expires_in_seconds", name: "expires_in_seconds", aria_describedby: "expires_in_seconds-note",
                    for (value, text) in LIVES { option { key: "{value}", value, "{text}" } }
                }
            }
            fieldset { class: if scopes_error.is_some() { "choices invalid" } else { "choices" },
                legend { "Scopes" }
                for scope in scopes {
                    label { key: "{scope}", class: "choice-row",
                        input { r#type: "checkbox", name: "scopes", value: "{scope}", initial_checked: scope == Permission::ViewDevices }
                        span { strong { class: "mono", "{scope}" } span { class: "muted", {scope_text(scope)} } }
                    }
                }
                if let Some(problem) = &scopes_error {
                    p { class: "field-error", role: "alert", "data-testid": "error-scopes", {icon(Glyph::Alert)} "{problem}" }
                }
            }
        }
    }
}

#[component]
fn Revoke(id: ApiTokenId, name: String, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let called = name.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, called) = (session.clone(), called.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.api_tokens.revoke(&principal, id).await }).await {
                Ok(()) => toasts.good(format!("Revoked the token {called}.")),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Revoke the token “{name}”?", action: "Revoke token", busy: busy(), onconfirm, onclose,
            p { "Requests with this token, and with tokens created with it, are rejected from now on. This cannot be undone." }
        }
    }
}
