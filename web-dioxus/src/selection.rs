//! Which devices are selected: some, one by one, or all that match a filter. It stands in the
//! address, so it survives filtering, sorting, a reload and a lost connection.

use domain::DeviceId;
use domain::device::DeviceView;
use domain::query::DeviceFilter;

/// Most devices that are named in an address, selected or left out.
pub(crate) const SELECTED_MAX: usize = 100;

/// Selected devices.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Selection {
    /// Explicit devices.
    Devices(Vec<DeviceId>),
    /// All devices that match at the time of the action.
    Matching {
        /// Filter.
        filter: Box<DeviceFilter>,
        /// Excluded devices.
        except: Vec<DeviceId>,
    },
}

impl Default for Selection {
    fn default() -> Self {
        Self::Devices(Vec::new())
    }
}

impl Selection {
    /// Selection of these devices, up to the limit.
    pub(crate) fn of(ids: impl IntoIterator<Item = DeviceId>) -> Self {
        let mut selection = Self::default();
        for id in ids {
            if !selection.set(id, true) {
                break;
            }
        }
        selection
    }

    /// Selection of all matching devices.
    pub(crate) fn matching(filter: DeviceFilter) -> Self {
        Self::Matching { filter: Box::new(filter), except: Vec::new() }
    }

    /// Whether the selection is empty.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Devices(ids) if ids.is_empty())
    }

    /// Whether a device is selected.
    pub(crate) fn contains(&self, view: &DeviceView) -> bool {
        match self {
            Self::Devices(ids) => ids.contains(&view.identity.id),
            Self::Matching { filter, except } => filter.matches(view) && !except.contains(&view.identity.id),
        }
    }

    /// Selects or deselects a device; `false` when the limit is reached.
    #[must_use]
    pub(crate) fn set(&mut self, id: DeviceId, on: bool) -> bool {
        let (named, add) = match self {
            Self::Devices(ids) => (ids, on),
            Self::Matching { except, .. } => (except, !on),
        };
        named.retain(|known| *known != id);
        if add && named.len() >= SELECTED_MAX {
            return false;
        }
        if add {
            named.push(id);
        }
        true
    }
}

/// Parses the ids in a URL.
pub(crate) fn ids(text: &str) -> impl Iterator<Item = DeviceId> {
    text.split('.').filter_map(|id| id.parse().ok())
}

/// Formats ids for a URL.
pub(crate) fn names(ids: &[DeviceId]) -> String {
    ids.iter().map(|id| id.0.simple().to_string()).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_watch::tests::view;

    fn id(n: u128) -> DeviceId {
        DeviceId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_selection_has_a_limit_and_no_device_twice() {
        let mut selection = Selection::default();
        for n in 0..SELECTED_MAX as u128 {
            assert!(selection.set(id(n), true) && selection.set(id(n), true));
        }
        assert!(!selection.set(id(1000), true));
        assert!(selection.set(id(0), false) && selection.set(id(1000), true));
        let Selection::Devices(selected) = &selection else { panic!("became a filter") };
        assert_eq!(selected.len(), SELECTED_MAX);
        assert_eq!(Selection::of(ids(&names(selected))), selection);
    }

    #[test]
    fn whoever_matches_is_selected_unless_left_out() {
        let mut selection = Selection::matching(DeviceFilter { text: Some("kiosk-1".into()), ..Default::default() });
        assert!(selection.contains(&view(1)) && selection.contains(&view(10)) && !selection.contains(&view(2)));
        assert!(selection.set(view(1).identity.id, false));
        assert!(!selection.contains(&view(1)) && !selection.is_empty());
        assert!(selection.set(view(1).identity.id, true));
        assert!(selection.contains(&view(1)));
    }
}
