//! Alerts, their rules, silences and notifications as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an alert is about.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertSubject {
    /// Kind.
    #[schema(value_type = crate::names::AlertSubjectKind)]
    pub kind: String,
    /// Id of a device or deployment; name of a node or part of the system, empty for the cluster as a whole.
    pub id: String,
    /// Name when the alert was raised.
    pub name: String,
    /// Groups of the device, then.
    pub groups: Vec<String>,
    /// Tags of the device, then.
    pub tags: Vec<String>,
}

/// Acknowledgement of an alert.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Acknowledgement {
    /// By whom.
    pub by: String,
    /// Note; may be empty.
    pub note: String,
    /// When.
    pub at: String,
}

/// An alert as lists show it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Alert {
    /// Id.
    pub id: String,
    /// Rule.
    #[schema(value_type = crate::names::AlertRuleName)]
    pub rule: String,
    /// State.
    #[schema(value_type = crate::names::AlertState)]
    pub state: String,
    /// Severity.
    #[schema(value_type = crate::names::AlertSeverity)]
    pub severity: String,
    /// The device, if it is about one.
    pub device_id: Option<String>,
    /// What it is about.
    pub subject: AlertSubject,
    /// Reason in words and numbers, as of the raise.
    pub reason: String,
    /// When it was raised.
    pub since: String,
    /// Acknowledgement, if any.
    pub acknowledged: Option<Acknowledgement>,
    /// When it was resolved.
    pub resolved_at: Option<String>,
    /// Why it was resolved.
    #[schema(value_type = Option<crate::names::AlertResolveCause>)]
    pub resolve_cause: Option<String>,
    /// How long it lasted, or has lasted so far, seconds.
    pub lasted_seconds: i64,
}

/// A change of an alert, and what became of its notification.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertStep {
    /// Number of the change.
    pub revision: u32,
    /// Kind.
    #[schema(value_type = crate::names::AlertStepKind)]
    pub kind: String,
    /// When.
    pub at: String,
    /// Severity after it.
    #[schema(value_type = crate::names::AlertSeverity)]
    pub severity: String,
    /// Who did it, of what people do.
    pub actor: Option<String>,
    /// Words to it.
    pub detail: Option<String>,
    /// When it was settled whether it is notified; null: not yet.
    pub settled_at: Option<String>,
    /// Cause for which it is not notified.
    #[schema(value_type = Option<crate::names::AlertSuppression>)]
    pub suppressed_by: Option<String>,
    /// Message of the notification.
    pub notification_id: Option<String>,
    /// Further messages of the notification, to a part of its recipients each.
    #[serde(default)]
    pub further_notification_ids: Vec<String>,
}

/// Delivery of a message to a channel.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertDelivery {
    /// Message.
    pub notification_id: String,
    /// Channel.
    pub channel_id: String,
    /// Name of the channel.
    pub channel: String,
    /// Headline.
    pub headline: String,
    /// State.
    #[schema(value_type = crate::names::AlertDeliveryState)]
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: String,
    /// When it is tried next; null once it has ended.
    pub next_attempt_at: Option<String>,
    /// Answer of the service to the last attempt; null without `alert_channels:manage`.
    pub last_answer: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<String>,
}

/// 200 of `GET /v1/alerts/{id}`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertDetails {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// Its changes, oldest first.
    pub history: Vec<AlertStep>,
    /// Deliveries of the messages about it, oldest first.
    pub deliveries: Vec<AlertDelivery>,
    /// What people have been notified of last; null if that is not known, or a newer alert has taken its place.
    #[schema(value_type = Option<crate::names::AlertNotified>)]
    pub notified: Option<String>,
    /// Why a notification waits.
    #[schema(value_type = Option<crate::names::AlertSuppression>)]
    pub held_by: Option<String>,
}

