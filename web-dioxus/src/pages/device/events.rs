//! Events of a device, newest first.

use std::time::Duration;

use dioxus::prelude::*;
use domain::event::EventKind;
use domain::query::PAGE_MAX;
use domain::{DeviceId, Timestamp};
use serde_json::Value;
use services::EventView;

use crate::components::{Glyph, LocalTime, Problem, Skeleton, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Events on the page at first, and more each time.
const PAGE: i64 = 20;

/// Kinds of events that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    All,
    Connection,
    Battery,
    App,
    Identity,
    People,
}

impl Group {
    const ALL: [Self; 6] = [Self::All, Self::Connection, Self::Battery, Self::App, Self::Identity, Self::People];

    fn title(self) -> &'static str {
        match self {
            Self::All => "All events",
            Self::Connection => "Connection",
            Self::Battery => "Battery",
            Self::App => "App and agent",
            Self::Identity => "Identity",
            Self::People => "Admin actions",
        }
    }

    fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::CameOnline | EventKind::WentOffline | EventKind::Rebooted | EventKind::EventsLeftOut => Self::Connection,
            EventKind::LowBatteryBegan | EventKind::LowBatteryEnded => Self::Battery,
            EventKind::AgentVersionChanged | EventKind::AppVersionChanged | EventKind::AppDownBegan | EventKind::AppDownEnded => Self::App,
            EventKind::RegistrationRetried | EventKind::SameHardware | EventKind::IdentityConflictBegan => Self::Identity,
            EventKind::Enrolled
            | EventKind::Edited
            | EventKind::CredentialsRevoked
            | EventKind::IdentityConflictDismissed
            | EventKind::Replaced
            | EventKind::Deleted
            | EventKind::Restored => Self::People,
        }
    }

    /// The kinds in it; none for all of them.
    fn kinds(self) -> Vec<EventKind> {
        EventKind::ALL.iter().copied().filter(|kind| self != Self::All && Self::of(*kind) == self).collect()
    }
}

