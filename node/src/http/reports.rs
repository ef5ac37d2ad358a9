//! `/v1/reports` and `/v1/report-schedules`: how the fleet did on a day or in a week, and who is sent that.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::notification::DigestTime;
use domain::report::{Figures, Measure, PeriodKind, versions};
use domain::{Invalid, ReportScheduleId};
use serde::Deserialize;
use services::{ReportRequest, ReportScheduleRequest, ReportScheduleView, ReportView};
use utoipa::IntoParams;
use wire::report::{
    FleetReport, NewReportSchedule, ReportAlerts, ReportDay, ReportGroup, ReportMeasure, ReportSchedule, ReportScheduleList, ReportVersion,
};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::{flag, table};
use super::{ApiError, App, body};
use crate::present;

/// Time of the day at which reports are sent, unless another is given.
const AT_DEFAULT: &str = "07:00";

/// Report that is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    /// `daily` or `weekly` (Monday to Sunday); `daily` when absent.
    period: Option<String>,
    /// A day of the period (UTC), as 2026-11-29; the newest period that is over when absent.
    date: Option<String>,
    /// Group; the fleet when absent.
    group: Option<String>,
}

/// The same as a table.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportTableQuery {
    /// `daily` or `weekly` (Monday to Sunday); `daily` when absent.
    period: Option<String>,
    /// A day of the period (UTC), as 2026-11-29; the newest period that is over when absent.
    date: Option<String>,
    /// Group; the fleet when absent.
    group: Option<String>,
    /// Begin with a byte order mark, for spreadsheets that would not take the file for UTF-8.
    #[serde(default, deserialize_with = "flag")]
    bom: bool,
}

impl ReportQuery {
    fn parse(self) -> Result<ReportRequest, Invalid> {
        let kind = self.period.map_or(Ok(PeriodKind::Daily), |period| PeriodKind::parse("period", &period))?;
        let date = |text: String| text.parse().map_err(|_| Invalid::new("date", "not a day as in 2026-11-29"));
        Ok(ReportRequest { kind, date: self.date.map(date).transpose()?, group: self.group })
    }
}

fn values(figures: &Figures) -> BTreeMap<String, Option<f64>> {
    Measure::ALL.into_iter().map(|measure| (measure.as_str().to_owned(), measure.of(figures))).collect()
}

fn shown(view: ReportView) -> FleetReport {
    let ReportView { report, newest, .. } = view;
    let measure = |measure: Measure| ReportMeasure {
        name: measure.as_str().to_owned(),
        label: measure.label().to_owned(),
        meaning: measure.meaning().to_owned(),
        value: measure.of(&report.total),
        before: measure.of(&report.before),
    };
    let of_versions = |now, before| {
        let version = |(version, devices, before): (&str, u64, u64)| ReportVersion { version: version.to_owned(), devices, before };
        versions(now, before).into_iter().map(version).collect()
    };
    FleetReport {
        period: report.period.kind.as_str().to_owned(),
        first_day: report.period.first.to_string(),
        last_day: report.period.last().to_string(),
        group: report.group.clone(),
        complete: report.is_complete(),
        days_before: report.before.days,
        newest_day: newest.map(|day| day.to_string()),
        measures: Measure::ALL.into_iter().map(measure).collect(),
        alerts: report
            .alerts()
            .into_iter()
            .map(|(rule, now, before)| ReportAlerts {
                rule: rule.to_owned(),
                raised: now.raised,
                resolved: now.resolved,
                raised_before: before.raised,
                resolved_before: before.resolved,
            })
            .collect(),
        agent_versions: of_versions(&report.total.agent_versions, &report.before.agent_versions),
        app_versions: of_versions(&report.total.app_versions, &report.before.app_versions),
        days: report.days.iter().map(|(day, figures)| ReportDay { day: day.to_string(), values: values(figures) }).collect(),
        groups: report.groups.iter().map(|(group, figures)| ReportGroup { group: group.clone(), values: values(figures) }).collect(),
    }
}

