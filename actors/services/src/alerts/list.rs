//! Lists of alerts, one with its history, counts, acknowledgements.

use std::collections::HashMap;

use domain::access::{Permission, Principal};
use domain::alert::{self, AlertRecord, AlertState, Subject};
use domain::audit::{AuditAction, Target};
use domain::invalid::in_range;
use domain::query::{FILTER_TEXT_MAX_CHARS, PAGE_MAX};
use domain::text::opaque;
use domain::{AlertId, ChannelId, DeviceId, Invalid, NotificationId, ServiceError, Timestamp, name};
use serde_json::json;
use store::{AlertQuery, AuditEntry, ChannelDelivery};

use super::{
    ACKNOWLEDGED_MAX, AcknowledgeOutcome, AlertCount, AlertCursor, AlertDetails, AlertFilter, AlertPage, AlertService, AlertStep,
    DELIVERIES_MAX, Delivery, HISTORY_MAX,
};

impl AlertFilter {
    /// Checks the filter.
    ///
    /// # Errors
    /// Names the field and its limit.
    pub(super) fn checked(self) -> Result<Self, Invalid> {
        for (field, label) in [("group", &self.group), ("tag", &self.tag)] {
            label.as_ref().map(|label| opaque(field, label, FILTER_TEXT_MAX_CHARS)).transpose()?;
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && until < since
        {
            return Err(Invalid::new("until", "before since"));
        }
        Ok(self)
    }
}

impl AlertService {
    /// Whether the caller may see alerts, before anything else is looked at.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_views(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ViewAlerts)?)
    }

