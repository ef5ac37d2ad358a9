//! Devices, for people: lists, live state, revocation, deletion.

use std::sync::Arc;

use domain::access::{Permission, Principal};
use domain::device::{DevicePolicy, DeviceState, DeviceView};
use domain::invalid::in_range;
use domain::query::{Cursor, DeviceFilter, NEVER, PAGE_MAX, Sort, SortKey};
use domain::{DeviceId, Timestamp};
use store::{Store, StoredDevice};

use crate::fleet_view::{FleetStats, FleetView};
use crate::link::message::DeviceRequest;
use crate::router::DeviceRouter;
use crate::{ServiceError, clock};

/// A page of a device list.
pub struct DevicePage {
    /// The devices, as last stored.
    pub devices: Vec<DeviceView>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Cursor>,
}

/// Devices, for people.
pub struct DeviceService {
    store: Store,
    router: DeviceRouter,
    view: Arc<FleetView>,
    policy: DevicePolicy,
}

impl DeviceService {
    /// The service over a store and the devices of a node.
    pub fn new(store: Store, router: DeviceRouter, view: Arc<FleetView>, policy: DevicePolicy) -> Self {
        Self { store, router, view, policy }
    }

    /// A page of devices, as last stored.
    ///
    /// # Errors
    /// Forbidden, or the filter, limit or cursor is out of its range.
    pub async fn page(
        &self,
        principal: &Principal,
        filter: DeviceFilter,
        sort: Sort,
        after: Option<Cursor>,
        limit: i64,
    ) -> Result<DevicePage, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let filter = filter.checked()?;
        let after = after.map(|cursor| cursor.checked(sort)).transpose()?;
        let now = clock::now();
        let mut rows = self.store.devices_page(&filter, sort, after.as_ref(), now - self.policy.offline_after, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let devices: Vec<_> = rows.into_iter().map(|row| self.stored_view(row, now)).collect();
        let next = if more { devices.last().map(|last| cursor(last, sort)) } else { None };
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
                Ok(self.stored_view(stored.ok_or(ServiceError::NotFound("device"))?, clock::now()))
            }
            answer => answer,
        }
    }

    fn stored_view(&self, row: StoredDevice, now: Timestamp) -> DeviceView {
        DeviceState::restored(row.identity, row.credential_generation, row.last, row.last_seen_at, now, &self.policy).view(&self.policy)
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

    /// How devices are judged.
    pub fn policy(&self) -> DevicePolicy {
        self.policy
    }

    /// Makes every credential of a device worthless, at once. The device has to
    /// be enrolled again.
    ///
    /// # Errors
    /// Forbidden, or there is no such device.
    pub async fn revoke(&self, principal: &Principal, id: DeviceId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageDevices)?;
        let (store, router) = (self.store.clone(), self.router.clone());
        to_the_end(async move {
            let generation = store.revoke_credentials(id).await?.ok_or(ServiceError::NotFound("device"))?;
            tracing::info!(event = "device.credentials_revoked", device_id = %id);
            tell_owner(&router, id, DeviceRequest::AccessChanged { generation, deleted: false }).await
        })
        .await
    }

    /// Deletes a device: it leaves the fleet, and its agent is told to stop.
    ///
    /// # Errors
    /// Forbidden, or there is no such device.
    pub async fn delete(&self, principal: &Principal, id: DeviceId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageDevices)?;
        let (store, router) = (self.store.clone(), self.router.clone());
        to_the_end(async move {
            if !store.delete_device(id, clock::now()).await? {
                return Err(ServiceError::NotFound("device"));
            }
            tracing::info!(event = "device.deleted", device_id = %id);
            tell_owner(&router, id, DeviceRequest::AccessChanged { generation: 0, deleted: true }).await
        })
        .await
    }
}

/// Does work that must not stop half way, even if the caller hangs up: the store
/// and the device's actor have to hear the same.
async fn to_the_end(work: impl Future<Output = Result<(), ServiceError>> + Send + 'static) -> Result<(), ServiceError> {
    tokio::spawn(work).await.unwrap_or(Err(ServiceError::Internal))
}

/// Tells the owner what the store holds already. The store told every node of it too, so an owner
/// that cannot be reached over the link learns of it all the same, a moment later.
async fn tell_owner(router: &DeviceRouter, id: DeviceId, request: DeviceRequest) -> Result<(), ServiceError> {
    match router.request(id, request).await {
        Ok(_) | Err(ServiceError::NotOwner | ServiceError::Unavailable | ServiceError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a page behind `last` begins.
fn cursor(last: &DeviceView, sort: Sort) -> Cursor {
    let key = match sort.key {
        SortKey::Alias => last.identity.alias.clone(),
        SortKey::LastSeen => last.last_seen_at.map_or_else(|| NEVER.to_owned(), Cursor::time_key),
        SortKey::Battery => last.battery_pct().unwrap_or(-1).to_string(),
        SortKey::Enrolled => Cursor::time_key(last.identity.enrolled_at),
    };
    Cursor { key, id: last.identity.id }
}