fn shown_schedule(view: ReportScheduleView) -> ReportSchedule {
    let (at, tz) = view.schedule.at.parts();
    ReportSchedule {
        id: view.schedule.id.to_string(),
        channel_id: view.schedule.channel.to_string(),
        period: view.schedule.kind.as_str().to_owned(),
        group: view.schedule.group,
        at,
        tz: tz.to_owned(),
        sent_period: view.sent.map(|(period, _)| period.first.to_string()),
        sent_at: view.sent.map(|(_, at)| present::time(at)),
        created_by: view.created_by,
        created_at: present::time(view.created_at),
    }
}

/// Returns the report of a day or week about the fleet or a group, compared with the period before.
///
/// A period that there are no figures of has no days, and measures without values. Alerts by rule are in it for those who have `alerts:read` as well.
#[utoipa::path(
    get, path = "/v1/reports", tag = "reports", security(("person" = ["devices:read"])),
    params(ReportQuery),
    responses((status = 200, body = FleetReport), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ReportQuery>, QueryRejection>,
) -> Result<Json<FleetReport>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    Ok(Json(shown(app.system.reports.report(&principal, query.parse()?).await?)))
}

/// Exports a report as CSV (RFC 4180): a row for each measure, rule of alerts and version, then the measures of each group.
///
/// Cells that a spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/reports.csv", tag = "reports", security(("person" = ["devices:read"])),
    params(ReportTableQuery),
    responses((status = 200, body = String, content_type = "text/csv"), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ReportTableQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(ReportTableQuery { period, date, group, bom }) = query.map_err(present::query_refused)?;
    let request = ReportQuery { period, date, group }.parse()?;
    let pieces = app.system.reports.export(&principal, request).await?;
    Ok(table(pieces, "report.csv", bom))
}

/// Lists schedules of reports.
///
/// Requires `devices:read` as well.
#[utoipa::path(
    get, path = "/v1/report-schedules", tag = "reports", security(("person" = ["alert_channels:manage"])),
    responses((status = 200, body = ReportScheduleList), PersonRefusals)
)]
pub(crate) async fn schedules(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<ReportScheduleList>, ApiError> {
    let schedules = app.system.reports.schedules(&principal).await?;
    Ok(Json(ReportScheduleList { items: schedules.into_iter().map(shown_schedule).collect() }))
}

/// Has a report sent to a channel after each period, once.
///
/// Requires `devices:read` as well. The report of a period is sent at the next time of the day after it, or as soon as its figures are there.
#[utoipa::path(
    post, path = "/v1/report-schedules", tag = "reports", security(("person" = ["alert_channels:manage"])),
    request_body = NewReportSchedule,
    responses((status = 201, body = ReportSchedule), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn schedule(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReportSchedule>), ApiError> {
    app.system.reports.authorize_schedules(&principal)?;
    let NewReportSchedule { channel_id, period, group, at, tz } = body::json(&app, &headers, body).await?;
    let own_name = |refused: Invalid| Invalid::new(refused.field.trim_start_matches("digest.").to_owned(), refused.problem);
    let request = ReportScheduleRequest {
        channel: channel_id.parse().map_err(|_| Invalid::new("channel_id", "not a channel"))?,
        kind: PeriodKind::parse("period", &period)?,
        group,
        at: DigestTime::parse(at.as_deref().unwrap_or(AT_DEFAULT), tz.as_deref().unwrap_or("UTC")).map_err(own_name)?,
    };
    Ok((StatusCode::CREATED, Json(shown_schedule(app.system.reports.schedule(&principal, request).await?))))
}

/// Deletes a schedule. What it has put into the outbox is still sent.
///
/// Requires `devices:read` as well.
#[utoipa::path(
    delete, path = "/v1/report-schedules/{id}", tag = "reports", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The schedule")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn unschedule(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: ReportScheduleId = present::id("report schedule", &id)?;
    app.system.reports.unschedule(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
