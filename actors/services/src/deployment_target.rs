//! Target of a deployment, and the devices that it comes to.

use std::collections::{HashMap, HashSet};

use domain::bulk::DeviceRecord;
use domain::bulk_target::narrowing;
use domain::device::DeviceListScope;
use domain::query::DeviceFilter;
use domain::{DeviceId, Invalid, ServiceError};
use serde_json::{Value, json};
use store::{StatusThresholds, Store};

/// Most tags or groups of one deployment.
const NAMES_MAX: usize = 100;

/// Target of a deployment; resolved to devices when the deployment is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentScope {
    /// Every device.
    Fleet,
    /// These devices.
    Ids(Vec<DeviceId>),
    /// Devices with any of these tags.
    Tags(Vec<String>),
    /// Devices in any of these groups.
    Groups(Vec<String>),
    /// Devices that match a filter.
    Filter(DeviceFilter),
    /// Devices that are named, or match, or both.
    Selection(Selection),
}

/// Selected devices: those that are named and that match, as far as each is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Named devices; `None`: any.
    pub ids: Option<Vec<DeviceId>>,
    /// Tags of which a device has one; empty: any.
    pub tags: Vec<String>,
    /// Groups of which a device is in one; empty: any.
    pub groups: Vec<String>,
    /// Text that is searched as in lists of devices.
    pub text: Option<String>,
}

/// Resolver of targets to devices.
pub(super) struct TargetResolver<'a> {
    pub(super) store: &'a Store,
    pub(super) thresholds: StatusThresholds,
    /// Most devices of one deployment.
    pub(super) devices_max: usize,
}

impl TargetResolver<'_> {
    /// Ids of the devices, sorted.
    ///
    /// # Errors
    /// A filter or a name is out of its limits; no device at all, or too many.
    pub(super) async fn ids(&self, scope: &DeploymentScope) -> Result<Vec<DeviceId>, ServiceError> {
        let max = self.devices_max;
        let of = |filter: DeviceFilter| async move {
            Ok::<_, ServiceError>(
                self.store.device_ids(&filter.checked()?, DeviceListScope::Active, self.thresholds, max as i64 + 1).await?,
            )
        };
        let names = |field: &str, names: &[String]| match names.len() {
            0 => Err(Invalid::new(field, "empty")),
            _ if names.iter().any(|name| name.trim().is_empty()) => Err(Invalid::new(field, "contains an empty name")),
            1..=NAMES_MAX => Ok(()),
            _ => Err(Invalid::new(field, format!("more than {NAMES_MAX}"))),
        };
        let mut ids = match scope {
            DeploymentScope::Fleet => of(DeviceFilter::default()).await?,
            DeploymentScope::Ids(ids) if ids.is_empty() => return Err(Invalid::new("target.ids", "empty").into()),
            DeploymentScope::Ids(ids) => ids.clone(),
            DeploymentScope::Filter(filter) => of(narrowing(filter.clone(), "target.filter")?).await?,
            DeploymentScope::Tags(tags) => {
                names("target.tags", tags)?;
                let mut ids = Vec::new();
                for tag in tags {
                    ids.extend(of(DeviceFilter { tag: Some(tag.clone()), ..DeviceFilter::default() }).await?);
                }
                ids
            }
            DeploymentScope::Groups(groups) => {
                names("target.groups", groups)?;
                let mut ids = Vec::new();
                for group in groups {
                    ids.extend(of(DeviceFilter { group: Some(group.clone()), ..DeviceFilter::default() }).await?);
                }
                ids
            }
            DeploymentScope::Selection(selection) => {
                let named_max = |field: &str, given: &[String]| if given.is_empty() { Ok(()) } else { names(field, given) };
                named_max("target.filters.tags", &selection.tags)?;
                named_max("target.filters.groups", &selection.groups)?;
                let filter = |field, tag, group| {
                    let filter = DeviceFilter { tag, group, text: selection.text.clone(), ..DeviceFilter::default() };
                    filter.checked().map_err(|invalid| Invalid::new(field, invalid.problem))
                };
                let mut found: Option<HashSet<DeviceId>> = selection.ids.as_ref().map(|ids| ids.iter().copied().collect());
                let mut filters: Vec<Vec<DeviceFilter>> = Vec::new();
                let tags = selection.tags.iter().map(|tag| filter("target.filters.tags", Some(tag.clone()), None));
                filters.push(tags.collect::<Result<_, _>>()?);
                let groups = selection.groups.iter().map(|group| filter("target.filters.groups", None, Some(group.clone())));
                filters.push(groups.collect::<Result<_, _>>()?);
                if selection.text.is_some() && filters.iter().all(Vec::is_empty) {
                    filters.push(vec![filter("target.filters.query", None, None)?]);
                }
                for any in filters.into_iter().filter(|any| !any.is_empty()) {
                    let mut matching = HashSet::new();
                    for filter in any {
                        matching.extend(of(filter).await?);
                    }
                    found = Some(match found {
                        Some(found) => &found & &matching,
                        None => matching,
                    });
                }
                found.unwrap_or_default().into_iter().collect()
            }
        };
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > max {
            return Err(Invalid::new("target", format!("more than {max} devices")).into());
        }
        if ids.is_empty() {
            return Err(Invalid::new("target", "no device matches").into());
        }
        Ok(ids)
    }
}

/// Devices with their aliases.
///
/// # Errors
/// A requested id is not a device, or the device is deleted.
pub(super) fn aliases(
    scope: &DeploymentScope,
    ids: Vec<DeviceId>,
    known: HashMap<DeviceId, DeviceRecord>,
) -> Result<Vec<(DeviceId, String)>, Invalid> {
    let mut devices = Vec::with_capacity(ids.len());
    for id in ids {
        match known.get(&id).filter(|known| known.deleted_at.is_none()) {
            Some(known) => devices.push((id, known.editable.alias.clone())),
            None => {
                // An id in the request is an error of the caller; one from a filter was deleted this moment.
                let asked = match scope {
                    DeploymentScope::Ids(asked) => Some(("target.ids", asked)),
                    DeploymentScope::Selection(Selection { ids: Some(asked), .. }) => Some(("target.device_ids", asked)),
                    _ => None,
                };
                if let Some((field, asked)) = asked {
                    let index = asked.iter().position(|other| *other == id).unwrap_or_default();
                    return Err(Invalid::new(format!("{field}[{index}]"), "there is no such device"));
                }
            }
        }
    }
    if devices.is_empty() { Err(Invalid::new("target", "no device matches")) } else { Ok(devices) }
}

/// Target of a request, for display and the audit trail.
pub(super) fn shown(scope: &DeploymentScope) -> Value {
    match scope {
        DeploymentScope::Fleet => json!({"fleet": true}),
        DeploymentScope::Ids(ids) => json!({"ids": ids.len()}),
        DeploymentScope::Tags(tags) => json!({"tags": tags}),
        DeploymentScope::Groups(groups) => json!({"groups": groups}),
        DeploymentScope::Filter(filter) => json!({"filter": super::device_audit::filter_shown(filter)}),
        DeploymentScope::Selection(Selection { ids, tags, groups, text }) => {
            let mut shown = serde_json::Map::new();
            shown.extend(ids.as_ref().map(|ids| ("ids".to_owned(), json!(ids.len()))));
            let named = [("tags", tags), ("groups", groups)].into_iter().filter(|(_, names)| !names.is_empty());
            shown.extend(named.map(|(kind, names)| (kind.to_owned(), json!(names))));
            shown.extend(text.as_ref().map(|text| ("filter".to_owned(), json!({ "text": text }))));
            shown.into()
        }
    }
}