/// Number of open alerts of a rule, severity and state.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertCount {
    /// Rule.
    #[schema(value_type = crate::names::AlertRuleName)]
    pub rule: String,
    /// Severity.
    #[schema(value_type = crate::names::AlertSeverity)]
    pub severity: String,
    /// State.
    #[schema(value_type = crate::names::AlertState)]
    pub state: String,
    /// Number.
    pub alerts: u64,
}

/// 200 of `GET /v1/alerts/counts`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertCounts {
    /// Firing alerts, without acknowledgement.
    pub firing: u64,
    /// Acknowledged alerts that are not resolved.
    pub acknowledged: u64,
    /// By rule, severity and state.
    pub items: Vec<AlertCount>,
}

/// Body of `POST /v1/alerts/{id}/acknowledge`; it may be left out.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AcknowledgeAlert {
    /// Note, at most 500 characters.
    pub note: String,
}

/// Body of `POST /v1/alerts/acknowledge`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeAlerts {
    /// Alerts, 1..500.
    pub ids: Vec<String>,
    /// Note, at most 500 characters.
    #[serde(default)]
    pub note: String,
}

/// Outcome of acknowledging an alert.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AcknowledgedAlert {
    /// The alert.
    pub id: String,
    /// Outcome.
    #[schema(value_type = crate::names::AcknowledgeOutcome)]
    pub outcome: String,
}

/// 200 of `POST /v1/alerts/acknowledge`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AcknowledgedAlerts {
    /// In the order of the ids.
    pub items: Vec<AcknowledgedAlert>,
}

/// A value that holds, and the scope that sets it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EffectiveThreshold {
    /// Name, with its unit last.
    pub name: String,
    /// Label on pages.
    pub label: String,
    /// Value that holds.
    pub value: i64,
    /// Scope that sets it.
    pub from: String,
    /// Default.
    pub default: i64,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
}

/// What holds of a rule, and the scopes that set it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EffectiveRule {
    /// Rule.
    #[schema(value_type = crate::names::AlertRuleName)]
    pub rule: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Scope that sets it.
    pub enabled_from: String,
    /// Severity.
    #[schema(value_type = crate::names::AlertSeverity)]
    pub severity: String,
    /// Scope that sets it.
    pub severity_from: String,
    /// Thresholds.
    pub thresholds: Vec<EffectiveThreshold>,
}

/// Rules as they hold for a device.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EffectiveRules {
    /// In the order of the table.
    pub items: Vec<EffectiveRule>,
}

/// Devices that a setting is for.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertScope {
    /// Kind.
    #[schema(value_type = crate::names::AlertScopeKind)]
    pub kind: String,
    /// Group, tag, or id of the device; not for all devices.
    #[serde(default)]
    pub value: Option<String>,
}

/// Setting of a rule for a scope; what it leaves out comes from the next less specific one.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertRuleSetting {
    /// Devices that it is for; all of them unless it is given.
    pub scope: Option<AlertScope>,
    /// Whether the rule is on.
    pub enabled: Option<bool>,
    /// Severity.
    #[schema(value_type = Option<crate::names::AlertSeverity>)]
    pub severity: Option<String>,
    /// Thresholds by name.
    pub thresholds: BTreeMap<String, i64>,
}

/// A rule as it is set.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRule {
    /// What holds unless a more specific setting differs.
    #[serde(flatten)]
    pub effective: EffectiveRule,
    /// Title.
    pub label: String,
    /// What it means that it fires.
    pub meaning: String,
    /// Path of its runbook in the documentation: what to look at, and what to do.
    pub runbook: String,
    /// Kind of what it is about.
    #[schema(value_type = crate::names::AlertSubjectKind)]
    pub subject: String,
    /// Its settings, the least specific first.
    pub settings: Vec<AlertRuleSetting>,
    /// How often it fired in the last 30 days.
    pub fired_30d: u64,
    /// Alerts of it that are open.
    pub open: u64,
}

/// 200 of `GET /v1/alert-rules`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRules {
    /// In the order of the table.
    pub items: Vec<AlertRule>,
}

