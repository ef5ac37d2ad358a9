//! Live list of tokens with their status, newest first.

use std::sync::Arc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::access::{Permission, Principal};
use domain::enrollment::{EnrollToken, TokenQuery, TokenStatus};
use domain::query::PAGE_MAX;
use domain::{EnrollTokenId, ServiceError, Timestamp};
use services::System;

use crate::components::{Confirm, EmptyState, Glyph, RouteLink, icon, labels, time_ago, unknown};
use crate::context::{explain, use_session};
use crate::format;
use crate::route::Route;
use crate::sampling::{CALM, ticks};
use crate::toasts::use_toasts;
use crate::url_state::EnrollmentUrl;

/// Tokens shown at first, and more each time.
const PAGE: i64 = 50;
/// Most tokens on the page; a batch of the largest size fits several times.
const SHOWN_MAX: i64 = 2000;
/// Tokens expire by themselves, so the list is read again after this long.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The newest tokens, and whether there are more.
#[derive(Clone, PartialEq)]
struct TokenPage {
    tokens: Vec<EnrollToken>,
    more: bool,
    at: Timestamp,
}

async fn read(system: Arc<System>, principal: Principal, status: Option<TokenStatus>, wanted: i64) -> Result<TokenPage, ServiceError> {
    let mut tokens_page = TokenPage { tokens: Vec::new(), more: false, at: system.clock.now() };
    let mut after = None;
    loop {
        let limit = (wanted - tokens_page.tokens.len() as i64).min(PAGE_MAX);
        let page = system.enrollment.tokens(&principal, TokenQuery { status, after, limit }).await?;
        tokens_page.tokens.extend(page.tokens);
        tokens_page.more = page.next.is_some();
        after = page.next;
        if after.is_none() || tokens_page.tokens.len() as i64 >= wanted {
            return Ok(tokens_page);
        }
    }
}

fn status_text(status: TokenStatus) -> &'static str {
    match status {
        TokenStatus::Unused => "Unused",
        TokenStatus::Used => "Used",
        TokenStatus::Expired => "Expired",
        TokenStatus::Revoked => "Revoked",
    }
}

#[component]
pub(super) fn TokenList(status: Option<TokenStatus>) -> Element {
    let session = use_session();
    let manages = session.may(Permission::ManageEnrollment);
    let mut wanted = use_signal(|| PAGE);
    let mut tokens_page = use_signal(|| None::<Result<TokenPage, String>>);
    let mut again = use_signal(|| 0u32);
    let mut revoking = use_signal(|| None::<EnrollToken>);
    use_resource(use_reactive((&status,), move |(status,)| {
        let session = session.clone();
        let wanted = wanted();
        again();
        async move {
            let mut ticks = ticks(CALM);
            let mut read_at = None;
            loop {
                ticks.tick().await;
                let revision = session.fleet.enrollment_revision();
                let fresh =
                    read_at.is_some_and(|(known, at): (u64, tokio::time::Instant)| known == revision && at.elapsed() < POLL_INTERVAL);
                if fresh {
                    continue;
                }
                let new = session.call(move |system, principal| read(system, principal, status, wanted)).await;
                // After a failure the next tick tries again.
                read_at = new.is_ok().then(|| (revision, tokio::time::Instant::now()));
                let new = Some(new.map_err(|error| explain(&error)));
                if *tokens_page.peek() != new {
                    tokens_page.set(new);
                }
            }
        }
    }));
    let shown = tokens_page.read();
    rsx! {
        section { class: "card", aria_labelledby: "tokens-title",
            div { class: "card-head",
                h2 { id: "tokens-title", "Tokens" }
                nav { class: "tabs", aria_label: "Tokens by status",
                    RouteLink { to: Route::Enrollment { query: EnrollmentUrl { status: None } }, current: status.is_none(), "All" }
                    for choice in TokenStatus::ALL {
                        RouteLink { key: "{choice.as_str()}", to: Route::Enrollment { query: EnrollmentUrl { status: Some(choice) } }, current: status == Some(choice), testid: "tokens-{choice.as_str()}",
                            {status_text(choice)}
                        }
                    }
                }
            }
            match &*shown {
                None => rsx! { div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } },
                Some(Err(problem)) => rsx! {
                    div { class: "notice bad", role: "alert", {icon(Glyph::Alert)} span { "{problem}" }
                        button { class: "button", r#type: "button", onclick: move |_| again += 1, "Try again" }
                    }
                },
                Some(Ok(list)) if list.tokens.is_empty() => rsx! {
                    EmptyState {
                        glyph: Glyph::Key,
                        title: if status.is_some() { "No tokens in this status" } else { "No tokens yet" },
                        text: if status.is_some() { "Choose another status." } else { "Created tokens appear here with the device that used them." },
                    }
                },
                Some(Ok(list)) => rsx! {
                    div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of tokens",
                        table { class: "plain token-table",
                            thead { tr {
                                th { scope: "col", "Status" } th { scope: "col", "Alias" } th { scope: "col", "Tags and groups" }
                                th { scope: "col", "Created" } th { scope: "col", "Expires or used" } th { scope: "col", "Device" }
                                if manages { th { scope: "col", span { class: "visually-hidden", "Actions" } } }
                            } }
                            tbody {
                                for token in list.tokens.iter() {
                                    TokenRow { key: "{token.id}", token: token.clone(), status: token.status(list.at), now: list.at, manages, onrevoke: move |token| revoking.set(Some(token)) }
                                }
                            }
                        }
                    }
                    if list.more {
                        div { class: "more",
                            if wanted() < SHOWN_MAX {
                                button { class: "button", r#type: "button", "data-testid": "load-more", onclick: move |_| { wanted.set((wanted() + PAGE * 4).min(SHOWN_MAX)); }, "Load more" }
                            } else {
                                p { class: "muted", "The newest {format::number(SHOWN_MAX as u64)} are shown. Choose a status to narrow them down." }
                            }
                        }
                    }
                },
            }
        }
        if let Some(token) = revoking() {
            Revoke { token: token.id, name: token.alias.clone(), onclose: move |()| revoking.set(None) }
        }
    }
}

