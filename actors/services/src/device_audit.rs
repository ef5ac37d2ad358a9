//! Audit entries about devices: one entry per call, however many devices.

use std::collections::HashMap;

use domain::DeviceId;
use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::bulk::{Decision, DeviceRecord};
use domain::edit::Editable;
use domain::query::DeviceFilter;
use serde_json::{Map, Value, json};
use store::AuditEntry;

/// Most ids that an entry names; it counts them all.
const IDS_MAX: usize = 1000;
/// Most devices that an entry tells the changes of.
const DETAILS_MAX: usize = 100;
/// Most bytes of such changes, before and after each.
const DETAILS_MAX_BYTES: usize = 64 << 10;

/// With what kind of call devices were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuditContext {
    /// A call about one device.
    One,
    /// A call about many.
    Bulk,
    /// A table.
    Import,
}

/// Outcome of a set of actions.
pub(super) struct ActionsOutcome {
    pub(super) before: HashMap<DeviceId, DeviceRecord>,
    pub(super) decisions: Vec<(DeviceId, Decision)>,
    /// Generations that are valid from now on, of those whose credentials were revoked.
    pub(super) generations: HashMap<DeviceId, i32>,
    /// Whether anything was written.
    pub(super) written: bool,
}

/// The entry of a set of actions; `None` when nothing was changed.
pub(super) fn entry(by: &Principal, context: AuditContext, acted: &ActionsOutcome) -> Option<AuditEntry> {
    let changed = acted.decisions.iter().filter(|(_, decision)| decision.changes());
    let changed: Vec<_> = changed.filter_map(|(id, decision)| Some((acted.before.get(id)?, decision))).collect();
    let (first, decision) = *changed.first()?;
    let generation = |id: &DeviceId| acted.generations.get(id).copied();
    if context == AuditContext::One {
        let (before, after) = states(first, decision, generation(&first.id));
        let target = Target::Device(first.id, first.editable.alias.clone());
        return Some(AuditEntry::new(by, action(decision), target).before(before.into()).after(after.into()));
    }
    let (mut before, mut after, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (device, decision) in changed.iter().take(DETAILS_MAX) {
        let (was, is) = states(device, decision, generation(&device.id));
        let named = |state: Map<String, Value>| {
            let name = [("id".to_owned(), json!(device.id.to_string())), ("device".to_owned(), json!(device.editable.alias))];
            Value::Object(name.into_iter().chain(state).collect())
        };
        let (was, is) = (named(was), named(is));
        bytes += was.to_string().len().max(is.to_string().len());
        if bytes > DETAILS_MAX_BYTES {
            break;
        }
        before.push(was);
        after.push(is);
    }
    let listed = before.len();
    let ids: Vec<String> = changed.iter().take(IDS_MAX).map(|(device, _)| device.id.to_string()).collect();
    let summary = json!({
        "count": changed.len(),
        "ids": ids,
        "ids_left_out": changed.len() - ids.len(),
        "devices": after,
        "devices_left_out": changed.len() - listed,
    });
    let action = match context {
        AuditContext::Import => AuditAction::DevicesImported,
        _ => match decision {
            Decision::RevokeCredentials => AuditAction::DevicesRevoked,
            Decision::Delete => AuditAction::DevicesDeleted,
            Decision::Restore(_) => AuditAction::DevicesRestored,
            Decision::Edit(_) | Decision::Unchanged | Decision::Refused(_) => AuditAction::DevicesEdited,
        },
    };
    Some(AuditEntry::new(by, action, Target::Devices(changed.len())).before(json!({ "devices": before })).after(summary))
}

fn action(decision: &Decision) -> AuditAction {
    match decision {
        Decision::RevokeCredentials => AuditAction::DeviceRevoked,
        Decision::Delete => AuditAction::DeviceDeleted,
        Decision::Restore(_) => AuditAction::DeviceRestored,
        Decision::Edit(_) | Decision::Unchanged | Decision::Refused(_) => AuditAction::DeviceEdited,
    }
}

/// Changed values of a device by a decision: before and after.
fn states(device: &DeviceRecord, decision: &Decision, generation: Option<i32>) -> (Map<String, Value>, Map<String, Value>) {
    let pairs: Vec<(&str, Value, Value)> = match decision {
        Decision::Edit(next) => fields(&device.editable)
            .into_iter()
            .zip(fields(next))
            .filter(|((_, was), (_, is))| was != is)
            .map(|((field, was), (_, is))| (field, was, is))
            .collect(),
        Decision::RevokeCredentials => {
            vec![("credential_generation", json!(generation.map(|generation| generation - 1)), json!(generation))]
        }
        Decision::Delete => vec![("deleted", json!(false), json!(true))],
        Decision::Restore(alias) => {
            vec![("deleted", json!(true), json!(false)), ("alias", json!(device.editable.alias), json!(alias))]
        }
        Decision::Unchanged | Decision::Refused(_) => vec![],
    };
    let (mut before, mut after) = (Map::new(), Map::new());
    for (field, was, is) in pairs {
        before.insert(field.to_owned(), was);
        after.insert(field.to_owned(), is);
    }
    (before, after)
}

fn fields(device: &Editable) -> [(&'static str, Value); 4] {
    let app = device.monitored.as_ref().map(|app| json!({"package": app.package, "stale_after_s": app.stale_after_s}));
    [("alias", json!(device.alias)), ("tags", json!(device.tags)), ("groups", json!(device.groups)), ("monitored_app", json!(app))]
}

/// A filter, for people and the record. Every value is text, as builds before have written them.
pub(super) fn filter_shown(filter: &DeviceFilter) -> serde_json::Value {
    let shown: serde_json::Map<_, _> = filter.values().map(|(key, value)| (key.spec().name.to_owned(), json!(value.to_string()))).collect();
    json!(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acted(devices: usize, decision: impl Fn(usize) -> Decision) -> ActionsOutcome {
        let record = |n: usize| DeviceRecord {
            id: DeviceId(uuid::Uuid::from_u128(n as u128)),
            editable: Editable { alias: format!("d{n}"), tags: vec!["old".into()], groups: vec![], monitored: None },
            deleted_at: None,
        };
        let before: Vec<_> = (0..devices).map(record).collect();
        let decisions = before.iter().enumerate().map(|(n, device)| (device.id, decision(n))).collect();
        ActionsOutcome {
            before: before.into_iter().map(|device| (device.id, device)).collect(),
            decisions,
            generations: Default::default(),
            written: true,
        }
    }

    fn tagged(n: usize) -> Decision {
        Decision::Edit(Editable { alias: format!("d{n}"), tags: vec!["new".into()], groups: vec![], monitored: None })
    }

    #[test]
    fn one_device_tells_what_changed_and_nothing_else() {
        let reported = entry(&Principal::system(), AuditContext::One, &acted(1, tagged)).unwrap();
        let target = Target::Device(DeviceId(uuid::Uuid::nil()), "d0".into());
        let wanted = AuditEntry::new(&Principal::system(), AuditAction::DeviceEdited, target);
        assert_eq!(reported, wanted.before(json!({"tags": ["old"]})).after(json!({"tags": ["new"]})));
        assert_eq!(entry(&Principal::system(), AuditContext::One, &acted(1, |_| Decision::Unchanged)), None);
    }

    #[test]
    fn many_devices_are_one_entry_of_bounded_size() {
        let reported = entry(&Principal::system(), AuditContext::Bulk, &acted(10_000, tagged)).unwrap();
        let text = format!("{reported:?}");
        assert!(text.contains("DevicesEdited") && text.contains("Devices(10000)"), "{}", &text[..300]);
        assert!(text.contains("\"ids_left_out\": Number(9000)") && text.contains("\"devices_left_out\": Number(9900)"));
        assert!(text.len() < 400_000, "{}", text.len());
    }
}
