//! State of the coordinator: what people have been notified of for each rule and subject, and what waits to be notified. It is what the database holds, row
//! by row, so that any node goes on where another ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::alert::{AlertKey, OPENINGS_MAX, Openings, Rule, Severity, SubjectLabels, TransitionKind};
use crate::invalid::{Invalid, in_range};
use crate::shard::{ShardId, shard_of_name};
use crate::{AlertId, ChannelId, Timestamp};

use super::NotificationSetup;

/// The shard whose owner coordinates.
pub fn coordinator_shard() -> ShardId {
    shard_of_name("alerts")
}

/// Limits and waits of notifications; from configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationSettings {
    /// Wait for further alerts of a rule before the first message about it.
    pub group_wait: TimeDelta,
    /// Shortest time between two messages of a kind about a rule.
    pub group_interval: TimeDelta,
    /// Shortest time between two messages of a kind about the same rule and subject.
    pub cooldown: TimeDelta,
    /// Time without an acknowledgement after which the next level of routes is notified.
    pub escalate_after: TimeDelta,
    /// Openings within an hour above which an alert flaps.
    pub flap_limit: usize,
    /// Most messages a minute; the last of them sums up what exceeds it.
    pub per_minute_max: u32,
    /// How long an inhibition goes on after the alert that inhibits: those it caused clear meanwhile.
    pub inhibition_tail: TimeDelta,
}

impl NotificationSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the setting and its limits.
    pub fn checked(self) -> Result<Self, Invalid> {
        for (field, value, min, max) in [
            ("group_wait_seconds", self.group_wait, 0, 3_600),
            ("group_interval_seconds", self.group_interval, 0, 86_400),
            ("cooldown_seconds", self.cooldown, 0, 86_400),
            ("escalate_after_seconds", self.escalate_after, 60, 604_800),
            ("inhibition_tail_seconds", self.inhibition_tail, 0, 3_600),
        ] {
            in_range(field, value.num_seconds(), min, max)?;
        }
        in_range("flap_limit", self.flap_limit, 1, OPENINGS_MAX - 1)?;
        in_range("per_minute_max", self.per_minute_max, 1, 10_000)?;
        Ok(self)
    }
}

impl Default for NotificationSettings {
    fn default() -> Self {
        Self {
            group_wait: TimeDelta::seconds(15),
            group_interval: TimeDelta::seconds(60),
            cooldown: TimeDelta::minutes(30),
            escalate_after: TimeDelta::minutes(30),
            flap_limit: 5,
            per_minute_max: 30,
            inhibition_tail: TimeDelta::minutes(2),
        }
    }
}

/// Cause for which a change of an alert is not notified, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Suppression {
    /// Another alert says the same: a lost node, a silent fleet, an outage, a start of the cluster.
    Inhibited,
    /// A maintenance window is open.
    MaintenanceWindow,
    /// A silence matches.
    Silenced,
    /// It opens and clears all the time, which one message says.
    Flapping,
    /// The same was notified within the cooldown.
    Cooldown,
    /// No route leads to a channel.
    NoRoute,
    /// The opposite happened before it was notified.
    Superseded,
}

named!(pub Suppression, parse -> Option);

/// Number of a change of an alert, in the order of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransitionId(pub i64);

/// Change of an alert that the coordinator has not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertEvent {
    /// Number.
    pub id: TransitionId,
    /// The alert.
    pub alert: AlertId,
    /// Rule and subject.
    pub key: AlertKey,
    /// Change.
    pub kind: TransitionKind,
    /// Severity after it.
    pub severity: Severity,
    /// Name and labels of the subject.
    pub labels: SubjectLabels,
    /// Reason of the alert.
    pub reason: String,
    /// Time of the change.
    pub at: Timestamp,
}

/// What people have been notified of a rule and subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Notified {
    /// Nothing.
    Nothing,
    /// That it fires.
    Firing,
    /// That it is resolved.
    Resolved,
}

named!(pub Notified, parse -> Option);

