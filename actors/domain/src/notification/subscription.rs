//! Subscriptions to events: what the audit trail records is sent to a channel, too.

use crate::audit::AuditAction;
use crate::invalid::Invalid;
use crate::text::bounded;
use crate::{ChannelId, SubscriptionId, Timestamp};

/// Most subscriptions.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// Most actions and patterns of a subscription.
pub const SUBSCRIBED_ACTIONS_MAX: usize = 50;
/// Longest action or pattern.
const ACTION_MAX_CHARS: usize = 64;

/// Subscription of a channel to events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSubscription {
    /// Id.
    pub id: SubscriptionId,
    /// Channel.
    pub channel: ChannelId,
    /// Actions of the audit trail: `device.enrolled`, or several at once: `device.*`.
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
            if !AuditAction::ALL.iter().any(|action| matches(pattern, *action)) {
                return Err(Invalid::new(
                    field,
                    format!("{pattern:?} is no action of the audit trail, and no beginning of one followed by *"),
                ));
            }
        }
        Ok(self)
    }

    /// Every action that it is about, by name.
    pub fn covered(&self) -> Vec<&'static str> {
        let is_covered = |action: &&AuditAction| self.actions.iter().any(|pattern| matches(pattern, **action));
        AuditAction::ALL.iter().filter(is_covered).map(|action| action.as_str()).collect()
    }
}

fn matches(pattern: &str, action: AuditAction) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => action.as_str().starts_with(beginning),
        None => action.as_str() == pattern,
    }
}

/// Event of a message: an entry of the audit trail, without the states before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedEvent {
    /// Number in the trail.
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
    /// One line that says it all: "device.enrolled: till-1, by ada".
    pub fn headline(&self) -> String {
        match self.target_name.as_ref().or(self.target_id.as_ref()) {
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
                "actions[0]: \"device.enroled\" is no action of the audit trail, and no beginning of one followed by *",
            ),
            (vec!["device.enrolled", "x*"], "actions[1]: \"x*\" is no action of the audit trail, and no beginning of one followed by *"),
            (vec!["*"; 51], "actions: 51 entries are more than the 50 allowed"),
        ] {
            assert_eq!(subscription(&actions).checked().unwrap_err().to_string(), text);
        }
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