#[component]
pub(super) fn Events(id: DeviceId) -> Element {
    let mut group = use_signal(|| Group::All);
    let mut wanted = use_signal(|| PAGE);
    let events = use_polling((id, group(), wanted()), POLL_INTERVAL, |system, principal, (id, group, wanted)| async move {
        let page = system.history.events(&principal, id, &group.kinds(), None, wanted).await?;
        Ok((page.events, page.next.is_some()))
    });
    let reading = events.read();
    let now = use_session().clock.now();
    rsx! {
        section { class: "card", aria_labelledby: "events-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "events-title", "Events" }
                select { class: "choice", name: "events", aria_label: "Event type", onchange: move |event| {
                        group.set(Group::ALL.into_iter().find(|group| group.title() == event.value()).unwrap_or(Group::All));
                        wanted.set(PAGE);
                    },
                    for choice in Group::ALL {
                        option { key: "{choice.title()}", value: choice.title(), selected: choice == group(), {choice.title()} }
                    }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| events.again() }
            }
            match reading.value.as_deref() {
                Some((list, _)) if list.is_empty() => rsx! { p { class: "muted", "No events of this type yet." } },
                Some((list, more)) => rsx! {
                    ol { class: "timeline",
                        for event in list.iter() {
                            EventRow { key: "{event.id}", event: event.clone(), ago: format::relative(now, event.at) }
                        }
                    }
                    if *more && wanted() < PAGE_MAX {
                        div { class: "more", button { class: "button", r#type: "button", "data-testid": "more-events", onclick: move |_| wanted.set((wanted() * 3).min(PAGE_MAX)), "Show older events" } }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

#[component]
fn EventRow(event: EventView, ago: String) -> Element {
    // One of a later build has a name and no words yet.
    let kind = EventKind::parse("kind", &event.kind).ok();
    let (glyph, tone) = kind.map_or((Glyph::Check, ""), icon_and_tone);
    let reported = kind.map_or_else(|| event.kind.replace('_', " "), |kind| words(kind, &event.detail));
    let at: Timestamp = event.at;
    rsx! {
        li { class: "event {tone}", "data-testid": "event", "data-kind": "{event.kind}",
            span { class: "event-mark", {icon(glyph)} }
            div { class: "event-body",
                span { {reported} if let Some(actor) = &event.actor { span { class: "muted", " by {actor}" } } }
                for change in changes(&event.detail) {
                    span { key: "{change}", class: "event-change", "{change}" }
                }
            }
            span { class: "event-time", {time_ago(at, &ago)} span { class: "event-exact", {local_time(at, LocalTime::Minute)} } }
        }
    }
}

fn icon_and_tone(kind: EventKind) -> (Glyph, &'static str) {
    match kind {
        EventKind::Enrolled => (Glyph::Plus, "good"),
        EventKind::RegistrationRetried => (Glyph::Plus, ""),
        EventKind::SameHardware => (Glyph::Alert, "warn"),
        EventKind::IdentityConflictBegan => (Glyph::Alert, "bad"),
        EventKind::IdentityConflictDismissed => (Glyph::Check, "good"),
        EventKind::Replaced => (Glyph::Restore, ""),
        EventKind::CameOnline => (Glyph::Network, "good"),
        EventKind::WentOffline => (Glyph::Network, "bad"),
        EventKind::Rebooted => (Glyph::Bolt, ""),
        EventKind::AgentVersionChanged | EventKind::AppVersionChanged => (Glyph::Package, ""),
        EventKind::LowBatteryBegan => (Glyph::Battery, "warn"),
        EventKind::LowBatteryEnded => (Glyph::Battery, "good"),
        EventKind::AppDownBegan => (Glyph::Alert, "bad"),
        EventKind::AppDownEnded => (Glyph::Check, "good"),
        EventKind::EventsLeftOut => (Glyph::Alert, "warn"),
        EventKind::Edited => (Glyph::Edit, ""),
        EventKind::CredentialsRevoked => (Glyph::Key, "warn"),
        EventKind::Deleted => (Glyph::Trash, "bad"),
        EventKind::Restored => (Glyph::Restore, "good"),
    }
}

/// An event as a sentence.
fn words(kind: EventKind, detail: &Value) -> String {
    let text = |name: &str| detail.get(name).map(plain);
    let versions = |what: &str| match (text("before"), text("after")) {
        (Some(before), Some(after)) => format!("{what} changed from {before} to {after}"),
        (None, Some(after)) => format!("{what} is {after}"),
        _ => format!("{what} changed"),
    };
    let with_charge = |what: &str| text("battery_pct").map_or_else(|| what.to_owned(), |pct| format!("{what}: {pct} %"));
    match kind {
        EventKind::Enrolled => "Enrolled".into(),
        EventKind::RegistrationRetried => "Registered again, as the answer was lost".into(),
        EventKind::SameHardware => match text("alias") {
            Some(alias) => format!("The same hardware enrolled as {alias}"),
            None => "The same hardware enrolled as another device".into(),
        },
        EventKind::IdentityConflictBegan => match (text("one"), text("other")) {
            (Some(one), Some(other)) => format!("Two devices report as this one: {one}; {other}"),
            _ => "Two devices report as this one".into(),
        },
        EventKind::IdentityConflictDismissed => "Identity conflict dismissed: it is one device".into(),
        EventKind::Replaced => match (text("role").as_deref(), text("alias")) {
            (Some("replaced"), Some(alias)) => format!("Replaced by {alias}"),
            (_, Some(alias)) => format!("Replaced {alias}, an earlier enrollment of the same hardware"),
            _ => "Replaced".into(),
        },
        EventKind::CameOnline => "Came online".into(),
        EventKind::WentOffline => "Went offline".into(),
        EventKind::Rebooted => "Restarted".into(),
        EventKind::AgentVersionChanged => versions("Agent version"),
        EventKind::AppVersionChanged => versions("Version of the monitored app"),
        EventKind::LowBatteryBegan => with_charge("Battery low"),
        EventKind::LowBatteryEnded => with_charge("Battery recovered"),
        EventKind::AppDownBegan => "Monitored app down".into(),
        EventKind::AppDownEnded => "Monitored app recovered".into(),
        EventKind::EventsLeftOut => match text("count") {
            Some(count) => format!("More events than are recorded in an hour: {count} left out"),
            None => "More events than are recorded in an hour".into(),
        },
        EventKind::Edited => "Edited".into(),
        EventKind::CredentialsRevoked => "Credentials revoked".into(),
        EventKind::Deleted => "Deleted".into(),
        EventKind::Restored => "Restored".into(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        Value::Array(entries) if entries.is_empty() => "none".into(),
        Value::Array(entries) => entries.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields.values().filter(|value| !value.is_null()).map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Changes of an edit, a line for each field with values before and after.
fn changes(detail: &Value) -> Vec<String> {
    let fields = detail.as_object().into_iter().flatten();
    fields
        .filter_map(|(field, change)| {
            let change = change.as_object()?;
            let (before, after) = (change.get("before")?, change.get("after")?);
            Some(format!("{}: {} → {}", field.replace('_', " "), plain(before), plain(after)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_belongs_to_one_group() {
        let of_groups: usize = Group::ALL.iter().map(|group| group.kinds().len()).sum();
        assert_eq!(of_groups, EventKind::ALL.len());
        assert!(Group::All.kinds().is_empty(), "no condition");
    }

    #[test]
    fn events_read_as_sentences() {
        assert_eq!(
            words(EventKind::AgentVersionChanged, &json!({"before": "1.0", "after": "1.1"})),
            "Agent version changed from 1.0 to 1.1"
        );
        assert_eq!(words(EventKind::LowBatteryBegan, &json!({"battery_pct": 17})), "Battery low: 17 %");
        assert_eq!(words(EventKind::LowBatteryBegan, &json!({})), "Battery low");
        assert!(EventKind::ALL.iter().all(|kind| !words(*kind, &Value::Null).is_empty()));
    }

    #[test]
    fn an_edit_says_what_became_of_each_field() {
        let detail = json!({
            "alias": {"before": "a", "after": "b"}, "tags": {"before": [], "after": ["x", "y"]},
            "monitored_app": {"before": null, "after": {"package": "io.example", "stale_after_s": 60}},
        });
        assert_eq!(changes(&detail), ["alias: a → b", "monitored app: none → io.example, 60", "tags: none → x, y"]);
        assert!(changes(&json!({"before": "1.0", "after": "1.1"})).is_empty(), "no field of its own");
    }
}
