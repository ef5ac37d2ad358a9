//! Reports of the fleet: the figures of each day, made once its hours are aggregated, and messages with those that are due.

use std::time::Duration;

use chrono::{Days, NaiveDate, TimeDelta};
use domain::device::DevicePolicy;
use domain::report::{DayTally, Period, REPORT_SCHEDULES_MAX, report_message};
use domain::shard::{ShardLease, shard_of_name};
use domain::{DeviceId, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError, StoredReportSchedule};

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler of figures; it is placed by it, too.
const FIGURES: &str = "report_figures";
/// Name of the reconciler of messages, likewise.
const MESSAGES: &str = "report_schedules";
/// How often it is looked whether a report is due, at least.
const MESSAGES_INTERVAL: Duration = Duration::from_secs(30);
/// Devices of one statement.
const DEVICES: i64 = 500;
/// Most combinations of a rule and groups that alerts of a day are counted by.
const ALERTS_MAX: i64 = 50_000;
/// Days that are looked for at a time.
const DAYS: i64 = 8;
/// Time after the end of a day within which the versions that devices report are still those of it.
const VERSIONS_WITHIN: TimeDelta = TimeDelta::hours(36);

/// Settings of reports.
#[derive(Debug, Clone, Copy)]
pub struct ReportSettings {
    /// Retention of the figures of a day.
    pub kept: TimeDelta,
    /// How far back figures are made of days that have none.
    pub backfill: TimeDelta,
    /// Most groups of a day that figures are kept of.
    pub groups_max: usize,
}

/// The reconcilers of reports.
pub(crate) fn reconcilers(store: &Store, policy: DevicePolicy, interval: Duration, settings: ReportSettings) -> [Reconciler; 2] {
    let figures = Figures { store: store.clone(), policy, settings, resume: None };
    let messages = Messages { store: store.clone(), settings };
    [
        Reconciler::per_cluster(FIGURES, shard_of_name(FIGURES), interval, figures),
        // A report is queued for its schedule and period, in the epoch, so that none is sent twice, whoever else runs.
        Reconciler::per_cluster(MESSAGES, shard_of_name(MESSAGES), interval.min(MESSAGES_INTERVAL), messages),
    ]
}

fn lease(name: &str, run: &Run) -> Option<ShardLease> {
    run.epoch().map(|epoch| ShardLease { shard: shard_of_name(name), epoch })
}

/// A day that is being added up: a run that is given up is not for nothing.
struct Underway {
    day: NaiveDate,
    is_closed: bool,
    tally: DayTally,
    behind: Option<DeviceId>,
}

struct Figures {
    store: Store,
    policy: DevicePolicy,
    settings: ReportSettings,
    resume: Option<Underway>,
}

impl Reconcile for Figures {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let Some(lease) = lease(FIGURES, run) else { return Ok(0) };
            let (mut made, mut failed) = (0, None);
            let first = (run.now - self.settings.backfill.min(self.settings.kept)).date_naive();
            for (day, is_closed) in self.store.days_to_report(first, DAYS).await? {
                match self.make(day, is_closed, lease, run).await {
                    Ok(true) => made += 1,
                    Ok(false) => break,
                    Err(error) if error.is_outage() => return Err(error.into()),
                    // Neither the days before it nor what is to be deleted wait for a day whose figures cannot be kept.
                    Err(error) => {
                        tracing::warn!(event = "report.day_failed", %day, %error);
                        failed = failed.or(Some(error));
                    }
                }
            }
            let before = (run.now - self.settings.kept).date_naive();
            let purged = run.in_batches(|most| self.store.purge_report_days(before, most)).await?;
            match failed {
                Some(error) => Err(error.into()),
                None => Ok(made + purged),
            }
        }
        .boxed()
    }
}

