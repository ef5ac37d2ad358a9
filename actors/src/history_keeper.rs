//! Keeps history in shape: counts the hours of days that are over, samples the fleet, and removes
//! what is kept no longer.
//!
//! The owner of the first shard does it for the whole cluster. Every step may be done twice or by
//! two nodes at once without harm, and what was left undone is found by the next look.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::device::DevicePolicy;
use domain::history::{FleetSample, first_open_day, first_unsettled_day, sample_time};
use domain::partition::day_of;
use domain::shard::{Epoch, ShardId};
use store::{Store, StoreError};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::agent_updates::{hour_of, running, versions};
use crate::clock;
use crate::fleet_view::FleetView;
use crate::ownership::Ownership;

/// Whose owner keeps history for all.
const KEEPER_SHARD: ShardId = ShardId(0);
/// How often it is looked whether a sample of the fleet is due.
const SAMPLE_TICK: Duration = Duration::from_secs(5);
/// How often the versions of the agent that the fleet runs are counted.
const VERSIONS_EVERY: TimeDelta = TimeDelta::seconds(60);
/// Devices whose hours are counted in one transaction: a day of one that reports every 10 s takes 30 ms.
const DEVICES_MAX: i64 = 50;
/// Late notes that are worked off in one transaction.
const NOTES_MAX: i64 = 100;
/// Rows that are removed by one statement.
const PURGE_MAX: i64 = 5_000;
/// Devices that are removed by one statement; their tokens, events and status go with them.
const PURGE_DEVICES_MAX: i64 = 100;
/// Deployments that are removed by one statement; their tasks go with them.
const PURGE_DEPLOYMENTS_MAX: i64 = 10;
/// How long an owner has to note itself that a command's time is over.
const EXPIRED_FOR: TimeDelta = TimeDelta::seconds(60);
/// Statements of one kind between two looks at whether this node still is the keeper.
const ROUNDS_MAX: usize = 10_000;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct HistorySettings {
    /// A deleted device can be restored for this long; then it is removed for good.
    pub restore_within: chrono::TimeDelta,
    /// Events of devices.
    pub events_kept: chrono::TimeDelta,
    /// Hours of devices, and samples of the fleet.
    pub hours_kept: chrono::TimeDelta,
    /// Between two looks at what is to be counted or removed.
    pub interval: Duration,
}

/// Keeps history in shape.
pub(crate) struct HistoryKeeper {
    pub(crate) store: Store,
    pub(crate) view: Arc<FleetView>,
    pub(crate) ownership: Arc<Ownership>,
    /// Whether the view has the devices of all nodes.
    pub(crate) in_step: watch::Receiver<bool>,
    pub(crate) policy: DevicePolicy,
    pub(crate) settings: HistorySettings,
    /// How long commands that are over are kept, and keys of idempotent calls.
    pub(crate) commands: (TimeDelta, TimeDelta),
    /// How long counters of updates of the agent are kept, and what single devices told of them.
    pub(crate) agent_updates: (TimeDelta, TimeDelta),
    /// How long deployments that are over are kept.
    pub(crate) deployments_kept: TimeDelta,
}

