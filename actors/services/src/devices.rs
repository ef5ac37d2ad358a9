//! Devices, for people: lists and live state.

use std::sync::Arc;

use chrono::TimeDelta;
use clock::Clock;
use domain::access::{Permission, Principal};
use domain::device::{DeviceListScope, DevicePolicy, DeviceState, DeviceView, LegacyPushDevice, MonitoredApp};
use domain::invalid::in_range;
use domain::query::{Cursor, DeviceFilter, NEVER, PAGE_DEFAULT, PAGE_MAX, Sort, SortKey, rank};
use domain::replacement::SameHardware;
use domain::{DeviceId, ServiceError, Timestamp};
use store::{StatusThresholds, Store, StoredDevice};

use actors::fleet_view::{FleetStats, FleetView};
use actors::router::DeviceRouter;

use super::table_pools::TablePools;

/// A device with what lists of the whole fleet leave out.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDetails {
    /// Live state.
    pub view: DeviceView,
    /// Monitored app.
    pub monitored: Option<MonitoredApp>,
    /// Time of deletion.
    pub deleted_at: Option<Timestamp>,
    /// Until when it can be restored, if it was deleted.
    pub restorable_until: Option<Timestamp>,
    /// Other devices of the fleet with its hardware id, newest first; only where one device is asked for.
    pub same_hardware: Vec<SameHardware>,
}

/// A page of a device list.
pub struct DevicePage {
    /// The devices, as last stored.
    pub devices: Vec<DeviceDetails>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<Cursor>,
}

/// Devices, for display.
pub struct DeviceService {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) router: DeviceRouter,
    pub(super) view: Arc<FleetView>,
    pub(super) policy: DevicePolicy,
    /// A deleted device can be restored for this long.
    pub(super) restore_within: TimeDelta,
    /// Pools of exports and imports.
    pub(super) tables: TablePools,
}

impl DeviceService {
    /// The service over a store and the devices of a node.
    pub fn new(
        clock: Clock,
        store: Store,
        router: DeviceRouter,
        view: Arc<FleetView>,
        policy: DevicePolicy,
        restore_within: TimeDelta,
        tables: TablePools,
    ) -> Self {
        Self { clock, store, router, view, policy, restore_within, tables }
    }

    /// A page of devices, as last stored.
    ///
    /// # Errors
    /// Forbidden, or the filter, limit or cursor is out of its range.
    pub async fn page(
        &self,
        principal: &Principal,
        filter: DeviceFilter,
        scope: DeviceListScope,
        sort: Sort,
        after: Option<Cursor>,
        limit: i64,
    ) -> Result<DevicePage, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let filter = filter.checked()?;
        let after = after.map(|cursor| cursor.checked(sort)).transpose()?;
        let now = self.clock.now();
        let _permit = self.tables.read(principal).await?;
        let mut rows =
            self.store.devices_page(&filter, scope, sort, after.as_ref(), StatusThresholds::at(now, &self.policy), limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let devices: Vec<_> = rows.into_iter().map(|row| self.stored_details(row, now)).collect();
        let next = if more { devices.last().map(|last| cursor(&last.view, sort)) } else { None };
        Ok(DevicePage { devices, next })
    }

    /// The live state of a device, read from its actor on whichever node; while it has no owner,
    /// what the store holds.
    ///
    /// # Errors
    /// Forbidden, or there is no such device.
    pub async fn live(&self, principal: &Principal, id: DeviceId) -> Result<DeviceView, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        match self.router.view(id).await {
            Err(ServiceError::NotOwner) => {
                let stored = self.store.device(id).await?.filter(|stored| stored.deleted_at.is_none());
                Ok(self.stored_details(stored.ok_or(ServiceError::NotFound("device"))?, self.clock.now()).view)
            }
            answer => answer,
        }
    }

    /// The same, with what is watched of it.
    ///
    /// # Errors
    /// As [`Self::live`].
    pub async fn details(&self, principal: &Principal, id: DeviceId) -> Result<DeviceDetails, ServiceError> {
        let view = self.live(principal, id).await?;
        let stored = self.store.device(id).await?.filter(|stored| stored.deleted_at.is_none());
        let monitored = stored.ok_or(ServiceError::NotFound("device"))?.monitored;
        let same_hardware = if view.identity.hardware_id.is_some() { self.store.same_hardware(id).await? } else { Vec::new() };
        Ok(DeviceDetails { view, monitored, deleted_at: None, restorable_until: None, same_hardware })
    }

    pub(super) fn stored_details(&self, row: StoredDevice, now: Timestamp) -> DeviceDetails {
        let (deleted_at, monitored) = (row.deleted_at, row.monitored.clone());
        let mut view = DeviceState::restored(row.known(), now, &self.policy).view(&self.policy);
        // Its owner knows them, and tells every node.
        view.open_alerts = self.view.device(view.identity.id).map(|shown| shown.open_alerts).unwrap_or_default();
        DeviceDetails {
            view,
            monitored,
            deleted_at,
            restorable_until: deleted_at.map(|at| at + self.restore_within),
            same_hardware: Vec::new(),
        }
    }

    /// A page of the devices that need legacy push, and where the next one begins.
    ///
    /// # Errors
    /// Forbidden, or the page size is out of its limits.
    pub async fn legacy_push(
        &self,
        principal: &Principal,
        after: Option<DeviceId>,
        limit: Option<i64>,
    ) -> Result<(Vec<LegacyPushDevice>, Option<DeviceId>), ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let limit = in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        let mut devices = self.store.legacy_push_devices(after, limit + 1).await?;
        let more = devices.len() as i64 > limit;
        devices.truncate(limit as usize);
        let next = if more { devices.last().map(|device| device.id) } else { None };
        Ok((devices, next))
    }

    /// The fleet as dashboards see it.
    ///
    /// # Errors
    /// Forbidden.
    pub fn fleet(&self, principal: &Principal) -> Result<Arc<FleetView>, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        Ok(Arc::clone(&self.view))
    }

    /// Counts over the fleet.
    ///
    /// # Errors
    /// Forbidden.
    pub fn stats(&self, principal: &Principal) -> Result<FleetStats, ServiceError> {
        Ok(*self.fleet(principal)?.stats().borrow())
    }

    /// Counts over the fleet, for the node's own metrics.
    pub fn counts(&self) -> FleetStats {
        *self.view.stats().borrow()
    }

    /// Thresholds of the status of a device.
    pub fn policy(&self) -> DevicePolicy {
        self.policy
    }
}

/// Cursor after `last`.
pub(super) fn cursor(last: &DeviceView, sort: Sort) -> Cursor {
    let key = match sort.key {
        SortKey::Alias => last.identity.alias.clone(),
        SortKey::LastSeen => last.last_seen_at.map_or_else(|| NEVER.to_owned(), Cursor::time_key),
        SortKey::Reading(field) => rank(field, last).to_string(),
        SortKey::Enrolled => Cursor::time_key(last.identity.enrolled_at),
    };
    Cursor { key, id: last.identity.id }
}