    /// Whether the caller may change anything about alerts, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_changes(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ManageAlerts)?)
    }

    /// A page of alerts, the newest first, behind the one at `after`.
    ///
    /// # Errors
    /// Forbidden, or the filter or limit is out of its range.
    pub async fn page(
        &self,
        principal: &Principal,
        filter: AlertFilter,
        after: Option<AlertCursor>,
        limit: i64,
    ) -> Result<AlertPage, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let query = self.query(filter.checked()?, after);
        let _permit = self.tables.read(principal).await?;
        self.read_page(&query, limit).await
    }

    pub(super) async fn read_page(&self, query: &AlertQuery, limit: i64) -> Result<AlertPage, ServiceError> {
        let mut alerts = self.store.alert_page(query, limit + 1).await?;
        let more = alerts.len() as i64 > limit;
        alerts.truncate(limit as usize);
        let next = if more { alerts.last().map(|last| AlertCursor { at: last.opened_at, id: last.id }) } else { None };
        Ok(AlertPage { alerts, next })
    }

    /// The statement's conditions. A group or tag is meant however it is written: as devices of the fleet have it.
    pub(super) fn query(&self, filter: AlertFilter, after: Option<AlertCursor>) -> AlertQuery {
        let AlertFilter { states, rule, min_severity, subject, group, tag, since, until } = filter;
        let (mut groups, mut tags): (Vec<_>, Vec<_>) = (group.iter().cloned().collect(), tag.iter().cloned().collect());
        if group.is_some() || tag.is_some() {
            self.fleet.visit(|device| {
                for (wanted, written, known) in [(&group, &mut groups, &device.identity.groups), (&tag, &mut tags, &device.identity.tags)] {
                    let Some(wanted) = wanted else { continue };
                    let others = known.iter().filter(|known| name::same(known, wanted));
                    for other in others {
                        if !written.contains(other) {
                            written.push(other.clone());
                        }
                    }
                }
            });
        }
        let after = after.map(|cursor| (cursor.at, cursor.id));
        AlertQuery { states, rule, min_severity, subject, groups, tags, since, until, after, ..AlertQuery::default() }
    }

    /// Alerts of a device that were open between these times, the newest first.
    ///
    /// # Errors
    /// Forbidden, or the limit is out of its range.
    pub async fn of_device(
        &self,
        principal: &Principal,
        id: DeviceId,
        from: Timestamp,
        to: Timestamp,
        limit: i64,
    ) -> Result<Vec<AlertRecord>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let _permit = self.tables.read(principal).await?;
        let subject = Some(Subject::Device(id));
        let query = AlertQuery { subject, until: Some(to), open_since: Some(from), ..AlertQuery::default() };
        Ok(self.store.alert_page(&query, limit).await?)
    }

    /// An alert with its history, and what became of the messages about it. Answers of services name recipients: who may not manage channels sees
    /// none.
    ///
    /// # Errors
    /// Forbidden, or there is no such alert.
    pub async fn one(&self, principal: &Principal, id: AlertId) -> Result<AlertDetails, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let alert = self.store.alert(id).await?.ok_or(ServiceError::NotFound("alert"))?;
        let history: Vec<_> = self.store.alert_history(id, HISTORY_MAX).await?;
        let messages: Vec<NotificationId> =
            history.iter().flat_map(|step| step.notification.into_iter().chain(step.further.iter().copied())).collect();
        let sees_answers = principal.may(Permission::ManageAlertChannels);
        let deliveries = if messages.is_empty() { Vec::new() } else { self.store.message_deliveries(&messages, DELIVERIES_MAX).await? };
        let notice = self.store.alert_notice(id).await?;
        let step = |step: store::AlertTransition| AlertStep {
            revision: step.revision,
            kind: step.kind,
            at: step.at,
            severity: step.severity,
            actor: step.actor,
            detail: step.detail,
            settled_at: step.settled_at,
            suppressed_by: step.suppressed_by,
            notification: step.notification,
            further: step.further,
        };
        Ok(AlertDetails {
            alert,
            history: history.into_iter().map(step).collect(),
            deliveries: deliveries
                .into_iter()
                .map(|(channel, name, delivery)| {
                    let delivery = shown(channel, name, delivery);
                    if sees_answers { delivery } else { delivery.without_answer() }
                })
                .collect(),
            notified: notice.map(|notice| notice.notified),
            held: notice.and_then(|notice| notice.held),
        })
    }

    /// Numbers of open alerts.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn counts(&self, principal: &Principal) -> Result<Vec<AlertCount>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let counts = self.store.open_alert_counts().await?;
        Ok(counts.into_iter().map(|(rule, severity, state, alerts)| AlertCount { rule, severity, state, alerts }).collect())
    }

    /// Acknowledges alerts that fire: somebody looks after them. Returns the outcome of each, in their order.
    ///
    /// # Errors
    /// Forbidden, there are none or too many, or the note is too long.
    pub async fn acknowledge(
        &self,
        principal: &Principal,
        ids: &[AlertId],
        note: &str,
    ) -> Result<Vec<(AlertId, AcknowledgeOutcome)>, ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        if ids.is_empty() {
            return Err(Invalid::new("ids", "empty: name at least one alert").into());
        }
        if ids.len() > ACKNOWLEDGED_MAX {
            return Err(Invalid::new("ids", format!("{} are more than the {ACKNOWLEDGED_MAX} allowed", ids.len())).into());
        }
        let note = alert::note(note)?;
        let target = match ids {
            [id] => {
                let name = self.store.alert(*id).await?.map(|alert| format!("{}: {}", alert.key.rule.spec().label, alert.labels.name));
                Target::Other { kind: "alert", id: Some(id.to_string()), name }
            }
            ids => Target::Other { kind: "alerts", id: None, name: Some(format!("{} alerts", ids.len())) },
        };
        let audited = json!({ "ids": ids.iter().map(ToString::to_string).collect::<Vec<_>>(), "note": note });
        let entry = AuditEntry::new(principal, AuditAction::AlertsAcknowledged, target).after(audited);
        let done = self.store.acknowledge_alerts(ids, principal.username(), &note, &entry, self.clock.now()).await?;
        tracing::info!(event = "alerts.acknowledged", alerts = done.len(), by = principal.username());
        let states: HashMap<AlertId, AlertState> = self.store.alert_states(ids).await?.into_iter().collect();
        let outcome = |id: &AlertId| match states.get(id) {
            _ if done.contains(id) => AcknowledgeOutcome::Acknowledged,
            None => AcknowledgeOutcome::Unknown,
            Some(AlertState::Resolved) => AcknowledgeOutcome::Resolved,
            Some(AlertState::Firing | AlertState::Acknowledged) => AcknowledgeOutcome::Already,
        };
        Ok(ids.iter().map(|id| (*id, outcome(id))).collect())
    }
}

impl Delivery {
    /// The delivery for somebody who does not manage channels.
    fn without_answer(self) -> Self {
        Self { last_answer: None, ..self }
    }
}

/// A delivery as lists show it.
pub(super) fn shown(channel: ChannelId, channel_name: String, delivery: ChannelDelivery) -> Delivery {
    let ChannelDelivery { notification, headline, state, attempts, queued_at, next_attempt_at, last_answer, ended_at } = delivery;
    Delivery { notification, channel, channel_name, headline, state, attempts, queued_at, next_attempt_at, last_answer, ended_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_meant_is_refused() {
        let at = |text: &str| Some(text.parse().unwrap());
        let (early, late) = (at("2026-11-30T12:00:00Z"), at("2026-11-30T13:00:00Z"));
        let refused = |filter: AlertFilter| filter.checked().unwrap_err().field;
        assert_eq!(refused(AlertFilter { since: late, until: early, ..AlertFilter::default() }), "until");
        assert_eq!(refused(AlertFilter { group: Some("x".repeat(FILTER_TEXT_MAX_CHARS + 1)), ..AlertFilter::default() }), "group");
        assert!(AlertFilter { since: early, until: late, group: Some("north".into()), ..AlertFilter::default() }.checked().is_ok());
    }
}
