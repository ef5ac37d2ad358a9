//! What is known of alerts: rows of the database, and messages that sinks received.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::sink::Arrival;

/// Raise or resolve of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// Id of the alert.
    pub alert: String,
    /// Rule.
    pub rule: String,
    /// Kind and id of the subject.
    pub subject: String,
    /// `raised` or `resolved`.
    pub kind: String,
    /// Time.
    pub at_us: i64,
    /// Cause for which it is not notified.
    pub suppressed_by: Option<String>,
    /// Notification that it is part of.
    pub notification: Option<String>,
    /// Further notifications that say it, each to a part of its recipients.
    pub further: Vec<String>,
    /// Cause for which it is held now.
    pub held: Option<String>,
}

/// Notification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationRow {
    /// Kind.
    pub kind: String,
    /// Thread.
    pub thread: String,
    /// Whether it begins its thread.
    pub begins_thread: bool,
    /// Time of the decision.
    pub created_us: i64,
}

/// Notification for a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Notification.
    pub notification: String,
    /// Name of the channel, which is that of its sink.
    pub channel: String,
    /// `queued`, `delivered` or `dead`.
    pub state: String,
    /// When it was queued.
    pub queued_us: i64,
}

/// Time during which a sink did not accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentSink {
    /// Name of the sink.
    pub sink: String,
    /// End.
    pub until_us: i64,
}

/// Facts about alerts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertFacts {
    /// Names of the sinks whose record is complete.
    pub sinks: BTreeSet<String>,
    /// Messages that they received.
    pub arrivals: Vec<Arrival>,
    /// Times during which they did not accept.
    pub silent_sinks: Vec<SilentSink>,
    /// Raises and resolves.
    pub changes: Vec<ChangeRow>,
    /// Notifications by id.
    pub notifications: HashMap<String, NotificationRow>,
    /// Notifications for channels.
    pub deliveries: Vec<DeliveryRow>,
    /// Subject and rule of open alerts whose condition does not hold.
    pub still_open: Vec<(String, String)>,
    /// Cooldown of the nodes.
    pub cooldown_us: i64,
    /// Time within which a change is settled, unless it is held.
    pub settled_within_us: i64,
    /// Time within which a message is delivered to a sink that accepts.
    pub delivered_within_us: i64,
    /// When the rows were read.
    pub read_us: i64,
}

/// Time within which a change is settled, and its message delivered, in runs that set no other.
const SOON_US: i64 = 120_000_000;

impl Default for AlertFacts {
    fn default() -> Self {
        Self {
            sinks: BTreeSet::new(),
            arrivals: Vec::new(),
            silent_sinks: Vec::new(),
            changes: Vec::new(),
            notifications: HashMap::new(),
            deliveries: Vec::new(),
            still_open: Vec::new(),
            cooldown_us: 0,
            settled_within_us: SOON_US,
            delivered_within_us: SOON_US,
            read_us: 0,
        }
    }
}