#[component]
fn TokenRow(token: EnrollToken, status: TokenStatus, now: Timestamp, manages: bool, onrevoke: EventHandler<EnrollToken>) -> Element {
    let session = use_session();
    let tone = match status {
        TokenStatus::Unused => "info",
        TokenStatus::Used => "good",
        TokenStatus::Expired => "",
        TokenStatus::Revoked => "bad",
    };
    let when = token.used_at.or(token.revoked_at).unwrap_or(token.expires_at);
    let by = token.created_by_name.clone().unwrap_or_else(|| "console".into());
    // The present alias of the device, if it exists; it may differ from that of the token.
    let device = token.device_id.map(|id| (id, session.fleet.device(id).map(|view| view.identity.alias.clone())));
    let mut both = token.groups.clone();
    both.extend(token.tags.iter().cloned());
    let id = token.id;
    let revocable = manages && status == TokenStatus::Unused;
    rsx! {
        tr { "data-testid": "token-row", "data-status": status.as_str(), "data-token-id": "{id}",
            td { span { class: "badge {tone}", {status_text(status)} } }
            td { class: "truncate", {token.alias.clone().map_or_else(unknown, |alias| rsx! { "{alias}" })} }
            td { {labels(&both, 3)} }
            td { {time_ago(token.created_at, &format::relative(now, token.created_at))} span { class: "muted", " by {by}" } }
            td { {time_ago(when, &format::relative(now, when))} }
            td { class: "truncate",
                match device {
                    Some((id, Some(alias))) => rsx! { RouteLink { to: Route::device(id), "{alias}" } },
                    Some((_, None)) => rsx! { span { class: "muted", "deleted" } },
                    None => unknown(),
                }
            }
            if manages {
                td { class: "row-action",
                    if revocable {
                        button { class: "button quiet small", r#type: "button", aria_haspopup: "dialog", "data-testid": "revoke-token", onclick: move |_| onrevoke.call(token.clone()), "Revoke" }
                    }
                }
            }
        }
    }
}

#[component]
fn Revoke(token: EnrollTokenId, name: Option<String>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.enrollment.revoke(&principal, token).await }).await {
                Ok(()) => toasts.good("Token revoked."),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    let title = name.map_or_else(|| "Revoke this token?".to_owned(), |name| format!("Revoke the token for {name}?"));
    rsx! {
        Confirm { title, action: "Revoke token", busy: busy(), onconfirm, onclose,
            p { "The token can no longer enroll a device. This cannot be undone." }
        }
    }
}
