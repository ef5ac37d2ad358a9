//! Replacement of a device by another enrollment of the same hardware.

use crate::Timestamp;
use crate::bulk::DeviceRecord;
use crate::edit::Editable;
use crate::{DeviceId, ServiceError};

/// Device that enrolled with the same hardware id as another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SameHardware {
    /// Id.
    pub id: DeviceId,
    /// Alias.
    pub alias: String,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When its last stored heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
}

/// Hardware of a device, as told when it enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledHardware {
    /// Hardware identity.
    pub hardware_id: Option<String>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
}

/// What `device` becomes by replacing another: what people know that one by.
///
/// # Errors
/// One of them is deleted, they are one device, their hardware differs, or `device` enrolled first.
pub fn replacement(
    device: (&DeviceRecord, &EnrolledHardware),
    replaced: (&DeviceRecord, &EnrolledHardware),
) -> Result<Editable, ServiceError> {
    if device.0.deleted_at.is_some() || replaced.0.deleted_at.is_some() {
        return Err(ServiceError::NotFound("device"));
    }
    if device.0.id == replaced.0.id {
        return Err(ServiceError::WrongState("a device cannot replace itself"));
    }
    if device.1.hardware_id.is_none() || device.1.hardware_id != replaced.1.hardware_id {
        return Err(ServiceError::WrongState("the devices have different hardware ids; rename or delete one of them instead"));
    }
    if device.1.enrolled_at < replaced.1.enrolled_at {
        return Err(ServiceError::WrongState("the device enrolled before the one that it would replace; replace this one by that one"));
    }
    let kept = &replaced.0.editable;
    Ok(Editable { monitored: kept.monitored.clone().or_else(|| device.0.editable.monitored.clone()), ..kept.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MonitoredApp;

    fn device(n: u128, alias: &str, hardware_id: Option<&str>, enrolled: i64) -> (DeviceRecord, EnrolledHardware) {
        let editable = Editable { alias: alias.into(), tags: vec![alias.into()], groups: vec![], monitored: None };
        let enrolled_at = chrono::DateTime::from_timestamp(enrolled, 0).unwrap();
        let record = DeviceRecord { id: DeviceId(uuid::Uuid::from_u128(n)), editable, deleted_at: None };
        (record, EnrolledHardware { hardware_id: hardware_id.map(str::to_owned), enrolled_at })
    }

    #[test]
    fn the_newer_enrollment_of_the_same_hardware_takes_over_what_people_know_it_by() {
        let (old, mut new) = (device(1, "kiosk", Some("HW"), 1), device(2, "kiosk (2)", Some("HW"), 2));
        let app = MonitoredApp { package: "a.b".into(), stale_after_s: None };
        new.0.editable.monitored = Some(app.clone());
        let next = replacement((&new.0, &new.1), (&old.0, &old.1)).unwrap();
        assert_eq!(next, Editable { monitored: Some(app), ..old.0.editable.clone() });
    }

    #[test]
    fn nothing_else_replaces_a_device() {
        let old = device(1, "a", Some("HW"), 5);
        let mut deleted = device(2, "b", Some("HW"), 9);
        deleted.0.deleted_at = Some(deleted.1.enrolled_at);
        for (other, why) in [
            (device(1, "a", Some("HW"), 5), "replace itself"),
            (device(2, "b", Some("HX"), 9), "different hardware"),
            (device(2, "b", None, 9), "different hardware"),
            (device(2, "b", Some("HW"), 4), "enrolled before"),
            (deleted, "no such device"),
        ] {
            let refused = replacement((&other.0, &other.1), (&old.0, &old.1)).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        let (one, other) = (device(1, "a", None, 1), device(2, "b", None, 2));
        assert!(replacement((&other.0, &other.1), (&one.0, &one.1)).is_err(), "no hardware id is no hardware id in common");
    }
}
