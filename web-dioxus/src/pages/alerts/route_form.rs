//! Form of a route.

use dioxus::prelude::*;
use domain::Invalid;
use domain::alert::{AlertWindow, Severity};
use domain::notification::{Channel, DigestTime, LEVEL_MAX, Route as AlertRoute};
use domain::text::label_list;
use services::RouteRequest;

use super::matcher_form::RuleChoices;
use super::windows::HoursFields;
use crate::components::form::{Field, FormDialog, TextField, checked_of, text_of, use_submission};
use crate::context::use_session;
use crate::toasts::use_toasts;

/// Kind of a route: the level of escalation, or the digest.
const DIGEST: &str = "digest";

/// Reads the fields of the form.
fn request(text: impl Fn(&str) -> String, rules: &[String]) -> Result<RouteRequest, Invalid> {
    let trimmed = |name: &str| text(name).trim().to_owned();
    let channel = trimmed("channel_id").parse().map_err(|_| Invalid::new("channel_id", "missing: choose a channel"))?;
    let (start, end, tz) = (trimmed("hours.start"), trimmed("hours.end"), trimmed("hours.tz"));
    let digest = trimmed("level") == DIGEST;
    let hours = match (start.is_empty(), end.is_empty()) {
        (true, true) => None,
        (true, false) => return Err(Invalid::new("hours.start", "missing: the hours have an end")),
        (false, true) => return Err(Invalid::new("hours.end", "missing: the hours have a beginning")),
        (false, false) => {
            let named = |invalid: Invalid| Invalid::new(format!("hours.{}", invalid.field), invalid.problem);
            Some(AlertWindow::parse_hours(&start, &end, &tz).map_err(named)?)
        }
    };
    let digest = if digest { Some(DigestTime::parse(&trimmed("digest.at"), &tz)?) } else { None };
    Ok(RouteRequest {
        channel,
        min_severity: trimmed("min_severity").parse().unwrap_or(Severity::Info),
        rules: rules.iter().filter_map(|name| name.parse().ok()).collect(),
        groups: label_list(&text("groups")).into_iter().filter(|group| !group.is_empty()).collect(),
        hours,
        level: trimmed("level").parse().unwrap_or_default(),
        digest,
    })
}

