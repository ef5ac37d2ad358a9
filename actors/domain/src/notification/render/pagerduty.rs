//! Events for PagerDuty, Events API v2.

use crate::alert::Severity;
use crate::notification::{NotificationKind, ThreadMark};

use super::Rendering;
use super::neutral::{cut, line};

/// Longest summary.
const SUMMARY_MAX_CHARS: usize = 1_024;
/// Longest dedup key.
const KEY_MAX_CHARS: usize = 255;

/// Action of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PagerdutyAction {
    /// Opens an incident, or adds to it.
    Trigger,
    /// Says that somebody looks after it.
    Acknowledge,
    /// Resolves it.
    Resolve,
}

named!(pub PagerdutyAction);

/// Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagerdutyEvent {
    /// Action.
    pub action: PagerdutyAction,
    /// Key of the incident: the thread of the messages about a rule.
    pub dedup_key: String,
    /// Summary.
    pub summary: String,
    /// Severity by PagerDuty's names: `critical`, `warning`, `info`.
    pub severity: &'static str,
    /// Source: the only subject, or the product.
    pub source: String,
    /// Page of the alert.
    pub link: String,
    /// Custom details: name of the subject and text about it.
    pub details: Vec<(String, String)>,
}

/// Events for PagerDuty. A resolve of some of the alerts of a thread adds to the incident; only that of the last one resolves it. A message that sums up
/// several rules has an event for the incident of each. None: nothing that PagerDuty has an event for.
pub fn pagerduty(rendering: &Rendering<'_>) -> Vec<PagerdutyEvent> {
    let message = rendering.message;
    let action = match message.kind {
        NotificationKind::Resolved if message.ends_thread => PagerdutyAction::Resolve,
        NotificationKind::Acknowledged => PagerdutyAction::Acknowledge,
        NotificationKind::Digest | NotificationKind::Event | NotificationKind::Report | NotificationKind::Missed => return vec![],
        // An incident that is open already is not opened again.
        NotificationKind::Resolved => PagerdutyAction::Trigger,
        _ => PagerdutyAction::Trigger,
    };
    let severity = match message.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let source = match message.alerts.as_slice() {
        [only] => cut(&line(rendering.name(only)), SUMMARY_MAX_CHARS),
        _ => "NexMDM".to_owned(),
    };
    let detail = |(alert, text): (&crate::notification::NotifiedAlert, String)| {
        (cut(&line(rendering.name(alert)), KEY_MAX_CHARS), cut(&line(&text), SUMMARY_MAX_CHARS))
    };
    let event = |thread: &str, action: PagerdutyAction| PagerdutyEvent {
        action,
        dedup_key: cut(&format!("nexmdm-{}", line(thread)), KEY_MAX_CHARS),
        summary: cut(&line(&message.headline), SUMMARY_MAX_CHARS),
        severity,
        source: source.clone(),
        link: rendering.page(),
        details: message.lines().into_iter().map(detail).collect(),
    };
    if message.threads.is_empty() {
        return vec![event(&message.thread, action)];
    }
    let of = |mark: &ThreadMark| event(&mark.name, if mark.ends { PagerdutyAction::Resolve } else { PagerdutyAction::Trigger });
    message.threads.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::Message;
    use crate::notification::message::tests::{notification, offline};

    fn all(message: &Message) -> Vec<PagerdutyEvent> {
        pagerduty(&Rendering { id: NotificationId(uuid::Uuid::nil()), message, public_url: "https://mdm.example" })
    }

    fn rendered(message: &Message) -> Option<PagerdutyEvent> {
        let mut events = all(message);
        assert!(events.len() <= 1);
        events.pop()
    }

    #[test]
    fn an_incident_is_acknowledged_by_its_key() {
        let raised = rendered(&notification(NotificationKind::Raised, vec![offline(1, &[], None)]).message()).unwrap();
        let acknowledged = rendered(&notification(NotificationKind::Acknowledged, vec![offline(1, &[], None)]).message()).unwrap();
        assert_eq!((acknowledged.action, acknowledged.dedup_key), (PagerdutyAction::Acknowledge, raised.dedup_key));
        assert_eq!(PagerdutyAction::Acknowledge.as_str(), "acknowledge");
        assert_eq!(acknowledged.summary, "Acknowledged: Device offline: till-1");
    }

    #[test]
    fn what_sums_up_several_rules_leaves_no_incident_of_its_own() {
        let mut overflow = notification(NotificationKind::Overflow, vec![offline(1, &[], None)]).message();
        overflow.threads =
            vec![ThreadMark { name: "app_down-1".into(), ends: false }, ThreadMark { name: "device_offline-1".into(), ends: true }];
        let events: Vec<_> = all(&overflow).into_iter().map(|event| (event.dedup_key, event.action)).collect();
        assert_eq!(
            events,
            [("nexmdm-app_down-1".into(), PagerdutyAction::Trigger), ("nexmdm-device_offline-1".into(), PagerdutyAction::Resolve)]
        );
    }

    #[test]
    fn an_incident_ends_with_its_thread() {
        let raised = rendered(&notification(NotificationKind::Raised, vec![offline(1, &[], None)]).message()).unwrap();
        assert_eq!(
            (raised.action, raised.dedup_key.as_str(), raised.severity),
            (PagerdutyAction::Trigger, "nexmdm-device_offline-1", "warning")
        );
        assert_eq!(raised.source, "till-1");
        let mut resolved = notification(NotificationKind::Resolved, vec![offline(1, &[], Some(60))]).message();
        assert_eq!(rendered(&resolved).unwrap().action, PagerdutyAction::Trigger, "others still fire");
        resolved.ends_thread = true;
        let last = rendered(&resolved).unwrap();
        assert_eq!((last.action, last.dedup_key), (PagerdutyAction::Resolve, raised.dedup_key));
        assert_eq!(rendered(&notification(NotificationKind::Digest, vec![]).message()), None);
        assert_eq!(rendered(&crate::notification::message::tests::report("1")), None);
    }
}
