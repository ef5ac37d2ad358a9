//! Reports of the fleet, and the schedules by which they are sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// 200 of `GET /v1/reports`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FleetReport {
    /// Kind of the period.
    #[schema(value_type = crate::names::ReportPeriod)]
    pub period: String,
    /// First day, UTC.
    pub first_day: String,
    /// Last day, UTC.
    pub last_day: String,
    /// Group; null: the fleet.
    pub group: Option<String>,
    /// Whether there are figures of every day of the period.
    pub complete: bool,
    /// Number of days of the period before that there are figures of. Sums are comparable if `days` has as many.
    pub days_before: u64,
    /// The newest day that there are figures of; null: there are none yet.
    pub newest_day: Option<String>,
    /// Measures of the period, and of the one before it.
    pub measures: Vec<ReportMeasure>,
    /// Alerts by rule, the most raised first.
    pub alerts: Vec<ReportAlerts>,
    /// Devices by version of the agent, the most first; those of rare versions together.
    pub agent_versions: Vec<ReportVersion>,
    /// Devices by version of the monitored app, likewise.
    pub app_versions: Vec<ReportVersion>,
    /// Measures of each day that there are figures of, the oldest first.
    pub days: Vec<ReportDay>,
    /// Measures of each group, by name; of a report about the fleet.
    pub groups: Vec<ReportGroup>,
}

/// A measure of a report.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportMeasure {
    /// Name.
    #[schema(value_type = crate::names::ReportMeasureName)]
    pub name: String,
    /// Label.
    pub label: String,
    /// Meaning, in a sentence.
    pub meaning: String,
    /// Value; null: nothing is known.
    pub value: Option<f64>,
    /// Value of the period before; null: nothing is known.
    pub before: Option<f64>,
}

/// Alerts of a rule.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportAlerts {
    /// Rule.
    pub rule: String,
    /// Alerts that were raised.
    pub raised: u64,
    /// Alerts that were resolved.
    pub resolved: u64,
    /// Alerts that were raised in the period before.
    pub raised_before: u64,
    /// Alerts that were resolved in the period before.
    pub resolved_before: u64,
}

/// Devices of a version.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportVersion {
    /// Version.
    pub version: String,
    /// Devices at the end of the period.
    pub devices: u64,
    /// Devices at the end of the period before.
    pub before: u64,
}

/// Measures of a day, by name.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportDay {
    /// Day, UTC.
    pub day: String,
    /// Values by name of the measure; null: nothing is known.
    pub values: BTreeMap<String, Option<f64>>,
}

/// Measures of a group, by name.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportGroup {
    /// Group.
    pub group: String,
    /// Values by name of the measure; null: nothing is known.
    pub values: BTreeMap<String, Option<f64>>,
}

/// Body of `POST /v1/report-schedules`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReportSchedule {
    /// Channel that reports are sent to.
    pub channel_id: String,
    /// Kind of the periods.
    #[schema(value_type = crate::names::ReportPeriod)]
    pub period: String,
    /// Group; the fleet when absent.
    #[serde(default)]
    pub group: Option<String>,
    /// Time of the day, `HH:MM`, of weekly reports on Mondays; 07:00 when absent.
    #[serde(default)]
    pub at: Option<String>,
    /// Time zone by its name in the IANA database; UTC when absent.
    #[serde(default)]
    pub tz: Option<String>,
}

/// Schedule of a report.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportSchedule {
    /// Id.
    pub id: String,
    /// Channel that reports are sent to.
    pub channel_id: String,
    /// Kind of the periods.
    #[schema(value_type = crate::names::ReportPeriod)]
    pub period: String,
    /// Group; null: the fleet.
    pub group: Option<String>,
    /// Time of the day, `HH:MM`; of weekly reports, on Mondays.
    pub at: String,
    /// Time zone.
    pub tz: String,
    /// First day of the period that was sent last; null: none yet.
    pub sent_period: Option<String>,
    /// When it was put into the outbox.
    pub sent_at: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: String,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReportScheduleList {
    /// The oldest first.
    pub items: Vec<ReportSchedule>,
}
