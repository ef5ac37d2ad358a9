//! Silencing from where an alert is seen: "this rule for group north for 2 h".

use dioxus::prelude::*;
use domain::alert::{AlertRecord, Matcher, Rule, Subject};

use crate::components::alert_widgets::matcher_text;
use crate::components::form::{Field, FormDialog, TextField, text_of, use_submission};
use crate::context::use_session;
use crate::fleet_search::alias_of;
use crate::format;
use crate::toasts::use_toasts;
use services::{SilenceEnd, SilenceRequest};

/// Durations to choose from, s.
pub(super) const DURATIONS: [i64; 10] = [1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 259_200, 604_800, 2_592_000, 7_776_000];
/// The one that is chosen at first.
pub(super) const DURATION: i64 = 7_200;

/// What of an alert a silence can go by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SilencedAlert {
    /// Rule.
    pub(super) rule: Rule,
    /// Subject, where there is one.
    pub(super) subject: Option<Subject>,
    /// Name of the subject.
    pub(super) name: String,
    /// Groups of the subject.
    pub(super) groups: Vec<String>,
}

impl SilencedAlert {
    pub(super) fn of(alert: &AlertRecord) -> Self {
        let labels = &alert.labels;
        Self { rule: alert.key.rule, subject: Some(alert.key.subject.clone()), name: labels.name.clone(), groups: labels.groups.clone() }
    }

    /// Matchers to choose from, the narrowest first, each with its words.
    fn choices(&self) -> Vec<(String, Matcher)> {
        let rule = self.rule.spec().label;
        let of_rule = || Matcher { rules: vec![self.rule], ..Matcher::default() };
        let mut choices = Vec::new();
        match &self.subject {
            Some(Subject::Device(id)) => {
                choices.push((format!("{rule} for {}", self.name), Matcher { devices: vec![*id], ..of_rule() }));
                choices.push((format!("Every rule for {}", self.name), Matcher { devices: vec![*id], ..Matcher::default() }));
            }
            Some(Subject::Node(node)) => {
                choices.push((format!("{rule} for {}", self.name), Matcher { nodes: vec![node.clone()], ..of_rule() }));
            }
            Some(Subject::Deployment(_) | Subject::System(_)) | None => {}
        }
        choices.extend(
            self.groups.iter().map(|group| (format!("{rule} for group {group}"), Matcher { groups: vec![group.clone()], ..of_rule() })),
        );
        choices.push((format!("{rule} everywhere"), of_rule()));
        choices
    }
}

/// A choice of durations.
#[component]
pub(super) fn DurationField(error: Option<String>) -> Element {
    rsx! {
        Field { name: "duration_seconds", label: "For", error: error.clone(),
            select { id: "duration_seconds", name: "duration_seconds", aria_describedby: "duration_seconds-note", aria_invalid: error.map(|_| "true"),
                for seconds in DURATIONS {
                    option { key: "{seconds}", value: "{seconds}", initial_selected: seconds == DURATION, {format::duration(seconds)} }
                }
            }
        }
    }
}

#[component]
pub(super) fn SilenceAlert(alert: SilencedAlert, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let choices = use_hook(|| alert.choices());
    let offered = choices.clone();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let chosen = text_of(&form, "scope").parse::<usize>().ok().and_then(|at| offered.get(at)).map(|(_, matcher)| matcher.clone());
        let (matcher, reason) = (chosen.unwrap_or_default(), text_of(&form, "reason").trim().to_owned());
        let seconds = text_of(&form, "duration_seconds").parse().unwrap_or(DURATION);
        let session = session.clone();
        spawn(async move {
            let words = matcher_text(&matcher, |id| alias_of(&session, id));
            let request = SilenceRequest { matcher, reason, starts_at: None, end: SilenceEnd::AfterSeconds(seconds) };
            let outcome = session.call(move |system, principal| async move { system.alerts.add_silence(&principal, request).await }).await;
            if submission.done(outcome).is_some() {
                toasts.good(format!("Silenced for {}: {words}.", format::duration(seconds)));
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Silence notifications", action: "Silence", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            fieldset { class: "choices",
                legend { "What" }
                for (at, (words, _)) in choices.iter().enumerate() {
                    label { key: "{at}", class: "choice-row",
                        input { r#type: "radio", name: "scope", value: "{at}", initial_checked: at == 0 }
                        span { strong { "{words}" } }
                    }
                }
            }
            DurationField { error: submission.error("duration_seconds") }
            TextField { name: "reason", label: "Reason", hint: "required; shown with the silence", placeholder: "Renovation of the shop", error: submission.error("reason") }
            if let Some(problem) = submission.other_error(&["reason", "duration_seconds"]) {
                p { class: "field-error", role: "alert", "{problem}" }
            }
            p { class: "muted", "Alerts are recorded all the same. What still fires when the silence ends is notified then." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(alert: &SilencedAlert) -> Vec<String> {
        alert.choices().into_iter().map(|(words, _)| words).collect()
    }

    #[test]
    fn the_narrowest_silence_is_offered_first_and_none_matches_everything() {
        let device = Subject::Device(domain::DeviceId(uuid::Uuid::from_u128(7)));
        let alert = SilencedAlert {
            rule: Rule::DeviceOffline,
            subject: Some(device),
            name: "kiosk-7".into(),
            groups: vec!["north".into(), "pilot".into()],
        };
        assert_eq!(
            words(&alert),
            [
                "Device offline for kiosk-7",
                "Every rule for kiosk-7",
                "Device offline for group north",
                "Device offline for group pilot",
                "Device offline everywhere"
            ]
        );
        let system =
            SilencedAlert { rule: Rule::DiskLow, subject: Some(Subject::System("disk".into())), name: "disk".into(), groups: vec![] };
        assert_eq!(words(&system), ["Disk low everywhere"]);
        assert!([alert, system].iter().flat_map(SilencedAlert::choices).all(|(_, matcher)| matcher.checked().is_ok()));
    }
}
