//! Live progress of newly created tokens.

use std::time::Duration;

use dioxus::prelude::*;
use domain::EnrollTokenId;
use domain::enrollment::{TokenProgress, TokenStatus};
use services::{NewToken, is_settled};

use crate::components::RouteLink;
use crate::context::use_session;
use crate::route::Route;
use crate::sampling::{CALM, ticks};

/// A first heartbeat does not show in the revision of enrollment, so tokens are looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Polls the progress of the tokens until it is final.
pub(super) fn use_progress(tokens: &[NewToken]) -> Signal<Vec<TokenProgress>> {
    let session = use_session();
    let mut progress = use_signal(Vec::new);
    let ids: Vec<EnrollTokenId> = tokens.iter().map(|token| token.id).collect();
    use_resource(use_reactive((&ids,), move |(ids,)| {
        let session = session.clone();
        async move {
            let mut ticks = ticks(CALM);
            let mut read_at = None;
            loop {
                ticks.tick().await;
                let revision = session.fleet.enrollment_revision();
                let fresh = read_at.is_some_and(|(known, at): (u64, tokio::time::Instant)| known == revision && at.elapsed() < LOOK_AGAIN);
                if fresh {
                    continue;
                }
                let wanted = ids.clone();
                let read =
                    session.call(move |system, principal| async move { system.enrollment.batch_progress(&principal, &wanted).await });
                // After a failure the next tick tries again; the list below says what is wrong.
                let Ok(read) = read.await else { continue };
                read_at = Some((revision, tokio::time::Instant::now()));
                let settled = read.len() == ids.len() && read.iter().all(is_settled);
                if *progress.peek() != read {
                    progress.set(read);
                }
                if settled {
                    return;
                }
            }
        }
    }));
    progress
}

/// Number of enrolled devices of the batch.
#[component]
pub(super) fn BatchProgress(total: usize, progress: Signal<Vec<TokenProgress>>) -> Element {
    let progress = progress.read();
    let used = progress.iter().filter(|token| token.status == TokenStatus::Used).count();
    let seen = progress.iter().filter(|token| token.status == TokenStatus::Used && token.first_heartbeat_at.is_some()).count();
    let heard = if seen < used { format!(", {seen} reporting") } else { String::new() };
    rsx! {
        div { class: "batch-progress",
            progress { value: "{used}", max: "{total}", aria_labelledby: "batch-progress" }
            span { id: "batch-progress", role: "status", "data-testid": "batch-progress", "{used} of {total} used{heard}" }
        }
    }
}

/// Progress of one token.
pub(super) fn state(progress: &[TokenProgress], id: EnrollTokenId) -> Element {
    let Some(token) = progress.iter().find(|token| token.id == id) else { return rsx! {} };
    let badge = |tone: &str, text: &str| rsx! { span { class: "badge {tone}", "{text}" } };
    match (token.status, token.device_id, &token.device_alias) {
        (TokenStatus::Unused, _, _) => badge("", "unused"),
        (TokenStatus::Expired, _, _) => badge("", "expired"),
        (TokenStatus::Revoked, _, _) => badge("bad", "revoked"),
        (TokenStatus::Used, Some(id), Some(alias)) => rsx! {
            span { class: "badge good token-used", "data-testid": "used-by",
                "used by "
                RouteLink { to: Route::device(id), "{alias}" }
            }
        },
        (TokenStatus::Used, _, _) => badge("good", "used"),
    }
}
