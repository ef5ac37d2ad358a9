//! The partition manager: carries out the plan of the life of daily partitions, one step after the other, one manager at a time in the cluster.
//!
//! ```text
//! plan     domain::partition: what there is, what is recorded, the time -> steps
//! step     store: the table; archive: the file in the store; store: the record, last
//! proof    a table is dropped only once its archive was read back and the detached table has the same rows
//! ```
//! A manager that is killed anywhere leaves what the next plan goes on from. The reconciler `partitions`, services and `nexmdm partitions` use the
//! same manager.

mod reconciler;
mod report;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use archive::{ArchiveName, Archives};
use chrono::NaiveDate;
use domain::Timestamp;
use domain::pace::Pace;
use domain::partition::{self, Action, DayPlan, DaySeen, PartitionRecord, PartitionSettings, PartitionState, TableSeen, settles_at};
pub use store::PartitionTable;
use store::Store;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::metrics::Metrics;
use crate::pace::Pacer;
pub(crate) use reconciler::{PARTITIONS, ensure, reconcilers};
pub use report::{FaultPoint, PartitionError, RunReport, StepDone, StepFailed, Watch};
use steps::archive_record;

/// Name of the lock that one manager at a time holds.
const LOCK: &str = "partition_manager";
/// Plans of one run: the second finds what the first one's steps changed, or nothing.
const ROUNDS_MAX: usize = 4;
/// Renewals of the lock in the time after which it ends without one.
const RENEWALS: u32 = 4;

/// Settings of the partition manager.
#[derive(Debug, Clone, Copy)]
pub struct ManagerSettings {
    /// How long things are kept.
    pub partition: PartitionSettings,
    /// Silence after which a device counts as offline, for the hours of a day that is dropped.
    pub offline_after_s: i32,
    /// Rows that one statement reads.
    pub chunk_rows: usize,
    /// Pace at which rows are read and inserted.
    pub pace: Pace,
    /// Time after which the lock of a manager that stands still ends; in the second half of it no further step of a run begins.
    pub lock_max: Duration,
}

/// The partition manager.
pub struct Manager {
    store: Store,
    archives: Archives,
    settings: ManagerSettings,
    pacer: Pacer,
    metrics: Option<Metrics>,
}

impl Manager {
    /// A manager; `metrics` are those of the node that runs it.
    pub fn new(store: Store, archives: Archives, settings: ManagerSettings, metrics: Option<Metrics>) -> Self {
        let pacer = Pacer::new(settings.pace, metrics.as_ref().map(|metrics| metrics.write_times.clone()));
        Self { store, archives, settings, pacer, metrics }
    }

    /// The archives.
    pub fn archives(&self) -> &Archives {
        &self.archives
    }

