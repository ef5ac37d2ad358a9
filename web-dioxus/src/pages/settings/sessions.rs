//! One's own sign-ins: seen, and ended.

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::SessionId;
use domain::access::Principal;
use domain::account::SignIn;

use crate::components::{Confirm, Glyph, LocalTime, Problem, Skeleton, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::{Polling, use_polling};
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(15);

/// A browser and its system, as people call them: "Firefox on Windows".
pub(super) fn client_name(user_agent: Option<&str>) -> String {
    let Some(reported) = user_agent else { return "Unknown client".into() };
    let find = |known: &[(&str, &'static str)]| known.iter().find(|(mark, _)| reported.contains(mark)).map(|(_, name)| *name);
    // Every browser claims to be those after it in this list.
    let browser = find(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => reported.split_whitespace().next().unwrap_or("Unknown client").to_owned(),
    }
}

/// Sessions to end.
#[derive(Clone, PartialEq)]
enum EndTarget {
    One(SessionId),
    Others,
}

#[component]
pub(super) fn Sessions() -> Element {
    let session = use_session();
    let own = match &session.principal {
        Principal::User { session_id, .. } => Some(*session_id),
        _ => None,
    };
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.accounts.own_sign_ins(&principal).await });
    let mut ending = use_signal(|| None::<EndTarget>);
    let reading = list.read();
    let others = reading.value.as_ref().map_or(0, |list| list.iter().filter(|sign_in| Some(sign_in.id) != own).count());
    rsx! {
        section { class: "card", aria_labelledby: "sessions-title",
            div { class: "card-head",
                h2 { id: "sessions-title", "Your sessions" }
                if others > 0 {
                    button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "end-others", onclick: move |_| ending.set(Some(EndTarget::Others)),
                        "End all others"
                    }
                }
            }
            p { class: "muted card-lead", "Browsers that are signed in to your account. End unknown sessions and change your password." }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match &reading.value {
                Some(sign_ins) => rsx! { SignInList { sign_ins: sign_ins.clone(), own, onend: move |id| ending.set(Some(EndTarget::One(id))) } },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        if let Some(target) = ending() {
            End { target, list, onclose: move |()| ending.set(None) }
        }
    }
}

/// Sign-ins, the newest first; what is one's own session cannot be ended here.
#[component]
pub(super) fn SignInList(sign_ins: Rc<Vec<SignIn>>, own: Option<SessionId>, onend: EventHandler<SessionId>) -> Element {
    let now = use_session().clock.now();
    rsx! {
        ul { class: "rows",
            for sign_in in sign_ins.iter() {
                li { key: "{sign_in.id}", class: "row-item", "data-testid": "session-row",
                    span { class: "row-icon", {icon(Glyph::Monitor)} }
                    div { class: "row-main",
                        div { class: "row-title",
                            span { class: "truncate", title: sign_in.user_agent.clone().unwrap_or_default(), {client_name(sign_in.user_agent.as_deref())} }
                            if Some(sign_in.id) == own {
                                span { class: "badge good", "This session" }
                            }
                        }
                        div { class: "row-meta",
                            if let Some(address) = &sign_in.address {
                                span { class: "mono", "{address}" }
                            }
                            span { "last active " {time_ago(sign_in.last_seen_at, &format::relative(now, sign_in.last_seen_at))} }
                            span { "signed in " {local_time(sign_in.created_at, LocalTime::Minute)} }
                        }
                    }
                    if Some(sign_in.id) != own {
                        EndButton { id: sign_in.id, name: client_name(sign_in.user_agent.as_deref()), onend }
                    }
                }
            }
        }
    }
}

#[component]
fn EndButton(id: SessionId, name: String, onend: EventHandler<SessionId>) -> Element {
    rsx! {
        button { class: "button small", r#type: "button", aria_haspopup: "dialog", aria_label: "End the session of {name}", onclick: move |_| onend.call(id), "End" }
    }
}

#[component]
fn End(target: EndTarget, list: Polling<Vec<SignIn>>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let others = target == EndTarget::Others;
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, chosen) = (session.clone(), target.clone());
        spawn(async move {
            let outcome = session
                .call(move |system, principal| async move {
                    match chosen {
                        EndTarget::One(id) => system.accounts.end_own_sign_in(&principal, id).await.map(|()| 1),
                        EndTarget::Others => system.accounts.end_other_sign_ins(&principal).await,
                    }
                })
                .await;
            match outcome {
                Ok(ended) => toasts.good(format!("Ended {}.", format::count(ended as usize, "session", "sessions"))),
                Err(error) => toasts.failed(&error),
            }
            list.again();
            onclose.call(());
        });
    });
    let title = if others { "End all your other sessions?" } else { "End this session?" };
    rsx! {
        Confirm { title, action: "End", busy: busy(), onconfirm, onclose,
            p { "The browser has to sign in again." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_the_names_that_people_use() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        let edge = format!("{} Edg/140.0", chrome.replace("X11; Linux x86_64", "Windows NT 10.0; Win64; x64"));
        let phone =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 (KHTML, like Gecko) Version/18.0 Safari/604.1";
        assert_eq!(client_name(Some(chrome)), "Chrome on Linux");
        assert_eq!(client_name(Some(&edge)), "Edge on Windows");
        assert_eq!(client_name(Some(phone)), "Safari on iPhone");
        assert_eq!(client_name(Some("curl/8.5.0")), "curl");
        assert_eq!(client_name(Some("deploy-bot 1.0")), "deploy-bot");
        assert_eq!(client_name(None), "Unknown client");
    }
}
