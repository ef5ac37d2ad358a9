//! Acknowledging alerts, with a note.

use dioxus::prelude::*;
use domain::AlertId;
use services::AcknowledgeOutcome;

use crate::components::form::{FormDialog, TextField, text_of, use_submission};
use crate::context::use_session;
use crate::format;
use crate::toasts::use_toasts;

/// Asks for a note, and acknowledges. `what` names the alerts.
#[component]
pub(super) fn Acknowledge(ids: Vec<AlertId>, what: String, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let several = ids.len() > 1;
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let (session, ids) = (session.clone(), ids.clone());
        spawn(async move {
            let note = text_of(&form, "note");
            let outcome =
                session.call(move |system, principal| async move { system.alerts.acknowledge(&principal, &ids, &note).await }).await;
            if let Some(outcomes) = submission.done(outcome) {
                toasts.good(outcome_text(&outcomes));
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Acknowledge {what}?", action: "Acknowledge", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            p { class: "muted",
                if several { "They are yours then: nobody else is escalated to. Each is resolved by itself once its condition is over." }
                else { "You take over: it is not escalated further. It resolves by itself once its condition is over." }
            }
            TextField { name: "note", label: "Note", hint: "optional; for whoever else looks at it", placeholder: "Driving there", error: submission.error("note") }
        }
    }
}

/// Summary of the outcomes, in a sentence.
fn outcome_text(outcomes: &[(AlertId, AcknowledgeOutcome)]) -> String {
    let of = |wanted: AcknowledgeOutcome| outcomes.iter().filter(|(_, outcome)| *outcome == wanted).count();
    let mut text = format!("Acknowledged {}.", format::count(of(AcknowledgeOutcome::Acknowledged), "alert", "alerts"));
    let rest = [
        (of(AcknowledgeOutcome::Already), "acknowledged by somebody else"),
        (of(AcknowledgeOutcome::Resolved), "resolved"),
        (of(AcknowledgeOutcome::Unknown), "gone"),
    ];
    for (count, why) in rest.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(" {count} {} {why} meanwhile.", if count == 1 { "was" } else { "were" }));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_late_is_told_so() {
        let outcomes =
            |outcomes: &[AcknowledgeOutcome]| -> Vec<_> { outcomes.iter().map(|outcome| (AlertId(uuid::Uuid::nil()), *outcome)).collect() };
        use AcknowledgeOutcome::{Acknowledged, Already, Resolved};
        assert_eq!(outcome_text(&outcomes(&[Acknowledged])), "Acknowledged 1 alert.");
        assert_eq!(
            outcome_text(&outcomes(&[Acknowledged, Acknowledged, Already, Resolved, Resolved])),
            "Acknowledged 2 alerts. 1 was acknowledged by somebody else meanwhile. 2 were resolved meanwhile."
        );
    }
}