    /// What is recorded of each day, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn records(&self) -> Result<Vec<PartitionRecord>, PartitionError> {
        Ok(self.store.partition_records().await?)
    }

    /// The tables of days with their sizes, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn tables(&self) -> Result<Vec<PartitionTable>, PartitionError> {
        Ok(self.store.partition_tables().await?)
    }

    /// The plan of each day at this time, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn plan(&self, now: Timestamp) -> Result<Vec<DayPlan>, PartitionError> {
        Ok(partition::plan(&self.seen().await?, now, self.settings.partition))
    }

    async fn seen(&self) -> Result<BTreeMap<NaiveDate, DaySeen>, PartitionError> {
        let mut seen: BTreeMap<NaiveDate, DaySeen> = BTreeMap::new();
        for (day, table) in self.store.partitions_seen().await? {
            seen.entry(day).or_default().table = Some(table);
        }
        for day in self.store.default_partition_days().await? {
            seen.entry(day).or_default().default_rows = true;
        }
        for record in self.store.partition_records().await? {
            let day = record.day;
            seen.entry(day).or_default().record = Some(record);
        }
        Ok(seen)
    }

    /// Makes the index of the default partition where a migration left that to a run. What looks for its rows is slow without, and works.
    async fn index_default(&self) {
        match self.store.index_default_partition().await {
            Ok(false) => {}
            Ok(true) => tracing::info!(event = "partition.default_indexed"),
            Err(cause) => tracing::warn!(event = "partition.default_not_indexed", %cause),
        }
    }

    async fn seen_of(&self, day: NaiveDate) -> Result<DaySeen, PartitionError> {
        Ok(self.seen().await?.remove(&day).unwrap_or_default())
    }

    /// Does something while no other manager works. The lock is free again when this returns: whoever asks next is not told that another one works.
    async fn alone<T>(&self, work: impl Future<Output = Result<T, PartitionError>>) -> Result<T, PartitionError> {
        let mut lock = self.store.try_cluster_lock(LOCK, self.settings.lock_max).await?.ok_or(PartitionError::Busy)?;
        let every = self.settings.lock_max / RENEWALS;
        let mut renewals = interval_at(Instant::now() + every, every);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                // A restore may take longer than the lock of a node that stands still. Without the lock another manager is at it: what was begun is
                // what that one goes on from.
                _ = renewals.tick() => lock.renew().await?,
            }
        };
        lock.release().await;
        outcome
    }

    /// Does what is due. A day whose step fails is left to the next run, and the others go on; while the store of archives is away, only what needs
    /// none is done.
    ///
    /// # Errors
    /// Another manager works, or the database is unavailable.
    pub async fn run(&self, now: Timestamp, watch: &dyn Watch) -> Result<RunReport, PartitionError> {
        Box::pin(self.alone(self.run_alone(now, watch))).await
    }

    async fn run_alone(&self, now: Timestamp, watch: &dyn Watch) -> Result<RunReport, PartitionError> {
        // What begins later may outlast the lock.
        let last_step_at = Instant::now() + self.settings.lock_max / 2;
        let (mut report, mut given_up, mut store_is_away) = (RunReport::default(), BTreeSet::new(), false);
        self.index_default().await;
        for _ in 0..ROUNDS_MAX {
            let mut has_changed = false;
            for DayPlan { day, steps, .. } in in_order(self.plan(now).await?, now.date_naive()) {
                for step in steps {
                    if given_up.contains(&day) || (store_is_away && needs_archives(step.action)) {
                        break;
                    }
                    if !watch.may_go_on() || Instant::now() > last_step_at {
                        report.is_cut_short = true;
                        return Ok(report);
                    }
                    match self.step(day, step.action, now, watch).await {
                        Ok(done) => {
                            has_changed = true;
                            let is_as_planned = done.is_as_planned;
                            report.done.push(done);
                            if !is_as_planned {
                                break;
                            }
                        }
                        Err(error) if error.ends_the_run() => return Err(error),
                        Err(error) => {
                            store_is_away |= error.is_store_away();
                            given_up.insert(day);
                            let is_locked = error.is_locked();
                            report.failed.push(StepFailed { day, action: step.action, error: error.to_string(), is_locked });
                        }
                    }
                }
            }
            if !has_changed {
                break;
            }
        }
        Ok(report)
    }

    /// Archives a day that is over, and reads the archive back, whether or not the day is to be dropped.
    ///
    /// # Errors
    /// The day is not over or has no table, another manager works, or the store or the database fails.
    pub async fn archive(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        Box::pin(self.alone(self.archive_alone(day, now, watch))).await
    }

    async fn archive_alone(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        if settles_at(day) > now {
            return Err(PartitionError::refused(day, format!("the day settles at {} only", settles_at(day).format("%Y-%m-%d %H:%MZ"))));
        }
        let seen = self.seen_of(day).await?;
        match &seen.table {
            Some(TableSeen::Attached) => {}
            Some(TableSeen::Detached) => {
                self.step(day, Action::Attach, now, watch).await?;
            }
            Some(TableSeen::Unusable(why)) => return Err(PartitionError::refused(day, why.clone())),
            None => return Err(PartitionError::refused(day, "there is no table of the day".to_owned())),
        }
        let state = self.store.partition_record(day).await?.map_or(PartitionState::Open, |record| record.state);
        match state {
            PartitionState::Dropped | PartitionState::Restoring => {
                return Err(PartitionError::refused(day, format!("the day is {}: the next run deals with its table", state.as_str())));
            }
            PartitionState::Open | PartitionState::Settled | PartitionState::Lost => {
                self.step(day, Action::Archive, now, watch).await?;
            }
            // Heartbeats may have come since.
            PartitionState::Archived | PartitionState::Verified if self.has_other_rows(day, now, watch).await? => {
                self.step(day, Action::Archive, now, watch).await?;
            }
            PartitionState::Archived | PartitionState::Verified | PartitionState::Restored => {}
        }
        self.step(day, Action::Verify, now, watch).await?;
        self.record(day).await
    }

    /// Reads the archive of a day back from the store.
    ///
    /// # Errors
    /// There is no archive, it is not what was written, another manager works, or the store or the database fails.
    pub async fn verify(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        Box::pin(self.alone(self.verify_alone(day, now, watch))).await
    }

    async fn verify_alone(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        if self.store.partition_record(day).await?.and_then(|record| record.archive).is_none() {
            return Err(PartitionError::refused(day, "no archive of the day is recorded".to_owned()));
        }
        self.step(day, Action::Verify, now, watch).await?;
        self.record(day).await
    }

    /// Brings the rows of a dropped day back into a partition.
    ///
    /// # Errors
    /// The day is there or has no archive, another manager works, or the store or the database fails.
    pub async fn restore(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        Box::pin(self.alone(self.restore_alone(day, now, watch))).await
    }

    async fn restore_alone(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        let seen = self.seen_of(day).await?;
        let before = seen.record.as_ref().map(|record| record.state);
        match (&seen.table, before) {
            // One that was cut off goes on.
            (_, Some(PartitionState::Restoring)) => {}
            (Some(_), _) => return Err(PartitionError::refused(day, "the day is there: it has a table".to_owned())),
            (None, Some(PartitionState::Dropped)) => {}
            (None, _) => self.adopt(day, before, now).await?,
        }
        if before != Some(PartitionState::Restoring) {
            let mut record = self.record(day).await?;
            let dropped = record.state;
            record.state = PartitionState::Restoring;
            self.put(&record, Some(dropped)).await?;
        }
        self.step(day, Action::Restore, now, watch).await?;
        self.record(day).await
    }

    /// Drops the table of a restored day before its time, once its archive was read back and has its rows.
    ///
    /// # Errors
    /// The day is no restored one or has rows that its archive lacks, another manager works, or the store or the database fails.
    pub async fn forget(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        Box::pin(self.alone(self.forget_alone(day, now, watch))).await
    }

    async fn forget_alone(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<PartitionRecord, PartitionError> {
        let state = self.store.partition_record(day).await?.map(|record| record.state);
        if state != Some(PartitionState::Restored) {
            let is = state.map_or("not recorded", PartitionState::as_str);
            return Err(PartitionError::refused(
                day,
                format!("the day is {is}, not restored: the partition manager drops it when its time comes"),
            ));
        }
        self.step(day, Action::Verify, now, watch).await?;
        let dropped = self.step(day, Action::Drop, now, watch).await?;
        if !dropped.is_as_planned {
            let problem = "rows came since it was archived: it stays until the partition manager has archived it again".to_owned();
            return Err(PartitionError::refused(day, problem));
        }
        self.record(day).await
    }

    /// Records the archive of a day of which nothing says so: of another database, or whose table was removed by hand.
    async fn adopt(&self, day: NaiveDate, before: Option<PartitionState>, now: Timestamp) -> Result<(), PartitionError> {
        let name = ArchiveName::heartbeats(day);
        let Some(manifest) = self.archives.manifest(&name).await? else {
            return Err(PartitionError::refused(day, format!("there is no archive of the day ({})", name.manifest_key())));
        };
        let mut record = PartitionRecord::new(day, PartitionState::Dropped);
        record.archive = Some(archive_record(&self.archives, &name, &manifest));
        // Its rows are compared with the manifest before any of them is restored.
        (record.archived_at, record.verified_at, record.dropped_at) = (Some(manifest.created_at), Some(now), Some(now));
        self.put(&record, before).await
    }

    async fn record(&self, day: NaiveDate) -> Result<PartitionRecord, PartitionError> {
        let record = self.store.partition_record(day).await?;
        Ok(record.unwrap_or_else(|| PartitionRecord::new(day, PartitionState::Open)))
    }

    async fn put(&self, record: &PartitionRecord, before: Option<PartitionState>) -> Result<(), PartitionError> {
        match self.store.put_partition_record(record, before).await? {
            true => Ok(()),
            false => Err(PartitionError::Overtaken { day: record.day }),
        }
    }
}

