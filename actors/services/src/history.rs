//! History and events of a device, history and distributions of the fleet.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};
use clock::Clock;
use domain::access::{Permission, Principal};
use domain::device::DevicePolicy;
use domain::distribution::Distributions;
use domain::event::{EventCursor, EventKind};
use domain::history::{FleetSample, HOUR_S, HistoryPlan, HistoryRequest, Point, Slot, downsample};
use domain::invalid::in_range;
use domain::partition::day_of;
use domain::query::PAGE_MAX;
use domain::{DeviceId, ServiceError, Timestamp};
use store::Store;

use actors::fleet_view::FleetView;

use super::table_pools::TablePools;

/// Replaced devices whose history is part of a device's.
const REPLACED_MAX: i64 = 5;
/// Most hours of the fleet's history in one answer.
pub const FLEET_HOURS_MAX: i64 = 24 * 30;
/// Hours of the fleet's history when none are asked for.
pub const FLEET_HOURS_DEFAULT: i64 = 24;

/// History of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceHistory {
    /// Range and step.
    pub plan: HistoryPlan,
    /// One point for each step, oldest first.
    pub points: Vec<Point>,
}

/// An event of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct EventView {
    /// Number of the event.
    pub id: i64,
    /// Time of the event.
    pub at: Timestamp,
    /// Name of an [`EventKind`], or one that a later build knows.
    pub kind: String,
    /// Person who caused it, if any.
    pub actor: Option<String>,
    /// Details, a JSON object.
    pub detail: serde_json::Value,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The events, newest first.
    pub events: Vec<EventView>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<EventCursor>,
}

/// Kind of the event.
pub struct HistoryService {
    clock: Clock,
    store: Store,
    view: Arc<FleetView>,
    policy: DevicePolicy,
    tables: TablePools,
}

impl HistoryService {
    /// The service over a store and the fleet.
    pub fn new(clock: Clock, store: Store, view: Arc<FleetView>, policy: DevicePolicy, tables: TablePools) -> Self {
        Self { clock, store, view, policy, tables }
    }

