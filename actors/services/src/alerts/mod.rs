//! Alerts, for people: lists and history, acknowledgements, rules, silences, channels and routes.

mod channels;
mod export;
mod groups;
mod list;
mod preview;
mod raised;
mod remediation;
mod routes;
mod rules;
mod silences;
mod subscriptions;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use actors::alert::AlertRules;
use actors::fleet_view::FleetView;
use chrono::DateTime;
use clock::Clock;
use domain::alert::{AlertRecord, AlertState, Rule, Severity, Subject, TransitionKind};
use domain::notification::{Notified, Suppression};
use domain::{AlertId, ChannelId, DeploymentId, DeviceId, Invalid, NotificationId, Timestamp};
use notify::Notifier;
use store::Store;

use super::table_pools::TablePools;

pub use channels::{ChannelField, ChannelInput, ChannelRequest, ChannelTest, ChannelValues, ChannelView, channel_fields};
pub use groups::{ALERT_GROUPS_MAX, AlertsTogether, Together};
pub use preview::{PREVIEWED_MAX, PreviewedDevice, RulePreview};
pub use remediation::{RemediationRequest, RemediationView};
pub use routes::RouteRequest;
pub use rules::{FIRED_DAYS, RuleRequest, RuleView};
pub use silences::{SilenceEnd, SilenceRequest, WindowRequest, matcher};
pub use subscriptions::SubscriptionView;

/// Most alerts of one acknowledgement.
pub const ACKNOWLEDGED_MAX: usize = 500;
/// Most changes of an alert that are shown.
const HISTORY_MAX: i64 = 500;
/// Most deliveries of an alert that are shown.
const DELIVERIES_MAX: i64 = 500;

/// Alerts that are wanted; conditions that are given all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// States; empty: all.
    pub states: Vec<AlertState>,
    /// Rule.
    pub rule: Option<Rule>,
    /// Least severity.
    pub min_severity: Option<Severity>,
    /// Subject.
    pub subject: Option<Subject>,
    /// Group that the device was in when the alert was raised.
    pub group: Option<String>,
    /// Tag that the device had when the alert was raised.
    pub tag: Option<String>,
    /// Not raised earlier.
    pub since: Option<Timestamp>,
    /// Not raised later.
    pub until: Option<Timestamp>,
}

impl AlertFilter {
    /// The same, of a device.
    #[must_use]
    pub fn of_device(self, id: DeviceId) -> Self {
        Self { subject: Some(Subject::Device(id)), ..self }
    }

    /// The same, of a deployment.
    #[must_use]
    pub fn of_deployment(self, id: DeploymentId) -> Self {
        Self { subject: Some(Subject::Deployment(id)), ..self }
    }
}

/// Place in the list of alerts, which is ordered by the time of the raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCursor {
    /// Time of the raise.
    pub at: Timestamp,
    /// The alert.
    pub id: AlertId,
}

impl fmt::Display for AlertCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.timestamp_micros(), self.id)
    }
}

impl FromStr for AlertCursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let read = || {
            let (at, id) = text.split_once('.')?;
            Some(Self { at: DateTime::from_timestamp_micros(at.parse().ok()?)?, id: id.parse().ok()? })
        };
        read().ok_or_else(|| Invalid::new("cursor", "not a cursor of this list"))
    }
}

/// A page of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPage {
    /// The alerts, the newest first.
    pub alerts: Vec<AlertRecord>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<AlertCursor>,
}

/// Change of an alert, and what became of its notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertStep {
    /// Number of the change.
    pub revision: u32,
    /// Kind.
    pub kind: TransitionKind,
    /// Time.
    pub at: Timestamp,
    /// Severity after it.
    pub severity: Severity,
    /// Who did it, of what people do.
    pub actor: Option<String>,
    /// Words to it.
    pub detail: Option<String>,
    /// When it was settled whether it is notified; `None`: not yet.
    pub settled_at: Option<Timestamp>,
    /// Cause for which it was not.
    pub suppressed_by: Option<Suppression>,
    /// Message of the notification.
    pub notification: Option<NotificationId>,
    /// Further messages of it, to a part of its recipients each.
    pub further: Vec<NotificationId>,
}

/// Delivery of a message to a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Message.
    pub notification: NotificationId,
    /// Channel.
    pub channel: ChannelId,
    /// Its name.
    pub channel_name: String,
    /// Headline.
    pub headline: String,
    /// State: `queued`, `delivered` or `dead`.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it is tried next, unless it has ended.
    pub next_attempt_at: Option<Timestamp>,
    /// Answer to the last attempt.
    pub last_answer: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

/// An alert with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertDetails {
    /// The alert.
    pub alert: AlertRecord,
    /// Its changes, oldest first.
    pub history: Vec<AlertStep>,
    /// Deliveries of the messages about it, oldest first.
    pub deliveries: Vec<Delivery>,
    /// What people have been notified of last; `None`: a newer alert of the rule and subject has taken its place, or nothing is known yet.
    pub notified: Option<Notified>,
    /// Why a notification is held, if one is.
    pub held: Option<Suppression>,
}

/// Number of open alerts of a rule, severity and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCount {
    /// Rule.
    pub rule: Rule,
    /// Severity.
    pub severity: Severity,
    /// Firing or acknowledged.
    pub state: AlertState,
    /// Number.
    pub alerts: u64,
}

/// Outcome of acknowledging an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcknowledgeOutcome {
    /// It is acknowledged now.
    Acknowledged,
    /// Somebody had acknowledged it before.
    Already,
    /// It is resolved.
    Resolved,
    /// There is no such alert.
    Unknown,
}

impl AcknowledgeOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Acknowledged, Self::Already, Self::Resolved, Self::Unknown];

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Already => "already_acknowledged",
            Self::Resolved => "resolved",
            Self::Unknown => "not_found",
        }
    }
}

/// Alerts, for people.
pub struct AlertService {
    clock: Clock,
    store: Store,
    fleet: Arc<FleetView>,
    tables: TablePools,
    /// Settings of rules; of them the configured ones are taken.
    rules: Arc<AlertRules>,
    notifier: Notifier,
    raised: raised::RaisedCounts,
}

impl AlertService {
    /// The service over a store and the devices of a node, the settings of rules, and the channels of notifications.
    pub fn new(clock: Clock, store: Store, fleet: Arc<FleetView>, tables: TablePools, rules: Arc<AlertRules>, notifier: Notifier) -> Self {
        Self { clock, store, fleet, tables, rules, notifier, raised: raised::RaisedCounts::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let cursor = AlertCursor { at: "2026-11-30T12:00:00.123456Z".parse().unwrap(), id: AlertId(uuid::Uuid::from_u128(7)) };
        assert_eq!(cursor.to_string().parse::<AlertCursor>().unwrap(), cursor);
        for bad in
            ["", "7", "x.y", "1.", ".00000000-0000-0000-0000-000000000007", "99999999999999999999.00000000-0000-0000-0000-000000000007"]
        {
            assert_eq!(bad.parse::<AlertCursor>().unwrap_err().field, "cursor", "{bad}");
        }
    }
}
