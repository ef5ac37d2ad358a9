//! Enrollment: agent for new devices, and creation, distribution and usage of tokens.

mod agent;
mod created;
mod form;
mod kit;
mod list;
mod progress;

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use services::NewToken;

use crate::components::PageHeader;
use crate::context::use_session;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::url_state::EnrollmentUrl;

use agent::Agent;
use created::CreatedTokensPanel;
use form::CreateForm;
use list::TokenList;

/// Poll interval of the agent APK.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Newly created tokens with their secrets. They exist only in this page and cannot be shown again.
#[derive(Clone)]
struct CreatedTokens(Rc<Vec<NewToken>>);

impl PartialEq for CreatedTokens {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

#[component]
pub(crate) fn Enrollment(query: EnrollmentUrl) -> Element {
    use_title("Enrollment");
    let session = use_session();
    let made = use_signal(|| None::<CreatedTokens>);
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
        }
        if let Some(tokens) = made() {
            CreatedTokensPanel { key: "{tokens.0.first().map(|first| first.id.to_string()).unwrap_or_default()}", tokens, made, installs }
        }
        TokenList { status: query.status }
    }
}