    /// History of a device, as evenly spaced points. Also of a device that was deleted, for
    /// as long as it can be restored.
    ///
    /// # Errors
    /// Forbidden, a range or number of points out of its limits, or there is no such device.
    pub async fn device(&self, principal: &Principal, id: DeviceId, request: HistoryRequest) -> Result<DeviceHistory, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let now = self.clock.now();
        let plan = request.plan(now)?;
        let _permit = self.tables.read(principal).await?;
        self.store.device_access(id).await?.ok_or(ServiceError::NotFound("device"))?;
        // Heartbeats are removed before hours are: what reaches back that far is plotted by the hour.
        if !plan.from_aggregates && self.reaches_beyond_heartbeats(plan).await? {
            let step_s = (plan.step_s + HOUR_S - 1) / HOUR_S * HOUR_S;
            let from = plan.from - TimeDelta::seconds(plan.from.timestamp().rem_euclid(step_s));
            return self.assemble(id, HistoryPlan { from, step_s, from_aggregates: true, ..plan }).await;
        }
        self.assemble(id, plan).await
    }

    /// Whether there is a day in it whose hours were aggregated and whose heartbeats are removed.
    async fn reaches_beyond_heartbeats(&self, plan: HistoryPlan) -> Result<bool, ServiceError> {
        let aggregated = self.store.aggregated_days(plan.from.date_naive(), plan.to.date_naive()).await?;
        if aggregated.is_empty() {
            return Ok(false);
        }
        let kept: HashSet<NaiveDate> = self.store.partitions().await?.iter().filter_map(|table| day_of(table)).collect();
        Ok(aggregated.iter().any(|day| !kept.contains(day)))
    }

    /// History of a device and of those that it has replaced.
    async fn assemble(&self, id: DeviceId, plan: HistoryPlan) -> Result<DeviceHistory, ServiceError> {
        let offline_after = self.policy.offline_after;
        let slot_s = plan.slot_s();
        // What was told just before keeps the device online at first.
        let before = TimeDelta::seconds(slot_s * ((offline_after.num_seconds().min(86_400) + slot_s - 1) / slot_s));
        let (from, to) = (plan.from - before, plan.to);
        let mut slots = self.slots(&plan, id, from, to, slot_s).await?;
        for replaced in self.store.replaced_devices(id, REPLACED_MAX).await? {
            let known: HashSet<Timestamp> = slots.iter().map(|slot| slot.at).collect();
            let earlier = self.slots(&plan, replaced, from, to, slot_s).await?;
            slots.extend(earlier.into_iter().filter(|slot| !known.contains(&slot.at)));
        }
        slots.sort_by_key(|slot| slot.at);
        Ok(DeviceHistory { plan, points: downsample(&plan, &slots, offline_after) })
    }

    async fn slots(
        &self,
        plan: &HistoryPlan,
        id: DeviceId,
        from: Timestamp,
        to: Timestamp,
        slot_s: i64,
    ) -> Result<Vec<Slot>, ServiceError> {
        if plan.from_aggregates { self.hours(id, from, to).await } else { self.exact(id, from, to, slot_s).await }
    }

    async fn exact(&self, id: DeviceId, from: Timestamp, to: Timestamp, slot_s: i64) -> Result<Vec<Slot>, ServiceError> {
        let offline_after_s = i32::try_from(self.policy.offline_after.num_seconds()).unwrap_or(i32::MAX);
        Ok(self.store.heartbeat_slots(id, from, to, slot_s, offline_after_s).await?)
    }

    /// Hourly aggregates; for days without, their heartbeats.
    async fn hours(&self, id: DeviceId, from: Timestamp, to: Timestamp) -> Result<Vec<Slot>, ServiceError> {
        let (first, last) = (from.date_naive(), to.date_naive());
        let aggregated: HashSet<NaiveDate> = self.store.aggregated_days(first, last).await?.into_iter().collect();
        let mut slots = self.store.hour_slots(id, from, to).await?;
        slots.retain(|slot| aggregated.contains(&slot.at.date_naive()));
        let days: Vec<NaiveDate> = first.iter_days().take_while(|day| *day <= last).filter(|day| !aggregated.contains(day)).collect();
        for run in days.chunk_by(|a, b| *b == *a + Days::new(1)) {
            let begin = run[0].and_time(NaiveTime::MIN).and_utc().max(from);
            let end = (run[run.len() - 1] + Days::new(1)).and_time(NaiveTime::MIN).and_utc().min(to);
            slots.extend(self.exact(id, begin, end, HOUR_S).await?);
        }
        slots.sort_by_key(|slot| slot.at);
        Ok(slots)
    }

    /// Events of a device, newest first; only those of `kinds` if any are named. Also of a
    /// device that was deleted, for as long as it can be restored.
    ///
    /// # Errors
    /// Forbidden, the limit is out of its range, or there is no such device.
    pub async fn events(
        &self,
        principal: &Principal,
        id: DeviceId,
        kinds: &[EventKind],
        after: Option<EventCursor>,
        limit: i64,
    ) -> Result<EventPage, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let _permit = self.tables.read(principal).await?;
        self.store.device_access(id).await?.ok_or(ServiceError::NotFound("device"))?;
        let mut events = self.store.device_events(id, kinds, after, limit + 1).await?;
        let more = events.len() as i64 > limit;
        events.truncate(limit as usize);
        let next = if more { events.last().map(|event| EventCursor { at: event.at, id: event.id }) } else { None };
        let shown = |event: store::StoredEvent| {
            let store::StoredEvent { id, at, kind, actor, detail } = event;
            EventView { id, at, kind, actor, detail }
        };
        Ok(EventPage { events: events.into_iter().map(shown).collect(), next })
    }

    /// The fleet over the last hours, oldest sample first. Samples are taken every five minutes; where
    /// nobody took one there is none.
    ///
    /// # Errors
    /// Forbidden, or the hours are out of their range.
    pub async fn fleet(&self, principal: &Principal, hours: i64) -> Result<Vec<FleetSample>, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let hours = in_range("hours", hours, 1, FLEET_HOURS_MAX)?;
        let _permit = self.tables.read(principal).await?;
        Ok(self.store.fleet_samples(self.clock.now() - TimeDelta::hours(hours)).await?)
    }

    /// Distributions of the fleet, at most a second old.
    ///
    /// # Errors
    /// Forbidden.
    pub fn distributions(&self, principal: &Principal) -> Result<Arc<Distributions>, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        Ok(self.view.distributions())
    }
}
