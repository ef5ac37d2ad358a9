//! Digests: what was raised since the last one, in one message a day for each route that asks for it.

use std::time::Duration;

use clock::Clock;
use domain::alert::{MatchedAlert, Severity};
use domain::notification::{Notification, NotificationKind, NotifiedAlert, ROUTES_MAX, Route};
use domain::shard::shard_of_name;
use domain::{NotificationId, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{AlertQuery, Store, StoreError};

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler; it is placed by it, too.
const NAME: &str = "alert_digests";
/// How often it is looked whether one is due.
const INTERVAL: Duration = Duration::from_secs(30);
/// Alerts of one statement.
const PAGE: i64 = 1_000;
/// Most alerts of a digest; it says that there are more by counting no further.
const ALERTS_MAX: usize = 20_000;

/// The reconciler of digests.
pub(crate) fn reconciler(store: &Store, clock: &Clock) -> Reconciler {
    // A digest is queued for the time of the last one, so that none is sent twice, whoever else runs.
    Reconciler::per_cluster(NAME, shard_of_name(NAME), INTERVAL, Digests { store: store.clone(), clock: clock.clone() })
}

struct Digests {
    store: Store,
    clock: Clock,
}

impl Reconcile for Digests {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut queued = 0;
            for (route, last) in self.store.digest_routes(ROUTES_MAX as i64).await? {
                let is_due = route.digest.as_ref().and_then(|digest| digest.due_after(last)).is_some_and(|due| due <= run.now);
                if !is_due || !run.may_go_on() {
                    continue;
                }
                let message = digest(&route, self.alerts(&route, last, run.now).await?, run.now).message();
                let id = NotificationId(self.clock.new_id());
                queued += u64::from(self.store.queue_digest(&route, last, id, &message, run.now).await?);
            }
            Ok(queued)
        }
        .boxed()
    }
}

impl Digests {
    /// Alerts of a route that were raised since the last digest, the oldest first.
    async fn alerts(&self, route: &Route, since: Timestamp, until: Timestamp) -> Result<Vec<NotifiedAlert>, StoreError> {
        let mut query =
            AlertQuery { min_severity: Some(route.min_severity), since: Some(since), until: Some(until), ..AlertQuery::default() };
        let mut alerts = Vec::new();
        loop {
            let page = self.store.alert_page(&query, PAGE).await?;
            query.after = page.last().map(|last| (last.opened_at, last.id));
            let is_last = (page.len() as i64) < PAGE;
            for record in page {
                if !route.takes(&MatchedAlert { key: &record.key, severity: record.severity, labels: &record.labels }) {
                    continue;
                }
                alerts.push(NotifiedAlert {
                    alert: record.id,
                    rule: record.key.rule,
                    subject: record.key.subject,
                    name: record.labels.name,
                    groups: record.labels.groups,
                    severity: record.severity,
                    reason: record.reason,
                    opened_at: record.opened_at,
                    resolved_at: record.resolved.map(|(at, _)| at),
                });
            }
            if is_last || alerts.len() >= ALERTS_MAX {
                alerts.reverse();
                return Ok(alerts);
            }
        }
    }
}

/// The digest of a route. Each is a thread of its own.
fn digest(route: &Route, alerts: Vec<NotifiedAlert>, now: Timestamp) -> Notification {
    Notification {
        kind: NotificationKind::Digest,
        severity: alerts.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info),
        channels: vec![route.channel],
        thread: format!("digest-{}-{}", route.id, now.timestamp_millis()),
        begins_thread: true,
        ends_thread: true,
        threads: vec![],
        alerts,
    }
}

#[cfg(test)]
mod tests {
    use domain::alert::{Rule, Subject};
    use domain::notification::DigestTime;
    use domain::{AlertId, ChannelId, DeviceId, RouteId};

    use super::*;

    #[test]
    fn a_digest_counts_by_rule_and_is_a_thread_of_its_own() {
        let route = Route {
            id: RouteId(uuid::Uuid::nil()),
            channel: ChannelId(uuid::Uuid::nil()),
            min_severity: Severity::Info,
            rules: vec![],
            groups: vec![],
            hours: None,
            level: 0,
            digest: Some(DigestTime::parse("08:00", "UTC").unwrap()),
        };
        let now: Timestamp = "2026-11-30T08:00:00Z".parse().unwrap();
        let alert = |number, rule, severity| NotifiedAlert {
            alert: AlertId(uuid::Uuid::from_u128(number)),
            rule,
            subject: Subject::Device(DeviceId(uuid::Uuid::from_u128(number))),
            name: "till".into(),
            groups: vec![],
            severity,
            reason: String::new(),
            opened_at: now,
            resolved_at: None,
        };
        let alerts = vec![
            alert(1, Rule::DeviceOffline, Severity::Warning),
            alert(2, Rule::DeviceOffline, Severity::Critical),
            alert(3, Rule::LowBattery, Severity::Info),
        ];
        let message = digest(&route, alerts, now).message();
        assert_eq!((message.severity, message.count), (Severity::Critical, 3));
        assert_eq!(message.headline, "Since the last digest: 2 devices offline, 1 alert \"Low battery\"");
        let next = digest(&route, vec![], now + chrono::TimeDelta::days(1)).message();
        assert_eq!(next.headline, "No alerts since the last digest");
        assert_ne!(next.thread, message.thread);
    }
}