/// A device of which a rule would fire.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PreviewedDevice {
    /// The device.
    pub device_id: String,
    /// Alias.
    pub alias: String,
    /// Reason in words and numbers.
    pub reason: String,
}

/// What a setting of a rule would mean for the fleet right now.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRulePreview {
    /// Devices of which the rule would fire.
    pub firing: u64,
    /// Devices of which it fires by what is set.
    pub firing_now: u64,
    /// Devices whose last heartbeat does not settle it.
    pub unknown: u64,
    /// Devices that the rule would be on for.
    pub judged: u64,
    /// At most 50 of those of which it would fire, by alias.
    pub devices: Vec<PreviewedDevice>,
}

/// Criteria of silences and maintenance windows: each kind that is given has to be met, by any of its values. At least one is given.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertMatcher {
    /// Rules.
    #[schema(value_type = Vec<crate::names::AlertRuleName>)]
    pub rules: Vec<String>,
    /// Severities.
    #[schema(value_type = Vec<crate::names::AlertSeverity>)]
    pub severities: Vec<String>,
    /// Groups of devices.
    pub groups: Vec<String>,
    /// Tags of devices.
    pub tags: Vec<String>,
    /// Ids of devices.
    pub devices: Vec<String>,
    /// Names of nodes.
    pub nodes: Vec<String>,
}

/// Body of `POST /v1/silences`; it takes either `ends_at` or `duration_seconds`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// Alerts.
    pub matcher: AlertMatcher,
    /// Reason, 1..500 characters.
    pub reason: String,
    /// Beginning; now unless it is given.
    #[serde(default)]
    pub starts_at: Option<String>,
    /// End, at most 90 days ahead.
    #[serde(default)]
    pub ends_at: Option<String>,
    /// Length from its beginning, seconds.
    #[serde(default)]
    pub duration_seconds: Option<i64>,
}

/// A silence.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Silence {
    /// Id.
    pub id: String,
    /// Alerts.
    pub matcher: AlertMatcher,
    /// Reason.
    pub reason: String,
    /// Who made it.
    pub author: String,
    /// Beginning.
    pub starts_at: String,
    /// End.
    pub ends_at: String,
    /// Whether it holds now.
    pub active: bool,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SilenceList {
    /// The first to end first.
    pub items: Vec<Silence>,
}

/// Body of `POST /v1/alert-windows`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlertWindow {
    /// Alerts.
    pub matcher: AlertMatcher,
    /// Reason, 1..500 characters.
    pub reason: String,
    /// Weekdays on which it opens.
    #[schema(value_type = Vec<crate::names::Weekday>)]
    pub weekdays: Vec<String>,
    /// Local time at which it opens, `HH:MM`.
    pub start: String,
    /// Local time at which it closes, `HH:MM`; on the next day if it is earlier.
    pub end: String,
    /// Time zone, by its IANA name.
    pub tz: String,
    /// End of all of it.
    #[serde(default)]
    pub ends_at: Option<String>,
}

/// A recurring maintenance window.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertWindow {
    /// Id.
    pub id: String,
    /// Alerts.
    pub matcher: AlertMatcher,
    /// Reason.
    pub reason: String,
    /// Who made it.
    pub author: String,
    /// Weekdays on which it opens.
    #[schema(value_type = Vec<crate::names::Weekday>)]
    pub weekdays: Vec<String>,
    /// Local time at which it opens.
    pub start: String,
    /// Local time at which it closes.
    pub end: String,
    /// Time zone.
    pub tz: String,
    /// End of all of it.
    pub ends_at: Option<String>,
    /// Whether it is open now.
    pub active: bool,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertWindowList {
    /// The oldest first.
    pub items: Vec<AlertWindow>,
}

/// Hours of a route.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteHours {
    /// Local time from which it leads to its channel, `HH:MM`.
    pub start: String,
    /// Local time until which it does, `HH:MM`.
    pub end: String,
    /// Time zone, by its IANA name.
    pub tz: String,
}

