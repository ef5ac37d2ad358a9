//! Alerts as a table.

use bytes::Bytes;
use chrono::SecondsFormat;
use domain::access::{Permission, Principal};
use domain::alert::{AlertRecord, ResolveCause};
use domain::audit::{AuditAction, Target};
use domain::spreadsheet::{joined, neutralised};
use domain::{ServiceError, Timestamp};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::json;
use std::sync::Arc;

use super::{AlertCursor, AlertFilter, AlertService};
use crate::access_trail::given;

/// Alerts that are read at a time.
const BATCH: i64 = 500;

const COLUMNS: [&str; 17] = [
    "id",
    "rule",
    "severity",
    "state",
    "subject_kind",
    "subject_id",
    "subject_name",
    "groups",
    "tags",
    "reason",
    "since",
    "acknowledged_by",
    "acknowledged_note",
    "acknowledged_at",
    "resolved_at",
    "resolve_cause",
    "lasted_seconds",
];

impl AlertService {
    /// The alerts that match as a table, the newest first (RFC 4180), piece by piece. Cells that a spreadsheet would take for formulas are
    /// neutralised.
    ///
    /// # Errors
    /// Forbidden, the filter is out of its limits, or too many exports are under way. A piece is an error when the database goes away in
    /// between, or when none is taken for too long.
    pub async fn export(
        self: &Arc<Self>,
        principal: &Principal,
        filter: AlertFilter,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let filter = filter.checked()?;
        let permit = self.tables.export(principal)?;
        let head = Bytes::from(table([COLUMNS.map(str::to_owned)])?);
        // Read before anything is answered, so that a database that is away is an error and no stump.
        let (first, next) = self.piece(principal, &filter, None).await?;
        let target = Target::Other { kind: "alerts", id: None, name: None };
        given(&self.store, principal, AuditAction::AlertsExported, target, audited(&filter), self.clock.now()).await?;
        let pieces =
            stream::try_unfold((Arc::clone(self), principal.clone(), filter, next), |(service, principal, filter, after)| async move {
                let Some(after) = after else { return Ok(None) };
                let (piece, next) = service.piece(&principal, &filter, Some(after)).await?;
                Ok(Some((piece, (service, principal, filter, next))))
            });
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(head), Ok(first)]).chain(pieces)))
    }

    async fn piece(
        &self,
        principal: &Principal,
        filter: &AlertFilter,
        after: Option<AlertCursor>,
    ) -> Result<(Bytes, Option<AlertCursor>), ServiceError> {
        let query = self.query(filter.clone(), after);
        let _permit = self.tables.read(principal).await?;
        let page = self.read_page(&query, BATCH).await?;
        let now = self.clock.now();
        Ok((table(page.alerts.iter().map(|alert| cells(alert, now)))?.into(), page.next))
    }
}

/// The conditions of a filter, for the record.
fn audited(filter: &AlertFilter) -> serde_json::Value {
    let AlertFilter { states, rule, min_severity, subject, group, tag, since, until } = filter;
    let conditions = json!({
        "states": (!states.is_empty()).then(|| states.iter().map(|state| state.as_str()).collect::<Vec<_>>()),
        "rule": rule.map(|rule| rule.as_str()), "min_severity": min_severity.map(|severity| severity.as_str()),
        "subject": subject.as_ref().map(ToString::to_string), "group": group, "tag": tag, "since": since, "until": until,
    });
    let given = conditions.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let given: serde_json::Map<_, _> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    json!({ "filter": given })
}

fn table(rows: impl IntoIterator<Item = [String; COLUMNS.len()]>) -> Result<Vec<u8>, ServiceError> {
    let mut writer =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to memory fails on rows of different lengths only, and these have one.
        writer.write_record(&row).map_err(|_| ServiceError::Internal)?;
    }
    writer.into_inner().map_err(|_| ServiceError::Internal)
}

fn cells(alert: &AlertRecord, now: Timestamp) -> [String; COLUMNS.len()] {
    let time = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let acknowledged = alert.acknowledged.as_ref();
    [
        alert.id.to_string(),
        alert.key.rule.as_str().to_owned(),
        alert.severity.as_str().to_owned(),
        alert.state.as_str().to_owned(),
        alert.key.subject.kind().as_str().to_owned(),
        neutralised(&alert.key.subject.id()),
        neutralised(&alert.labels.name),
        joined(&alert.labels.groups),
        joined(&alert.labels.tags),
        neutralised(&alert.reason),
        time(alert.opened_at),
        acknowledged.map(|by| neutralised(&by.by)).unwrap_or_default(),
        acknowledged.map(|by| neutralised(&by.note)).unwrap_or_default(),
        acknowledged.map(|by| time(by.at)).unwrap_or_default(),
        alert.resolved.map(|(at, _)| time(at)).unwrap_or_default(),
        alert.resolved.map(|(_, cause): (_, ResolveCause)| cause.as_str().to_owned()).unwrap_or_default(),
        alert.lasted(now).num_seconds().to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::alert::{Acknowledgement, AlertKey, AlertState, Rule, Severity, Subject, SubjectLabels};
    use domain::{AlertId, DeviceId};
    use uuid::Uuid;

    #[test]
    fn cells_that_a_spreadsheet_would_run_are_text() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let alert = AlertRecord {
            id: AlertId(Uuid::from_u128(1)),
            key: AlertKey { rule: Rule::AppDown, subject: Subject::Device(DeviceId(Uuid::from_u128(2))) },
            labels: SubjectLabels { name: "=cmd()".into(), groups: vec!["north".into(), "=x".into()], tags: vec![] },
            severity: Severity::Critical,
            state: AlertState::Resolved,
            reason: "@reason".into(),
            opened_at: at("2026-11-30T12:00:00Z"),
            acknowledged: Some(Acknowledgement { by: "ada".into(), note: "+1".into(), at: at("2026-11-30T12:01:00Z") }),
            resolved: Some((at("2026-11-30T12:02:00Z"), ResolveCause::Cleared)),
            revision: 3,
        };
        let row = cells(&alert, at("2026-11-30T15:00:00Z"));
        for cell in &row {
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
        }
        assert_eq!(row[COLUMNS.len() - 2..], ["cleared".to_owned(), "120".to_owned()]);
        let csv = String::from_utf8(table([row]).unwrap()).unwrap();
        assert!(
            csv.starts_with("\"00000000-0000-0000-0000-000000000001\",\"app_down\",\"critical\",\"resolved\",\"device\",")
                && csv.ends_with("\r\n")
        );
    }
}
