//! Fields of a form that say which alerts are meant.

use dioxus::prelude::*;
use domain::Invalid;
use domain::alert::{Matcher, Rule, Severity};
use domain::text::label_list;

use crate::components::form::{Submission, TextField, checked_of, text_of};
use crate::components::{Glyph, icon};
use crate::context::Session;
use crate::fleet_search::device_named;

/// Fields that the criteria stand in.
pub(super) const FIELDS: [&str; 6] =
    ["matcher.rules", "matcher.severities", "matcher.groups", "matcher.tags", "matcher.devices", "matcher.nodes"];

/// Rules to choose from; none that is checked means all of them.
#[component]
pub(super) fn RuleChoices(name: String, chosen: Vec<Rule>, error: Option<String>) -> Element {
    rsx! {
        fieldset { class: "choices", "data-testid": "choose-rules",
            legend { "Rules" }
            div { class: "choice-list", role: "group", tabindex: "0", aria_label: "Rules; none checked: all of them",
                for rule in Rule::ALL {
                    label { key: "{rule.as_str()}", class: "choice-row",
                        input { r#type: "checkbox", name: "{name}", value: rule.as_str(), initial_checked: chosen.contains(&rule) }
                        span { {rule.spec().label} }
                    }
                }
            }
            match error {
                Some(problem) => rsx! { p { class: "field-error", role: "alert", {icon(Glyph::Alert)} "{problem}" } },
                None => rsx! { p { class: "field-hint", "none checked: all of them" } },
            }
        }
    }
}

/// Fields of the criteria.
#[component]
pub(super) fn MatcherFields(submission: Submission) -> Element {
    rsx! {
        RuleChoices { name: "matcher.rules", chosen: vec![], error: submission.error("matcher.rules") }
        fieldset { class: "choices inline",
            legend { "Severities" }
            for severity in Severity::ALL {
                label { key: "{severity.as_str()}", class: "choice-row",
                    input { r#type: "checkbox", name: "matcher.severities", value: severity.as_str() }
                    span { {severity.title()} }
                }
            }
        }
        div { class: "field-pair even",
            TextField { name: "matcher.groups", label: "Groups", hint: "separated by commas; empty: any", error: submission.error("matcher.groups") }
            TextField { name: "matcher.tags", label: "Tags", hint: "separated by commas; empty: any", error: submission.error("matcher.tags") }
        }
        div { class: "field-pair even",
            TextField { name: "matcher.devices", label: "Devices", hint: "aliases or ids, separated by commas; empty: any", error: submission.error("matcher.devices") }
            TextField { name: "matcher.nodes", label: "Nodes", hint: "names, separated by commas; empty: any", error: submission.error("matcher.nodes") }
        }
    }
}

/// The criteria of a form as they were entered; devices are still names.
#[derive(Debug, PartialEq)]
pub(super) struct Entered {
    matcher: Matcher,
    devices: Vec<String>,
}

impl Entered {
    /// Reads the fields of a form.
    pub(super) fn of(form: &FormEvent) -> Self {
        Self::read(checked_of(form, "matcher.rules"), checked_of(form, "matcher.severities"), |name| text_of(form, name))
    }

    fn read(rules: Vec<String>, severities: Vec<String>, text: impl Fn(&str) -> String) -> Self {
        let labels = |name: &str| label_list(&text(name)).into_iter().filter(|label| !label.is_empty()).collect::<Vec<_>>();
        let matcher = Matcher {
            rules: rules.iter().filter_map(|name| name.parse().ok()).collect(),
            severities: severities.iter().filter_map(|name| name.parse().ok()).collect(),
            groups: labels("matcher.groups"),
            tags: labels("matcher.tags"),
            devices: vec![],
            nodes: labels("matcher.nodes"),
        };
        Self { matcher, devices: labels("matcher.devices") }
    }

    /// The criteria, once the devices are found.
    ///
    /// # Errors
    /// No device is called like that.
    pub(super) async fn matcher(self, session: &Session) -> Result<Matcher, Invalid> {
        let mut matcher = self.matcher;
        for (at, name) in self.devices.into_iter().enumerate() {
            let found = device_named(session, name.clone()).await;
            matcher
                .devices
                .push(found.ok_or_else(|| Invalid::new(format!("matcher.devices[{at}]"), format!("no device is called {name}")))?);
        }
        Ok(matcher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_form_means_nothing_and_is_refused_as_that() {
        let entered = Entered::read(vec![], vec![], |_| " , ".into());
        assert_eq!(entered, Entered { matcher: Matcher::default(), devices: vec![] });
        assert_eq!(entered.matcher.checked().unwrap_err().field, "matcher");
    }

    #[test]
    fn lists_are_split_at_commas() {
        let entered = Entered::read(vec!["app_down".into(), "nonsense".into()], vec!["critical".into()], |name| match name {
            "matcher.groups" => "north, south".into(),
            "matcher.devices" => "kiosk-1,kiosk-2".into(),
            _ => String::new(),
        });
        assert_eq!(entered.matcher.rules, [Rule::AppDown]);
        assert_eq!(entered.matcher.severities, [Severity::Critical]);
        assert_eq!(entered.matcher.groups, ["north", "south"]);
        assert_eq!(entered.devices, ["kiosk-1", "kiosk-2"]);
    }
}
