//! Identity of devices: conflicts that somebody decides about, and hardware that enrolled twice.

use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::replacement::replacement;
use domain::{DeviceId, ServiceError};
use link::messages::DeviceRequest;
use serde_json::json;
use store::AuditEntry;

use super::detached::run_detached;
use super::device_edit::{notify_owner, shown};
use super::devices::{DeviceDetails, DeviceService};

impl DeviceService {
    /// Dismisses the identity conflict of a device: it is one device. Held commands are sent. With the present credentials no
    /// conflict is noticed any more.
    ///
    /// # Errors
    /// Forbidden, there is no such device, or its identity is not in conflict.
    pub async fn dismiss_conflict(&self, principal: &Principal, id: DeviceId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageDevices)?;
        let (store, router, by, now) = (self.store.clone(), self.router.clone(), principal.clone(), self.clock.now());
        run_detached(async move {
            let mut work = store.device_work().await?;
            work.hold(&[id]).await?;
            let (alias, open) = work.conflict_of(id).await?.ok_or(ServiceError::NotFound("device"))?;
            if !open {
                return Err(ServiceError::WrongState("the identity of the device is not in conflict"));
            }
            work.dismiss_conflict(id, &by, now).await?;
            let entry = AuditEntry::new(&by, AuditAction::DeviceConflictDismissed, Target::Device(id, alias));
            let identity = |status: &str| json!({ "identity": status });
            work.audit(&entry.before(identity("conflict")).after(identity("single")), now).await?;
            work.commit().await?;
            tracing::info!(event = "device.conflict_dismissed", device_id = %id, by = by.username());
            shown(&router, id, |view| view.conflict_at.is_none()).await;
            Ok(())
        })
        .await
    }

    /// Puts a device in the place of an earlier enrollment of the same hardware: it gets that one's alias, tags, groups, monitored
    /// app, events and history, and that one is deleted.
    ///
    /// # Errors
    /// Forbidden, there is no such device, or they are not two enrollments of one hardware in this order.
    pub async fn replace(&self, principal: &Principal, id: DeviceId, replaced: DeviceId) -> Result<DeviceDetails, ServiceError> {
        principal.require(Permission::ManageDevices)?;
        principal.require(Permission::ViewDevices)?;
        let (store, router, by, now) = (self.store.clone(), self.router.clone(), principal.clone(), self.clock.now());
        run_detached(async move {
            let mut work = store.device_work().await?;
            work.hold(&[id, replaced]).await?;
            let records = work.device_records(&[id, replaced]).await?;
            let no_device = ServiceError::NotFound("device");
            let (Some(new), Some(old)) = (records.get(&id), records.get(&replaced)) else { return Err(no_device) };
            let hardware = (work.hardware(id).await?, work.hardware(replaced).await?);
            let (Some(new_hardware), Some(old_hardware)) = hardware else { return Err(no_device) };
            let next = replacement((new, &new_hardware), (old, &old_hardware))?;
            work.replace((new, &next), old, &by, now).await?;
            let target = Target::Device(id, next.alias.clone());
            let labels = |device: &domain::edit::Editable| json!({ "alias": device.alias, "tags": device.tags, "groups": device.groups });
            let mut after = labels(&next);
            after["replaced"] = json!(replaced.0);
            work.audit(&AuditEntry::new(&by, AuditAction::DeviceReplaced, target).before(labels(&new.editable)).after(after), now).await?;
            work.commit().await?;
            tracing::info!(event = "device.replaced", device_id = %id, %replaced, by = by.username());
            notify_owner(&router, replaced, DeviceRequest::AccessChanged { generation: 0, deleted: true }).await?;
            shown(&router, id, |view| view.identity.alias == next.alias).await;
            Ok(())
        })
        .await?;
        self.details(principal, id).await
    }
}
