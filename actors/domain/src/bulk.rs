//! Decisions about the devices of a bulk call, before anything is written.
//!
//! The same decision serves one device and ten thousand, and a dry run: who decides sees what
//! the store holds, and says for each device what would be done, or why not.

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;

use crate::edit::{DevicePatch, Editable};
use crate::name::CanonicalName;
use crate::{DeviceId, Invalid, Timestamp};

/// Most devices of one call.
pub const BULK_MAX: usize = 10_000;

/// Action of a bulk call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkAction {
    /// Edit alias, labels or monitored app.
    Edit(DevicePatch),
    /// Revoke the credentials.
    RevokeCredentials,
    /// Delete the device.
    Delete,
    /// Restore the device, under this alias or its old one.
    Restore(Option<String>),
}

/// Stored device, as far as a bulk call depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// The device.
    pub id: DeviceId,
    /// Editable values.
    pub editable: Editable,
    /// Time of deletion.
    pub deleted_at: Option<Timestamp>,
}

/// Reason for refusing a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The device does not exist.
    #[error("there is no such device")]
    NotFound,
    /// The device is deleted.
    #[error("the device is deleted")]
    Deleted,
    /// The device was deleted too long ago to be restored.
    #[error("the device was deleted more than {0} days ago")]
    TooLate(i64),
    /// Another device has the alias.
    #[error("another device already has the alias {0:?}")]
    AliasInUse(String),
    /// A value breaks its limit.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Decision about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The device is edited to this.
    Edit(Editable),
    /// The credentials are revoked.
    RevokeCredentials,
    /// The device is deleted.
    Delete,
    /// The device is restored under this alias.
    Restore(String),
    /// The device is unchanged.
    Unchanged,
    /// The device is refused.
    Refused(Refusal),
}

impl Decision {
    /// Whether the device changes.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Unchanged | Self::Refused(_))
    }

    /// The alias that the device has afterwards, if it gets one.
    fn alias(&self) -> Option<&str> {
        match self {
            Self::Edit(next) => Some(&next.alias),
            Self::Restore(alias) => Some(alias),
            _ => None,
        }
    }
}

/// Decision about a device, as far as it depends on that device alone.
pub fn decide(action: &BulkAction, device: Option<&DeviceRecord>, now: Timestamp, restore_within: TimeDelta) -> Decision {
    let Some(device) = device else { return Decision::Refused(Refusal::NotFound) };
    match (action, device.deleted_at) {
        (BulkAction::Edit(patch), None) => match patch.applied(&device.editable) {
            Ok(Some(next)) => Decision::Edit(next),
            Ok(None) => Decision::Unchanged,
            Err(invalid) => Decision::Refused(invalid.into()),
        },
        (BulkAction::RevokeCredentials, None) => Decision::RevokeCredentials,
        (BulkAction::Edit(_) | BulkAction::RevokeCredentials, Some(_)) => Decision::Refused(Refusal::Deleted),
        (BulkAction::Delete, None) => Decision::Delete,
        (BulkAction::Delete, Some(_)) | (BulkAction::Restore(_), None) => Decision::Unchanged,
        (BulkAction::Restore(_), Some(at)) if at + restore_within <= now => Decision::Refused(Refusal::TooLate(restore_within.num_days())),
        (BulkAction::Restore(alias), Some(_)) => Decision::Restore(alias.clone().unwrap_or_else(|| device.editable.alias.clone())),
    }
}

/// The aliases that devices would newly get.
pub fn wanted_aliases(devices: &HashMap<DeviceId, DeviceRecord>, decisions: &[(DeviceId, Decision)]) -> Vec<String> {
    decisions.iter().filter_map(|(id, decision)| newly(devices, *id, decision)).map(str::to_owned).collect()
}

/// The alias that a device newly gets: one that it does not have already.
fn newly<'a>(devices: &HashMap<DeviceId, DeviceRecord>, id: DeviceId, decision: &'a Decision) -> Option<&'a str> {
    let has = devices.get(&id).filter(|device| device.deleted_at.is_none()).map(|device| device.editable.alias.as_str());
    decision.alias().filter(|alias| has != Some(*alias))
}

