//! Subscriptions to events: what the audit trail records is sent to a channel, too.

use crate::audit::AuditAction;
use crate::event::EventKind;
use crate::invalid::Invalid;
use crate::text::bounded;
use crate::{ChannelId, DeviceId, SubscriptionId, Timestamp};

/// Most subscriptions.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// Most actions and patterns of a subscription.
pub const SUBSCRIBED_ACTIONS_MAX: usize = 50;
/// Longest action or pattern.
const ACTION_MAX_CHARS: usize = 64;

/// Beginning of the names of events of devices.
pub const DEVICE_EVENT_PREFIX: &str = "device_event.";
/// Most events of devices that a subscription gets within a minute; those beyond are counted.
pub const DEVICE_EVENTS_PER_MINUTE: u32 = 60;

/// Kinds of events of devices that a subscription can be about: those that the audit trail does not record.
pub fn device_event_kinds() -> impl Iterator<Item = EventKind> {
    let recorded = |kind: EventKind| {
        use EventKind::{CredentialsRevoked, Deleted, Edited, Enrolled, IdentityConflictDismissed, Replaced, Restored};
        matches!(kind, CredentialsRevoked | Deleted | Edited | Enrolled | IdentityConflictDismissed | Replaced | Restored)
    };
    EventKind::ALL.into_iter().filter(move |kind| !recorded(*kind))
}

/// Subscription of a channel to events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSubscription {
    /// Id.
    pub id: SubscriptionId,
    /// Channel.
    pub channel: ChannelId,
    /// Actions of the audit trail: `device.enrolled`, or several at once: `device.*`; events of devices: `device_event.app_down_began`, `device_event.*`.
    pub actions: Vec<String>,
}

impl EventSubscription {
    /// Checks the actions.
    ///
    /// # Errors
    /// Names the field, the action that there is not, or the limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        if self.actions.is_empty() {
            return Err(Invalid::new("actions", "missing: name at least one, such as device.enrolled or device.*"));
        }
        if self.actions.len() > SUBSCRIBED_ACTIONS_MAX {
            return Err(Invalid::new(
                "actions",
                format!("{} entries are more than the {SUBSCRIBED_ACTIONS_MAX} allowed", self.actions.len()),
            ));
        }
        for (at, pattern) in self.actions.iter().enumerate() {
            let field = format!("actions[{at}]");
            bounded(&field, pattern, ACTION_MAX_CHARS)?;
            let is_event = device_event_kinds().any(|kind| covers(pattern, kind.as_str()));
            if !is_event && !AuditAction::ALL.iter().any(|action| matches(pattern, action.as_str())) {
                return Err(Invalid::new(
                    field,
                    format!("{pattern:?} is no action of the audit trail or event of devices, and no beginning of one followed by *"),
                ));
            }
        }
        Ok(self)
    }

    /// Whether it is about an event of a device, by its whole name.
    pub fn covers_device_event(&self, name: &str) -> bool {
        let kind = name.strip_prefix(DEVICE_EVENT_PREFIX).filter(|kind| device_event_kinds().any(|known| known.as_str() == *kind));
        kind.is_some_and(|kind| self.actions.iter().any(|pattern| covers(pattern, kind)))
    }

    /// Whether it is about any event of devices.
    pub fn covers_device_events(&self) -> bool {
        device_event_kinds().any(|kind| self.actions.iter().any(|pattern| covers(pattern, kind.as_str())))
    }

    /// Every action that it is about, by name.
    pub fn covered(&self) -> Vec<&'static str> {
        let is_covered = |action: &&AuditAction| self.actions.iter().any(|pattern| matches(pattern, action.as_str()));
        AuditAction::ALL.iter().filter(is_covered).map(|action| action.as_str()).collect()
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Whether a pattern is about a kind of events of devices. It has to name them: `*` and `device*` are about the trail alone, whatever there was first.
fn covers(pattern: &str, kind: &str) -> bool {
    pattern.strip_prefix(DEVICE_EVENT_PREFIX).is_some_and(|rest| matches(rest, kind))
}

/// Event of a message: an entry of the audit trail, or an event of a device, without the states before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedEvent {
    /// Number in the trail; of an event of a device, its number among those of subscriptions.
    pub seq: i64,
    /// Time.
    pub at: Timestamp,
    /// Action.
    pub action: String,
    /// Kind of who did it.
    pub actor_kind: String,
    /// Who did it.
    pub actor_name: String,
    /// Kind of what it was done to.
    pub target_kind: String,
    /// Id of it.
    pub target_id: Option<String>,
    /// Name of it.
    pub target_name: Option<String>,
}