/// Time of a digest.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestTime {
    /// Local time, `HH:MM`.
    pub at: String,
    /// Time zone, by its IANA name.
    pub tz: String,
}

/// Body of `POST /v1/alert-routes` and `PUT /v1/alert-routes/{id}`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlertRoute {
    /// Channel that it leads to.
    pub channel_id: String,
    /// Least severity; `info` unless it is given.
    #[serde(default)]
    #[schema(value_type = Option<crate::names::AlertSeverity>)]
    pub min_severity: Option<String>,
    /// Rules; all unless they are given.
    #[serde(default)]
    #[schema(value_type = Vec<crate::names::AlertRuleName>)]
    pub rules: Vec<String>,
    /// Groups of devices; all, and what is no device, unless they are given.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Hours of the day; always unless they are given.
    #[serde(default)]
    pub hours: Option<RouteHours>,
    /// Level of escalation, 0..5: 0 is notified at once, the others when nobody acknowledges.
    #[serde(default)]
    pub level: u8,
    /// Time of a daily digest, instead of single messages.
    #[serde(default)]
    pub digest: Option<DigestTime>,
}

/// A route from alerts to a channel.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRoute {
    /// Id.
    pub id: String,
    /// Channel that it leads to.
    pub channel_id: String,
    /// Least severity.
    #[schema(value_type = crate::names::AlertSeverity)]
    pub min_severity: String,
    /// Rules; empty: all.
    #[schema(value_type = Vec<crate::names::AlertRuleName>)]
    pub rules: Vec<String>,
    /// Groups of devices; empty: all.
    pub groups: Vec<String>,
    /// Hours of the day; null: always.
    pub hours: Option<RouteHours>,
    /// Level of escalation.
    pub level: u8,
    /// Time of a daily digest.
    pub digest: Option<DigestTime>,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRouteList {
    /// The oldest first.
    pub items: Vec<AlertRoute>,
}

/// Body of `POST /v1/alert-channels`: name, kind, and the fields of the kind, which `GET /v1/alert-channel-kinds` lists.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct NewAlertChannel {
    /// Name, 1..100 characters; unique.
    pub name: String,
    /// Kind.
    #[schema(value_type = crate::names::AlertChannelKind)]
    pub kind: String,
    /// Whether it is on; it is unless this is false.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Fields of the kind, such as `url`.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, ChannelValue>)]
    pub fields: BTreeMap<String, Option<ChannelValue>>,
}

/// Body of `PATCH /v1/alert-channels/{id}`. What is not given stays as it is; an empty or null field goes.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannelPatch {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it is on.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Fields of the kind, such as `url`.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, ChannelValue>)]
    pub fields: BTreeMap<String, Option<ChannelValue>>,
}

/// Value of a channel's field.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ChannelValue {
    /// Text.
    Text(String),
    /// Number, as of a port.
    Number(u64),
}

/// It may be a secret.
impl std::fmt::Debug for ChannelValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChannelValue")
    }
}

/// A channel, without its secrets.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannel {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Kind.
    #[schema(value_type = crate::names::AlertChannelKind)]
    pub kind: String,
    /// What is no secret, by name; of a secret URL its `host`.
    pub settings: BTreeMap<String, String>,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// Names of the secret fields that are set; in lists, and where they cannot be read with this master key, null.
    pub secrets: Option<Vec<String>>,
    /// Whether it is on.
    pub enabled: bool,
    /// When it was changed last.
    pub changed_at: String,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannelList {
    /// By name.
    pub items: Vec<AlertChannel>,
}

/// Field of a kind of channel.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannelField {
    /// Name in bodies.
    pub name: String,
    /// Label on pages.
    pub label: String,
    /// What to enter.
    pub help: String,
    /// Whether it is kept sealed and never shown.
    pub secret: bool,
    /// Whether it has to be given.
    pub required: bool,
    /// Values to choose from; empty: any.
    pub choices: Vec<String>,
}