/// Refuses whoever would get an alias that another device has and keeps, or that a device before it
/// in the list gets; aliases with one canonical form are one alias. `holders` says who has the
/// [`wanted_aliases`]; an alias that its device gives away in the same call is free.
pub fn refuse_taken_aliases(
    devices: &HashMap<DeviceId, DeviceRecord>,
    holders: &HashMap<CanonicalName, Vec<DeviceId>>,
    decisions: &mut [(DeviceId, Decision)],
) {
    let leaving: HashSet<DeviceId> =
        decisions.iter().filter(|(id, decision)| newly(devices, *id, decision).is_some()).map(|(id, _)| *id).collect();
    let mut given: HashSet<CanonicalName> = HashSet::new();
    for (id, decision) in decisions {
        let Some(alias) = newly(devices, *id, decision).map(str::to_owned) else { continue };
        let canonical = CanonicalName::of(&alias);
        let held = holders.get(&canonical).map(Vec::as_slice).unwrap_or_default();
        let kept = held.iter().any(|holder| holder != id && !leaving.contains(holder));
        if kept || !given.insert(canonical) {
            *decision = Decision::Refused(Refusal::AliasInUse(alias));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::LabelChange;
    use proptest::prelude::*;

    const WITHIN: TimeDelta = TimeDelta::days(7);

    fn at(day: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + day * 86_400, 0).unwrap()
    }
    fn device(n: u128, alias: &str, deleted: Option<i64>) -> DeviceRecord {
        let editable = Editable { alias: alias.into(), tags: vec!["till".into()], groups: vec![], monitored: None };
        DeviceRecord { id: DeviceId(uuid::Uuid::from_u128(n)), editable, deleted_at: deleted.map(at) }
    }
    fn patch(tags: LabelChange) -> BulkAction {
        BulkAction::Edit(DevicePatch { tags: Some(tags), ..Default::default() })
    }

    #[test]
    fn the_table() {
        let (here, gone, long_gone) = (device(1, "a", None), device(1, "a", Some(0)), device(1, "a", Some(-2)));
        let decide = |action: &BulkAction, device| decide(action, device, at(5), WITHIN);
        let add = patch(LabelChange::Add(vec!["x".into()]));
        assert_eq!(decide(&add, None), Decision::Refused(Refusal::NotFound));
        assert!(matches!(decide(&add, Some(&here)), Decision::Edit(next) if next.tags == ["till", "x"]));
        assert_eq!(decide(&add, Some(&gone)), Decision::Refused(Refusal::Deleted));
        assert_eq!(decide(&patch(LabelChange::Remove(vec!["x".into()])), Some(&here)), Decision::Unchanged);
        let too_many = patch(LabelChange::Add((0..32).map(|n| n.to_string()).collect()));
        assert!(matches!(decide(&too_many, Some(&here)), Decision::Refused(Refusal::Invalid(_))));
        assert_eq!(decide(&BulkAction::RevokeCredentials, Some(&here)), Decision::RevokeCredentials);
        assert_eq!(decide(&BulkAction::RevokeCredentials, Some(&gone)), Decision::Refused(Refusal::Deleted));
        assert_eq!(decide(&BulkAction::Delete, Some(&here)), Decision::Delete);
        assert_eq!(decide(&BulkAction::Delete, Some(&gone)), Decision::Unchanged);
        assert_eq!(decide(&BulkAction::Restore(None), Some(&here)), Decision::Unchanged);
        assert_eq!(decide(&BulkAction::Restore(None), Some(&gone)), Decision::Restore("a".into()));
        assert_eq!(decide(&BulkAction::Restore(Some("b".into())), Some(&gone)), Decision::Restore("b".into()));
        assert_eq!(decide(&BulkAction::Restore(None), Some(&long_gone)), Decision::Refused(Refusal::TooLate(7)));
    }

    #[test]
    fn aliases_may_be_swapped_but_not_taken() {
        let devices: HashMap<_, _> = [device(1, "a", None), device(2, "b", None), device(3, "c", Some(0)), device(4, "c", Some(1))]
            .into_iter()
            .map(|device| (device.id, device))
            .collect();
        let edit = |n: u128, alias: &str| (device(n, "", None).id, Decision::Edit(device(n, alias, None).editable));
        let restore = |n: u128, alias: &str| (device(n, "", None).id, Decision::Restore(alias.into()));
        let holders: HashMap<CanonicalName, Vec<DeviceId>> =
            [("a", 1), ("b", 2), ("d", 9)].map(|(alias, n)| (CanonicalName::of(alias), vec![device(n, "", None).id])).into();
        let refused = |mut decisions: Vec<(DeviceId, Decision)>| {
            refuse_taken_aliases(&devices, &holders, &mut decisions);
            decisions.iter().map(|(_, decision)| !decision.changes()).collect::<Vec<_>>()
        };
        assert_eq!(refused(vec![edit(1, "b"), edit(2, "a")]), [false, false], "swapped");
        assert_eq!(refused(vec![edit(1, "b")]), [true], "2 keeps it");
        assert_eq!(refused(vec![edit(1, "d")]), [true], "an outsider has it");
        assert_eq!(refused(vec![edit(1, "a")]), [false], "its own");
        assert_eq!(refused(vec![edit(1, "A")]), [false], "its own, written otherwise");
        assert_eq!(refused(vec![edit(1, "\u{ff24}")]), [true], "the same name as d");
        assert_eq!(refused(vec![edit(1, "Café"), edit(2, "cafe\u{301}")]), [false, true]);
        assert_eq!(refused(vec![restore(3, "c"), restore(4, "c")]), [false, true]);
        assert_eq!(refused(vec![restore(3, "a")]), [true], "taken meanwhile");
        assert_eq!(refused(vec![edit(1, "x"), restore(3, "a")]), [false, false], "given away in the same call");
    }

    proptest! {
        /// Whatever is wanted, no two devices end up with one alias, as long as no refusal keeps an
        /// alias that was to be given away: then nothing at all is written.
        #[test]
        fn no_alias_twice(aliases in proptest::collection::vec(0u8..6, 6)) {
            let devices: HashMap<_, _> = (0..6u8).map(|n| device(n.into(), &n.to_string(), None)).map(|d| (d.id, d)).collect();
            let holders = devices.values().map(|device| (CanonicalName::of(&device.editable.alias), vec![device.id])).collect();
            let mut decisions: Vec<_> = (0..6u8).zip(&aliases)
                .map(|(n, alias)| (device(n.into(), "", None).id, Decision::Edit(device(0, &alias.to_string(), None).editable)))
                .collect();
            refuse_taken_aliases(&devices, &holders, &mut decisions);
            let distinct = aliases.iter().collect::<HashSet<_>>().len() == aliases.len();
            prop_assert_eq!(decisions.iter().all(|(_, decision)| decision.changes()), distinct);
        }
    }
}