impl AuditedEvent {
    /// Event of a device: its number, time, kind, the device with its name, and the person who caused it.
    pub fn of_device((seq, at, kind, id, name, actor): (i64, Timestamp, String, DeviceId, Option<String>, Option<String>)) -> Self {
        Self {
            seq,
            at,
            action: format!("{DEVICE_EVENT_PREFIX}{kind}"),
            actor_kind: if actor.is_some() { "user" } else { "device" }.to_owned(),
            actor_name: actor.or_else(|| name.clone()).unwrap_or_else(|| id.to_string()),
            target_kind: "device".to_owned(),
            target_id: Some(id.to_string()),
            target_name: name,
        }
    }

    /// Device whose event it is; `None`: it is an entry of the trail.
    pub fn device(&self) -> Option<&str> {
        self.action.starts_with(DEVICE_EVENT_PREFIX).then_some(self.target_id.as_deref()).flatten()
    }

    /// One line that says it all: "device.enrolled: till-1, by ada".
    pub fn headline(&self) -> String {
        match self.target_name.as_ref().or(self.target_id.as_ref()) {
            Some(target) if self.actor_kind == "device" => format!("{}: {target}", self.action),
            Some(target) => format!("{}: {target}, by {}", self.action, self.actor_name),
            None => format!("{}, by {}", self.action, self.actor_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(actions: &[&str]) -> EventSubscription {
        let (id, channel) = (SubscriptionId(uuid::Uuid::nil()), ChannelId(uuid::Uuid::nil()));
        EventSubscription { id, channel, actions: actions.iter().map(|action| (*action).to_owned()).collect() }
    }

    #[test]
    fn patterns_cover_actions_and_nonsense_is_refused() {
        let covered = subscription(&["device.d*", "deployment.finished"]).checked().unwrap().covered();
        assert_eq!(covered, ["device.deleted", "deployment.finished"]);
        assert_eq!(subscription(&["*"]).covered().len(), AuditAction::ALL.len());
        for (actions, text) in [
            (vec![], "actions: missing: name at least one, such as device.enrolled or device.*"),
            (
                vec!["device.enroled"],
                "actions[0]: \"device.enroled\" is no action of the audit trail or event of devices, and no beginning of one followed by *",
            ),
            (
                vec!["device.enrolled", "x*"],
                "actions[1]: \"x*\" is no action of the audit trail or event of devices, and no beginning of one followed by *",
            ),
            (
                vec!["device_event.edited"],
                "actions[0]: \"device_event.edited\" is no action of the audit trail or event of devices, and no beginning of one followed by *",
            ),
            (vec!["*"; 51], "actions: 51 entries are more than the 50 allowed"),
        ] {
            assert_eq!(subscription(&actions).checked().unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn events_of_devices_are_named_to_be_sent() {
        let covers = |pattern: &str, name: &str| subscription(&[pattern]).checked().unwrap().covers_device_event(name);
        assert!(covers("device_event.*", "device_event.went_offline"));
        assert!(covers("device_event.app_down*", "device_event.app_down_ended"));
        assert!(!covers("device_event.app_down_began", "device_event.app_down_ended"));
        assert!(!covers("*", "device_event.went_offline") && !covers("device*", "device_event.went_offline"), "the trail alone");
        assert!(!covers("device_event.*", "device_event.edited"), "the trail records it");
        assert!(subscription(&["device_event.*"]).covered().is_empty());
        assert!(subscription(&["device_event.*"]).covers_device_events() && !subscription(&["device*"]).covers_device_events());
        let id = DeviceId(uuid::Uuid::nil());
        let event = AuditedEvent::of_device((7, chrono::DateTime::UNIX_EPOCH, "rebooted".into(), id, Some("till-1".into()), None));
        assert_eq!((event.headline().as_str(), event.device()), ("device_event.rebooted: till-1", Some(id.to_string().as_str())));
    }

    #[test]
    fn a_headline_names_action_target_and_actor() {
        let event = AuditedEvent {
            seq: 1,
            at: chrono::DateTime::UNIX_EPOCH,
            action: "device.enrolled".into(),
            actor_kind: "person".into(),
            actor_name: "ada".into(),
            target_kind: "device".into(),
            target_id: Some("x".into()),
            target_name: Some("till-1".into()),
        };
        assert_eq!(event.headline(), "device.enrolled: till-1, by ada");
        assert_eq!(AuditedEvent { target_name: None, target_id: None, ..event }.headline(), "device.enrolled, by ada");
    }
}