/// Kind of a channel with its fields.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannelKindFields {
    /// Kind.
    #[schema(value_type = crate::names::AlertChannelKind)]
    pub kind: String,
    /// Title on pages.
    pub title: String,
    /// Fields.
    pub fields: Vec<AlertChannelField>,
}

/// 200 of `GET /v1/alert-channel-kinds`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannelKinds {
    /// Every kind.
    pub items: Vec<AlertChannelKindFields>,
}

/// 200 of `POST /v1/alert-channels/{id}/test`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertChannelTest {
    /// Whether the service took the message.
    pub delivered: bool,
    /// Its answer in its words, or the error.
    pub answer: String,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// 200 of `GET /v1/alert-channels/{id}/deliveries`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertDeliveryList {
    /// Newest first.
    pub items: Vec<AlertDelivery>,
}

/// Body of `POST /v1/event-subscriptions`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEventSubscription {
    /// Channel that events are sent to.
    pub channel_id: String,
    /// Actions of the audit trail, 1..50: `device.enrolled`, or several at once: `device.*`.
    pub actions: Vec<String>,
}

/// Subscription of a channel to events.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EventSubscription {
    /// Id.
    pub id: String,
    /// Channel that events are sent to.
    pub channel_id: String,
    /// Actions of the audit trail.
    pub actions: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: String,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EventSubscriptionList {
    /// The oldest first.
    pub items: Vec<EventSubscription>,
}

/// Body of `PUT /v1/alert-remediation/{rule}`. What is left out has its default.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlertRemediation {
    /// Whether commands are sent.
    pub enabled: bool,
    /// Group; all devices that have no plan of a group of theirs unless it is given.
    #[serde(default)]
    pub group: Option<String>,
    /// Attempts at one alert, 1..10.
    #[serde(default)]
    pub attempts_max: Option<u32>,
    /// Wait after the first attempt, doubled with each further one, 10..86400 s.
    #[serde(default)]
    pub backoff_seconds: Option<u32>,
    /// Devices that are remediated at once, 1..10000.
    #[serde(default)]
    pub at_once_max: Option<u32>,
    /// Commands of an hour, 1..100000.
    #[serde(default)]
    pub per_hour_max: Option<u32>,
    /// Remediations in a row that fail before it turns itself off, 1..100.
    #[serde(default)]
    pub failures_max: Option<u32>,
    /// Whether a device may be restarted.
    #[serde(default)]
    pub allow_reboot: bool,
    /// Name of the allowed command that `exec` runs.
    #[serde(default)]
    pub exec: Option<String>,
}

/// What mends the alerts of a rule, for all devices or a group.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRemediation {
    /// Rule.
    #[schema(value_type = crate::names::AlertRuleName)]
    pub rule: String,
    /// Group; null: all devices that have no plan of a group of theirs.
    pub group: Option<String>,
    /// Whether commands are sent.
    pub enabled: bool,
    /// Commands, in the order in which they are tried.
    #[schema(value_type = Vec<crate::names::AlertRemedy>)]
    pub remedies: Vec<String>,
    /// Attempts at one alert.
    pub attempts_max: u32,
    /// Wait after the first attempt, s.
    pub backoff_seconds: u32,
    /// Devices that are remediated at once.
    pub at_once_max: u32,
    /// Commands of an hour.
    pub per_hour_max: u32,
    /// Remediations in a row that fail before it turns itself off.
    pub failures_max: u32,
    /// Whether a device may be restarted.
    pub allow_reboot: bool,
    /// Name of the allowed command that `exec` runs.
    pub exec: Option<String>,
    /// Remediations in a row that did not help.
    pub failures_in_a_row: u32,
    /// When it turned itself off.
    pub turned_off_at: Option<String>,
    /// Who changed it last; null: nobody has set it.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Option<String>,
}

/// 200 of `GET /v1/alert-remediation`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AlertRemediationList {
    /// By rule; the plan for all devices first.
    pub items: Vec<AlertRemediation>,
}