impl Figures {
    /// Makes the figures of a day. `false`: another node runs this by now.
    async fn make(&mut self, day: NaiveDate, is_closed: bool, lease: ShardLease, run: &Run) -> Result<bool, StoreError> {
        let started = tokio::time::Instant::now();
        let ended = day.checked_add_days(Days::new(1)).unwrap_or(day).and_time(chrono::NaiveTime::MIN).and_utc();
        let resumed = self.resume.take().filter(|underway| (underway.day, underway.is_closed) == (day, is_closed));
        let knows_versions = run.now - ended < VERSIONS_WITHIN;
        let begun = resumed.unwrap_or_else(|| Underway { day, is_closed, tally: DayTally::new(day, knows_versions), behind: None });
        // Kept here from device to device, so that a run that is dropped at an await leaves it whole.
        self.resume = Some(begun);
        let offline_after_s = i32::try_from(self.policy.offline_after.num_seconds()).unwrap_or(i32::MAX);
        while let Some(underway) = &mut self.resume {
            if !run.may_go_on() {
                return Ok(false);
            }
            let devices =
                self.store.report_device_days(day, underway.behind, self.policy.low_battery_pct, offline_after_s, DEVICES).await?;
            let Some((last, _)) = devices.last() else { break };
            underway.behind = Some(*last);
            devices.iter().for_each(|(_, device)| underway.tally.add(device));
        }
        let alerts = self.store.report_alerts(day, ALERTS_MAX).await?;
        let Some(Underway { mut tally, .. }) = self.resume.take() else { return Ok(false) };
        alerts.iter().for_each(|alerts| tally.add_alerts(alerts));
        let groups = tally.finish(self.settings.groups_max);
        let devices = groups.first().map_or(0, |fleet| fleet.figures.device_days);
        let stored = self.store.store_report_day(lease, day, &groups, is_closed, run.now).await?;
        let (groups, duration_ms) = (groups.len().saturating_sub(1), started.elapsed().as_millis() as u64);
        tracing::info!(event = "report.day_made", %day, is_final = is_closed, devices, groups, duration_ms);
        Ok(stored)
    }
}

struct Messages {
    store: Store,
    settings: ReportSettings,
}

impl Reconcile for Messages {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let Some(lease) = lease(MESSAGES, run) else { return Ok(0) };
            Ok(queue_due(&self.store, lease, &self.settings, run.now, || run.may_go_on()).await?)
        }
        .boxed()
    }
}

/// Puts the reports that are due and ready into the outbox, as long as `may_go_on`. Answers how many.
async fn queue_due(
    store: &Store,
    lease: ShardLease,
    settings: &ReportSettings,
    now: Timestamp,
    may_go_on: impl Fn() -> bool,
) -> Result<u64, StoreError> {
    let (mut queued, mut failed) = (0, None);
    for stored in store.report_schedules(true, REPORT_SCHEDULES_MAX as i64).await? {
        let Some((period, due)) = stored.schedule.due(stored.sent.map(|(sent, _)| sent), stored.created_at, now) else { continue };
        if !may_go_on() {
            break;
        }
        match queue_one(store, lease, settings, &stored, (period, due), now).await {
            Ok(is_queued) => queued += u64::from(is_queued),
            Err(error) if error.is_outage() => return Err(error),
            // The schedules that were made after it do not wait for one that fails.
            Err(error) => {
                tracing::warn!(event = "report.not_queued", schedule = %stored.schedule.id, period = %period, %error);
                failed = failed.or(Some(error));
            }
        }
    }
    failed.map_or(Ok(queued), Err)
}

/// Puts the report of a period that is due since then into the outbox, once it is ready. Returns whether it did.
async fn queue_one(
    store: &Store,
    lease: ShardLease,
    settings: &ReportSettings,
    stored: &StoredReportSchedule,
    (period, due): (Period, Timestamp),
    now: Timestamp,
) -> Result<bool, StoreError> {
    // Of a group that has no devices any more, there are figures of the fleet all the same.
    let days = store.report_days("", period.first, period.last()).await?.len();
    if !stored.schedule.is_ready(days, due, now) {
        return Ok(false);
    }
    let sent = stored.sent.map(|(sent, _)| sent);
    let report = store.report(period, stored.schedule.group.as_deref(), settings.groups_max).await?;
    let message = report_message(&stored.schedule, &report, sent);
    let is_queued = store.queue_report(lease, &stored.schedule, period, &message, now).await?;
    let left_out = period.left_out(sent);
    if is_queued && left_out > 0 {
        tracing::warn!(event = "report.left_out", schedule = %stored.schedule.id, period = %period, left_out);
    }
    Ok(is_queued)
}