impl HistoryKeeper {
    /// Does so until `stopping`.
    pub(crate) async fn keep(self, stopping: CancellationToken) {
        let sampling = async {
            // Not at once: a fleet that was never counted yet would be sampled as empty.
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SAMPLE_TICK, SAMPLE_TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut sampled, mut versions_sampled) = (None, None);
            loop {
                ticks.tick().await;
                match self.sample(sampled).await {
                    Ok(at) => sampled = at,
                    Err(cause) => tracing::warn!(event = "history.sample_failed", %cause),
                }
                match self.sample_versions(versions_sampled).await {
                    Ok(at) => versions_sampled = at,
                    Err(cause) => tracing::warn!(event = "history.sample_failed", %cause),
                }
            }
        };
        let keeping = async {
            loop {
                tokio::time::sleep(self.settings.interval).await;
                if self.acting().is_some()
                    && let Err(cause) = self.look().await
                {
                    tracing::warn!(event = "history.look_failed", %cause);
                }
            }
        };
        tokio::select! {
            () = sampling => {}
            () = keeping => {}
            () = stopping.cancelled() => {}
        }
    }

    fn acting(&self) -> Option<Epoch> {
        self.ownership.acting(KEEPER_SHARD)
    }

    /// Keeps the sample that is due, unless it was kept already. Answers the time of the last one.
    async fn sample(&self, sampled: Option<domain::Timestamp>) -> Result<Option<domain::Timestamp>, StoreError> {
        let due = sample_time(clock::now());
        let (Some(epoch), true) = (self.acting(), *self.in_step.borrow()) else { return Ok(sampled) };
        if sampled == Some(due) {
            return Ok(sampled);
        }
        let stats = *self.view.stats().borrow();
        let sample = FleetSample {
            at: due,
            devices: stats.devices as i64,
            online: stats.online as i64,
            offline: stats.offline as i64,
            never_seen: stats.never_seen as i64,
            low_battery: stats.low_battery as i64,
            app_down: stats.app_down as i64,
            heartbeats_per_second: stats.heartbeats_per_second,
        };
        self.store.insert_fleet_sample(sample, epoch).await?;
        Ok(Some(due))
    }

    /// Keeps which versions of the agent the fleet runs, when a minute has begun since it was kept last. Answers when that was.
    async fn sample_versions(&self, sampled: Option<domain::Timestamp>) -> Result<Option<domain::Timestamp>, StoreError> {
        let now = clock::now();
        let (Some(epoch), true) = (self.acting(), *self.in_step.borrow()) else { return Ok(sampled) };
        if sampled.is_some_and(|at| now - at < VERSIONS_EVERY) {
            return Ok(sampled);
        }
        let view = Arc::clone(&self.view);
        let Ok(counted) = tokio::task::spawn_blocking(move || versions(&running(&view))).await else { return Ok(sampled) };
        let counted: Vec<_> = counted.into_iter().map(|(version, devices)| (version, devices as i64)).collect();
        self.store.keep_version_sample(hour_of(now), &counted, epoch).await?;
        Ok(Some(now))
    }

    async fn look(&self) -> Result<(), StoreError> {
        let now = clock::now();
        let offline_after_s = i32::try_from(self.policy.offline_after.num_seconds()).unwrap_or(i32::MAX);
        self.count_days(now, offline_after_s).await?;
        self.close_days(now, offline_after_s).await?;
        for _ in 0..ROUNDS_MAX {
            if self.acting().is_none() || self.store.recount_hours(NOTES_MAX, offline_after_s).await? == 0 {
                break;
            }
        }
        let removed = self.purge(now).await?;
        if removed > 0 {
            tracing::info!(event = "history.purged", rows = removed);
        }
        Ok(())
    }

    /// Counts the days that are over and have heartbeats, the newest first: people look at those.
    async fn count_days(&self, now: domain::Timestamp, offline_after_s: i32) -> Result<(), StoreError> {
        let unsettled = first_unsettled_day(now);
        let mut over: Vec<_> =
            self.store.partitions().await?.iter().filter_map(|table| day_of(table)).filter(|day| *day < unsettled).collect();
        let Some((first, last)) = over.iter().min().copied().zip(over.iter().max().copied()) else { return Ok(()) };
        let counted = self.store.counted_days(first, last).await?;
        over.retain(|day| !counted.contains(day));
        over.sort_unstable_by(|a, b| b.cmp(a));
        for day in over {
            if !self.count_day(day, offline_after_s).await? {
                return Ok(());
            }
            self.store.note_counted_day(day).await?;
        }
        Ok(())
    }

    /// Counts days once more that no heartbeat can come for any more. One that came late through a node
    /// of an earlier build left no note.
    async fn close_days(&self, now: domain::Timestamp, offline_after_s: i32) -> Result<(), StoreError> {
        let kept: HashSet<_> = self.store.partitions().await?.iter().filter_map(|table| day_of(table)).collect();
        for day in self.store.unclosed_days(first_open_day(now)).await? {
            // Of a day whose heartbeats are removed the hours are all there is.
            if kept.contains(&day) && !self.count_day(day, offline_after_s).await? {
                return Ok(());
            }
            self.store.close_day(day).await?;
        }
        Ok(())
    }

    /// Counts a day for every device. `false`: this node is the keeper no more.
    async fn count_day(&self, day: chrono::NaiveDate, offline_after_s: i32) -> Result<bool, StoreError> {
        let started = tokio::time::Instant::now();
        let (mut after, mut devices) = (None, 0);
        let ended = (day + chrono::Days::new(1)).and_time(chrono::NaiveTime::MIN).and_utc();
        loop {
            if self.acting().is_none() {
                return Ok(false);
            }
            let ids = self.store.devices_to_count(after, ended, DEVICES_MAX).await?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            devices += ids.len();
            self.store.count_hours(&ids, day, offline_after_s).await?;
        }
        tracing::info!(event = "history.day_counted", %day, devices, duration_ms = started.elapsed().as_millis() as u64);
        Ok(true)
    }

    async fn purge(&self, now: domain::Timestamp) -> Result<u64, StoreError> {
        let HistorySettings { restore_within, events_kept, hours_kept, .. } = self.settings;
        let mut total = 0;
        for what in
            [Purge::Devices, Purge::Events, Purge::Hours, Purge::ExpiredCommands, Purge::Commands, Purge::Deployments, Purge::AgentUpdates]
        {
            for _ in 0..ROUNDS_MAX {
                let (removed, most) = match what {
                    Purge::Devices => (self.store.purge_devices(now - restore_within, PURGE_DEVICES_MAX, now).await?, PURGE_DEVICES_MAX),
                    Purge::Events => (self.store.purge_device_events(now - events_kept, PURGE_MAX).await?, PURGE_MAX),
                    Purge::Hours => (self.store.purge_hours(now - hours_kept, PURGE_MAX).await?, PURGE_MAX),
                    Purge::ExpiredCommands => (self.store.expire_commands(now - EXPIRED_FOR, now, PURGE_MAX).await?, PURGE_MAX),
                    Purge::Commands => {
                        let (kept, keys_kept) = self.commands;
                        (self.store.purge_commands(now - kept, now - keys_kept, now, PURGE_MAX).await?, PURGE_MAX)
                    }
                    Purge::AgentUpdates => {
                        let (counters_kept, outcomes_kept) = self.agent_updates;
                        (self.store.purge_agent_updates(now - counters_kept, now - outcomes_kept, PURGE_MAX).await?, PURGE_MAX)
                    }
                    Purge::Deployments => {
                        let before = now - self.deployments_kept;
                        (self.store.purge_deployments(before, PURGE_DEPLOYMENTS_MAX).await?, PURGE_DEPLOYMENTS_MAX)
                    }
                };
                total += removed;
                if self.acting().is_none() || (removed as i64) < most {
                    break;
                }
            }
        }
        self.store.purge_fleet_samples(now - hours_kept).await?;
        Ok(total)
    }
}

#[derive(Clone, Copy)]
enum Purge {
    Devices,
    Events,
    Hours,
    /// Those whose owner did not note that their time is over, for whatever reason.
    ExpiredCommands,
    Commands,
    /// Counters of updates of the agent, samples of versions, and what devices told.
    AgentUpdates,
    Deployments,
}
