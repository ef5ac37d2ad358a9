//! History and events of a device, history and distributions of the fleet.

mod archived;
mod export;
mod sources;

use std::collections::HashSet;
use std::sync::Arc;

use archive::Archives;
use chrono::TimeDelta;
use clock::Clock;
use domain::access::{Permission, Principal};
use domain::device::DevicePolicy;
use domain::distribution::Distributions;
use domain::event::{EventCursor, EventKind};
use domain::history::{FleetSample, HOUR_S, HistoryPlan, HistoryRequest, Point, Slot, downsample};
use domain::invalid::in_range;
use domain::query::PAGE_MAX;
use domain::{DeviceId, ServiceError, Timestamp};
use store::Store;

use actors::fleet_view::FleetView;

use super::table_pools::TablePools;
pub use sources::ArchivedDays;
use sources::{Sources, margin};

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
    /// The days that were read from the archive, if any were.
    pub archived: Option<ArchivedDays>,
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

/// History and events, for people.
pub struct HistoryService {
    clock: Clock,
    store: Store,
    view: Arc<FleetView>,
    policy: DevicePolicy,
    tables: TablePools,
    archives: Archives,
    /// Retention of hourly aggregates.
    hours_kept: TimeDelta,
}

/// Parts of the service.
pub(crate) struct HistoryParts {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) view: Arc<FleetView>,
    pub(crate) policy: DevicePolicy,
    pub(crate) tables: TablePools,
    pub(crate) archives: Archives,
    pub(crate) hours_kept: TimeDelta,
}

impl HistoryService {
    /// The service over a store, its archives and the fleet.
    pub(crate) fn new(parts: HistoryParts) -> Self {
        let HistoryParts { clock, store, view, policy, tables, archives, hours_kept } = parts;
        Self { clock, store, view, policy, tables, archives, hours_kept }
    }

    /// History of a device, as evenly spaced points. Also of a device that was deleted, for
    /// as long as it can be restored. Days whose heartbeats are no longer in the database are read from the archive.
    ///
    /// # Errors
    /// Forbidden, a range or number of points out of its limits, there is no such device, or reading the archive takes more bytes or longer
    /// than it may.
    pub async fn device(&self, principal: &Principal, id: DeviceId, request: HistoryRequest) -> Result<DeviceHistory, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let now = self.clock.now();
        let plan = request.plan(now)?;
        let permit = self.tables.read(principal).await?;
        self.store.device_access(id).await?.ok_or(ServiceError::NotFound("device"))?;
        let (plan, sources) = self.sources(plan, now).await?;
        let offline_after = self.policy.offline_after;
        // What was told just before keeps the device online at first.
        let from = plan.from - margin(offline_after, plan.slot_s());
        let mut stored = vec![(id, self.stored(&plan, id, from, &sources).await?)];
        for replaced in self.store.replaced_devices(id, REPLACED_MAX).await? {
            stored.push((replaced, self.stored(&plan, replaced, from, &sources).await?));
        }
        // What the archive has takes no connection to the database.
        drop(permit);
        let runs = sources.archive_runs(&plan, from);
        // One turn for the device and those that it replaced: the limits are those of the request.
        let turn = if runs.is_empty() { None } else { Some(self.archive_turn().await?) };
        let mut slots: Vec<Slot> = Vec::new();
        for (id, mut found) in stored {
            if let Some(turn) = &turn {
                found.extend(self.archived(turn, id, &runs, &sources.archived, plan.slot_s()).await?);
            }
            let known: HashSet<Timestamp> = slots.iter().map(|slot| slot.at).collect();
            slots.extend(found.into_iter().filter(|slot| !known.contains(&slot.at)));
        }
        slots.sort_by_key(|slot| (slot.at, slot.first_at));
        let archived = ArchivedDays::of(&runs, plan.from);
        Ok(DeviceHistory { plan, points: downsample(&plan, &slots, offline_after), archived })
    }

    /// Slots of a device that the database has: hours where they are aggregated, else heartbeats.
    async fn stored(&self, plan: &HistoryPlan, id: DeviceId, from: Timestamp, sources: &Sources) -> Result<Vec<Slot>, ServiceError> {
        if !plan.from_aggregates {
            return self.exact(id, from, plan.to, plan.slot_s()).await;
        }
        let mut slots = self.store.for_reading().hour_slots(id, from, plan.to).await?;
        slots.retain(|slot| sources.has_hours(slot.at.date_naive()));
        for (begin, end) in sources.heartbeat_runs(plan, from) {
            slots.extend(self.exact(id, begin, end, HOUR_S).await?);
        }
        Ok(slots)
    }

    async fn exact(&self, id: DeviceId, from: Timestamp, to: Timestamp, slot_s: i64) -> Result<Vec<Slot>, ServiceError> {
        let offline_after_s = i32::try_from(self.policy.offline_after.num_seconds()).unwrap_or(i32::MAX);
        Ok(self.store.for_reading().heartbeat_slots(id, from, to, slot_s, offline_after_s).await?)
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