/// First what heartbeats need: partitions to be written to, that of today before all.
fn in_order(mut plans: Vec<DayPlan>, today: NaiveDate) -> Vec<DayPlan> {
    let is_later = |plan: &DayPlan| !matches!(plan.steps.first().map(|step| step.action), Some(Action::Create | Action::Attach));
    plans.sort_by_key(|plan| (is_later(plan), plan.day != today, plan.day));
    plans
}

fn needs_archives(action: Action) -> bool {
    matches!(action, Action::Archive | Action::Verify | Action::Drop | Action::Merge | Action::Restore)
}

#[cfg(test)]
mod tests {
    use domain::partition::{Cause, Step};

    use super::*;

    #[test]
    fn the_partition_of_today_is_made_before_all_others_and_partitions_before_archives() {
        let day = |day: u32| NaiveDate::from_ymd_opt(2026, 6, day).unwrap();
        let plan = |of: u32, action| DayPlan { day: day(of), steps: vec![Step { action, cause: Cause::Near }], then: None };
        let idle = DayPlan { day: day(2), steps: vec![], then: None };
        let plans = vec![
            plan(1, Action::Archive),
            idle,
            plan(3, Action::Create),
            plan(9, Action::Attach),
            plan(10, Action::Create),
            plan(11, Action::Create),
        ];
        let ordered: Vec<u32> = in_order(plans, day(10)).iter().map(|plan| chrono::Datelike::day(&plan.day)).collect();
        assert_eq!(ordered, [10, 3, 9, 11, 1, 2]);
    }
}
