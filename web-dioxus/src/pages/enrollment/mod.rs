//! Enrollment: agent for new devices, and creation, distribution and usage of tokens.

mod agent;
mod created;
mod form;
mod kit;
mod list;
mod progress;

use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use dioxus::prelude::*;
use domain::EnrollTokenId;
use domain::access::Permission;
use domain::enrollment::BATCH_MAX;
use services::NewToken;

use crate::components::{KeptSecret, PageHeader};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::url_state::EnrollmentUrl;

use agent::Agent;
use created::CreatedTokensPanel;
use form::CreateForm;
use list::TokenList;

/// Poll interval of the agent APK.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Newly created tokens with their secrets. They exist only in the open page and cannot be shown again.
#[derive(Clone)]
struct CreatedTokens(Rc<Vec<NewToken>>);

impl CreatedTokens {
    /// The tokens as the browser remembers them: a line each.
    fn to_lines(&self) -> String {
        let line = |token: &NewToken| {
            let alias = token.alias.as_deref().unwrap_or_default();
            [&token.id.to_string(), &token.token, &format::iso(token.expires_at), alias].join("\t")
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Tokens that the browser remembers; `None` if they are not readable.
    fn from_lines(lines: &str) -> Option<Self> {
        let token = |line: &str| {
            let mut parts = line.splitn(4, '\t');
            let id = EnrollTokenId::from_str(parts.next()?).ok()?;
            let token = parts.next()?.to_owned();
            let expires_at = parts.next()?.parse().ok()?;
            Some(NewToken { id, token, expires_at, alias: parts.next().filter(|alias| !alias.is_empty()).map(str::to_owned) })
        };
        lines.lines().take(BATCH_MAX as usize).map(token).collect::<Option<Vec<_>>>().map(|tokens| Self(Rc::new(tokens)))
    }
}

impl PartialEq for CreatedTokens {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

#[component]
pub(crate) fn Enrollment(query: EnrollmentUrl) -> Element {
    use_title("Enrollment");
    let session = use_session();
    let mut made = use_signal(|| None::<CreatedTokens>);
    let agent =
        use_polling(
            (),
            POLL_INTERVAL,
            |system, principal, ()| async move { system.enrollment.agent(&principal, &system.agent_builds).await },
        );
    let reading = agent.read();
    let installs = reading.value.as_ref().map(|agent| agent.apk.is_some());
    rsx! {
        PageHeader { title: "Enrollment", lead: "A token enrolls exactly one device. It is shown once, on creation." }
        Agent { shown: reading.value.as_deref().cloned(), problem: reading.problem.clone(), onretry: move |()| agent.again() }
        if session.may(Permission::ManageEnrollment) {
            CreateForm { made }
            KeptSecret { name: "enrollment-tokens", secret: made().map(|tokens| tokens.to_lines()), onrestore: move |lines: String| made.set(CreatedTokens::from_lines(&lines)) }
        }
        if let Some(tokens) = made() {
            CreatedTokensPanel { key: "{tokens.0.first().map(|first| first.id.to_string()).unwrap_or_default()}", tokens, made, installs }
        }
        TokenList { status: query.status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_from_the_browser_as_they_were() {
        let token = |n: u128, alias: Option<&str>| NewToken {
            id: EnrollTokenId(uuid::Uuid::from_u128(n)),
            token: format!("secret-{n}"),
            alias: alias.map(str::to_owned),
            expires_at: chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
        };
        let tokens = vec![token(1, None), token(2, Some("shop 2, front"))];
        let back = CreatedTokens::from_lines(&CreatedTokens(Rc::new(tokens.clone())).to_lines()).unwrap();
        let parts = |tokens: &[NewToken]| {
            tokens.iter().map(|token| (token.id, token.token.clone(), token.alias.clone(), token.expires_at)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&back.0), parts(&tokens));
        assert!(CreatedTokens::from_lines("nonsense").is_none());
    }
}