/// State of the notifications of a rule and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// The newest alert.
    pub alert: AlertId,
    /// Its severity.
    pub severity: Severity,
    /// Name and labels of the subject.
    pub labels: SubjectLabels,
    /// Its reason.
    pub reason: String,
    /// When it was raised.
    pub opened_at: Timestamp,
    /// When it was resolved; `None`: it fires.
    pub resolved_at: Option<Timestamp>,
    /// Whether a person looks after it.
    pub acknowledged: bool,
    /// What people have been notified of last.
    pub notified: Notified,
    /// Channels that were notified that it fires.
    pub notified_channels: Vec<ChannelId>,
    /// When they were notified last that it fires.
    pub raise_notified_at: Option<Timestamp>,
    /// Its severity as they were notified that it fires; `None`: by a build that did not note it.
    pub notified_severity: Option<Severity>,
    /// When they were notified last that it is resolved.
    pub resolve_notified_at: Option<Timestamp>,
    /// When they were notified last that it flaps.
    pub flapping_notified_at: Option<Timestamp>,
    /// Level of routes that was notified.
    pub level: u8,
    /// When that level was notified.
    pub level_notified_at: Option<Timestamp>,
    /// Since when it waits for others of its group; `None`: it does not, or is held.
    pub waiting_since: Option<Timestamp>,
    /// Why it is held.
    pub held: Option<Suppression>,
    /// Openings of the last hour.
    pub openings: Openings,
    /// Changes that are neither notified nor suppressed: a raise, or a resolve; at most one.
    pub unsettled: Option<TransitionId>,
}

impl Tracked {
    /// Whether it fires.
    pub fn fires(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// What people ought to be notified of, unless they have been.
    pub(super) fn pending_notice(&self) -> Option<PendingNotice> {
        match (self.fires(), self.notified) {
            (true, Notified::Nothing | Notified::Resolved) => Some(PendingNotice::Raise),
            (false, Notified::Firing) => Some(PendingNotice::Resolve),
            _ => None,
        }
    }
}

/// Something that people ought to be notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PendingNotice {
    Raise,
    Resolve,
}

/// Thread of the messages about a rule: from its first raise until everything is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// When it began; names the thread together with the rule.
    pub began_at: Timestamp,
    /// When the last message about raises was sent.
    pub raised_sent_at: Option<Timestamp>,
    /// When the last message about resolves was sent.
    pub resolved_sent_at: Option<Timestamp>,
}

impl Thread {
    /// Name of the thread: the key by which sinks put messages together.
    pub fn name(&self, rule: Rule) -> String {
        format!("{}-{}", rule.as_str(), self.began_at.timestamp_millis())
    }
}

/// State of the coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoordinatorState {
    /// Rules and subjects that fire, wait, or were notified of lately. Shared: a decision copies those that it changes.
    pub tracked: BTreeMap<AlertKey, Arc<Tracked>>,
    /// Threads of messages by rule.
    pub threads: BTreeMap<Rule, Thread>,
    /// Messages of the last minute, oldest first.
    pub sent: Vec<Timestamp>,
}

/// What people have set up, and the settings.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Limits and waits.
    pub settings: &'a NotificationSettings,
    /// Routes, channels, silences and maintenance windows.
    pub setup: &'a NotificationSetup,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_their_limits_are_refused_by_name() {
        let default = NotificationSettings::default();
        assert!(default.checked().is_ok());
        let refused = |settings: NotificationSettings| settings.checked().unwrap_err().to_string();
        let long = NotificationSettings { cooldown: TimeDelta::days(2), ..default };
        assert_eq!(refused(long), "cooldown_seconds: 172800 is outside 0..86400");
        assert_eq!(refused(NotificationSettings { per_minute_max: 0, ..default }), "per_minute_max: 0 is outside 1..10000");
        assert_eq!(refused(NotificationSettings { flap_limit: 20, ..default }), "flap_limit: 20 is outside 1..19");
    }

    #[test]
    fn a_thread_is_named_by_its_rule_and_beginning() {
        let began_at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let thread = Thread { began_at, raised_sent_at: None, resolved_sent_at: None };
        assert_eq!(thread.name(Rule::DeviceOffline), "device_offline-1780000000000");
    }
}