/// `known`: the route that is changed.
#[component]
pub(super) fn RouteForm(known: Option<AlertRoute>, channels: Vec<Channel>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let id = known.as_ref().map(|route| route.id);
    let digests = known.as_ref().is_some_and(|route| route.digest.is_some());
    let mut digest = use_signal(|| digests);
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let outcome = match request(|name| text_of(&form, name), &checked_of(&form, "rules")) {
                Err(invalid) => Err(invalid.into()),
                Ok(request) => {
                    session
                        .call(move |system, principal| async move {
                            match id {
                                Some(id) => system.alerts.change_route(&principal, id, request).await,
                                None => system.alerts.add_route(&principal, request).await,
                            }
                        })
                        .await
                }
            };
            if submission.done(outcome).is_some() {
                toasts.good(if id.is_some() { "Changed the route." } else { "Created the route." });
                ondone.call(());
            }
        });
    });
    let (title, action) = if id.is_some() { ("Change the route", "Save") } else { ("New route", "Create route") };
    let level = known.as_ref().map_or(0, |route| route.level);
    let severity = known.as_ref().map_or(Severity::Warning, |route| route.min_severity);
    let hours = known.as_ref().and_then(|route| route.hours.as_ref()).and_then(|hours| hours.daily()).cloned();
    let at = known.as_ref().and_then(|route| route.digest.as_ref()).map(|digest| digest.parts());
    let (start, end) = hours.as_ref().map(|hours| (hours.start(), hours.end())).unwrap_or_default();
    let tz = hours.as_ref().map(|hours| hours.tz().to_owned()).or_else(|| at.as_ref().map(|(_, tz)| (*tz).to_owned())).unwrap_or_default();
    let at = at.map_or_else(|| "08:00".to_owned(), |(at, _)| at);
    let names =
        ["channel_id", "min_severity", "rules", "groups", "level", "hours.start", "hours.end", "hours.tz", "digest.at", "digest.tz"];
    rsx! {
        FormDialog { title, action, wide: true, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            div { class: "field-pair even",
                Field { name: "channel_id", label: "To channel", error: submission.error("channel_id"),
                    select { id: "channel_id", name: "channel_id", aria_describedby: "channel_id-note",
                        for channel in channels.iter() {
                            option { key: "{channel.id}", value: "{channel.id}", initial_selected: known.as_ref().is_some_and(|route| route.channel == channel.id), "{channel.name} ({channel.kind.title()})" }
                        }
                    }
                }
                Field { name: "min_severity", label: "Minimum severity", error: submission.error("min_severity"),
                    select { id: "min_severity", name: "min_severity", aria_describedby: "min_severity-note",
                        for one in Severity::ALL {
                            option { key: "{one.as_str()}", value: one.as_str(), initial_selected: one == severity, {one.title()} }
                        }
                    }
                }
            }
            RuleChoices { name: "rules", chosen: known.as_ref().map(|route| route.rules.clone()).unwrap_or_default(), error: submission.error("rules") }
            TextField { name: "groups", label: "Groups", value: known.as_ref().map(|route| route.groups.join(", ")).unwrap_or_default(), hint: "separated by commas; empty: all, and what is no device", error: submission.error("groups") }
            Field { name: "level", label: "When", error: submission.error("level"),
                select { id: "level", name: "level", aria_describedby: "level-note", onchange: move |event| digest.set(event.value() == DIGEST),
                    for one in 0..=LEVEL_MAX {
                        option { key: "{one}", value: "{one}", initial_selected: one == level && !digests, if one == 0 { "At once" } else { "Escalation, level {one}: when nobody acknowledges" } }
                    }
                    option { value: DIGEST, initial_selected: digests, "Daily digest instead of single messages" }
                }
            }
            if digest() {
                div { class: "field-pair even",
                    Field { name: "digest.at", label: "Digest at", error: submission.error("digest.at"),
                        input { id: "digest.at", name: "digest.at", r#type: "time", initial_value: "{at}", aria_describedby: "digest.at-note" }
                    }
                    Field { name: "hours.tz", label: "Time zone", hint: "as in Europe/Berlin", error: submission.error("digest.tz"),
                        input { id: "hours.tz", name: "hours.tz", r#type: "text", initial_value: "{tz}", "data-zone": "1", autocomplete: "off", spellcheck: "false", maxlength: "100", aria_describedby: "hours.tz-note" }
                    }
                }
            } else {
                HoursFields { submission, prefix: "hours.", start, end, tz, hint: "empty: always" }
            }
            if let Some(problem) = submission.other_error(&names) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fields: &[(&str, &str)]) -> Result<RouteRequest, Invalid> {
        let channel = ("channel_id", "00000000-0000-0000-0000-000000000007");
        let text = |name: &str| fields.iter().chain([&channel]).find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
        request(|name| text(name).unwrap_or_default(), &["app_down".into()])
    }

    #[test]
    fn a_route_leads_at_once_and_always_unless_it_says_otherwise() {
        let plain = filled(&[("level", "0"), ("hours.tz", "Europe/Berlin"), ("groups", "north, south")]).unwrap();
        assert_eq!((plain.level, plain.hours, plain.digest), (0, None, None));
        assert_eq!(plain.groups, ["north", "south"]);
        let hours = [("level", "2"), ("hours.start", "08:00"), ("hours.end", "18:00"), ("hours.tz", "Europe/Berlin")];
        let hours = filled(&hours).unwrap();
        assert_eq!((hours.level, hours.hours.is_some()), (2, true));
        let digest = filled(&[("level", "digest"), ("digest.at", "07:30"), ("hours.tz", "UTC")]).unwrap();
        assert_eq!((digest.level, digest.digest.unwrap().parts()), (0, ("07:30".to_owned(), "UTC")));
    }

    #[test]
    fn half_of_the_hours_or_nonsense_is_named() {
        let refused = |fields: &[(&str, &str)]| filled(fields).unwrap_err().field;
        assert_eq!(refused(&[("hours.start", "08:00")]), "hours.end");
        assert_eq!(refused(&[("hours.end", "08:00")]), "hours.start");
        assert_eq!(refused(&[("hours.start", "08:00"), ("hours.end", "09:00"), ("hours.tz", "Mars")]), "hours.tz");
        assert_eq!(refused(&[("level", "digest"), ("digest.at", "soon"), ("hours.tz", "UTC")]), "digest.at");
        assert_eq!(refused(&[("channel_id", "x")]), "channel_id");
    }
}
