//! Target of an act on many devices: those that are named, those that match, or the whole fleet by an explicit word.
//!
//! A filter without a condition matches every device. In a list that is what was asked for; in an act it is far more likely a
//! form that lost its fields, so that every act decides here.

use crate::query::DeviceFilter;
use crate::{DeviceId, Invalid};

/// Target of an act on many devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkTarget {
    /// Every device: deleted ones for a restore, those of the fleet for everything else.
    Fleet,
    /// These devices.
    Ids(Vec<DeviceId>),
    /// All that match: deleted ones for a restore, those of the fleet for everything else.
    Filter(DeviceFilter),
}

/// Parts of a target, as far as the caller gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenTarget {
    /// The explicit word for every device.
    pub fleet: bool,
    /// Named devices.
    pub ids: Option<Vec<DeviceId>>,
    /// Filter.
    pub filter: Option<DeviceFilter>,
}

impl BulkTarget {
    /// The target that was asked for; `path` is that of its parts in the body, with a dot at the end unless it is empty.
    ///
    /// # Errors
    /// None or several parts are given, no device is named, or the filter has no condition or one out of its limits.
    pub fn of(given: GivenTarget, path: &str) -> Result<Self, Invalid> {
        let field = |part: &str| format!("{path}{part}");
        let target = match given {
            GivenTarget { fleet: true, ids: None, filter: None } => Self::Fleet,
            GivenTarget { fleet: false, ids: Some(ids), filter: None } => Self::Ids(ids),
            GivenTarget { fleet: false, ids: None, filter: Some(filter) } => Self::Filter(filter),
            GivenTarget { fleet: false, ids: None, filter: None } => {
                return Err(Invalid::new(field("ids"), "required, unless there is a filter, or fleet is true for every device"));
            }
            GivenTarget { fleet: true, .. } => return Err(Invalid::new(field("fleet"), "give either fleet, ids or a filter")),
            GivenTarget { .. } => return Err(Invalid::new(field("filter"), "give either ids or filter")),
        };
        target.checked(path)
    }

    /// The same, with its parts checked: for whoever takes a target from elsewhere.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn checked(self, path: &str) -> Result<Self, Invalid> {
        match self {
            Self::Ids(ids) if ids.is_empty() => Err(Invalid::new(format!("{path}ids"), "empty")),
            Self::Filter(filter) => Ok(Self::Filter(narrowing(filter, &format!("{path}filter"))?)),
            other => Ok(other),
        }
    }
}

/// The filter, if an act may be done to all that match: it has a condition, and each of them says something.
///
/// # Errors
/// Names `field` of a filter that is empty, and the condition that is blank or out of its limits.
pub fn narrowing(filter: DeviceFilter, field: &str) -> Result<DeviceFilter, Invalid> {
    let filter = without_blanks(filter, &format!("{field}."))?;
    if filter.conditions().next().is_none() {
        return Err(Invalid::new(field, "empty, which would be every device; give a condition, or ask for every device with fleet: true"));
    }
    Ok(filter)
}

/// The filter, if each of its conditions says something: a text of blanks is found in nearly every device, and an empty one in all.
///
/// # Errors
/// Names the condition that is blank or out of its limits, behind `path`.
pub fn without_blanks(filter: DeviceFilter, path: &str) -> Result<DeviceFilter, Invalid> {
    let filter = filter.checked().map_err(|invalid| Invalid::new(format!("{path}{}", invalid.field), invalid.problem))?;
    let blank = filter.values().find(|(_, value)| value.to_string().trim().is_empty());
    match blank {
        Some((key, _)) => Err(Invalid::new(format!("{path}{}", key.spec().name), "blank; leave the condition out, or give it a value")),
        None => Ok(filter),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::{FilterKey, FilterKind, FilterValue};

    fn id(n: u128) -> DeviceId {
        DeviceId(uuid::Uuid::from_u128(n))
    }

    fn tagged(tag: &str) -> DeviceFilter {
        DeviceFilter { tag: Some(tag.into()), ..DeviceFilter::default() }
    }

    #[test]
    fn the_table_of_targets() {
        let of = |fleet, ids: Option<Vec<DeviceId>>, filter| BulkTarget::of(GivenTarget { fleet, ids, filter }, "target.");
        assert_eq!(of(true, None, None), Ok(BulkTarget::Fleet));
        assert_eq!(of(false, Some(vec![id(1)]), None), Ok(BulkTarget::Ids(vec![id(1)])));
        assert_eq!(of(false, None, Some(tagged("till"))), Ok(BulkTarget::Filter(tagged("till"))));
        for (fleet, ids, filter, field) in [
            (false, None, None, "target.ids"),
            (false, Some(vec![]), None, "target.ids"),
            (false, None, Some(DeviceFilter::default()), "target.filter"),
            (false, None, Some(tagged(" ")), "target.filter.tag"),
            (false, None, Some(tagged("")), "target.filter.tag"),
            (false, None, Some(tagged("a\0")), "target.filter.tag"),
            (false, Some(vec![id(1)]), Some(DeviceFilter::default()), "target.filter"),
            (true, Some(vec![id(1)]), None, "target.fleet"),
            (true, None, Some(DeviceFilter::default()), "target.fleet"),
        ] {
            let refused = of(fleet, ids.clone(), filter.clone()).map_err(|invalid| invalid.field);
            assert_eq!(refused, Err(field.to_owned()), "{fleet} {ids:?} {filter:?}");
        }
        assert_eq!(BulkTarget::of(GivenTarget::default(), "").unwrap_err().field, "ids");
    }

    #[test]
    fn a_blank_text_narrows_nothing_whatever_stands_beside_it() {
        for blank in ["", " ", "\u{a0}", "\u{3000}"] {
            let filter = DeviceFilter { text: Some(blank.into()), ..tagged("till") };
            assert_eq!(narrowing(filter, "filter").unwrap_err().field, "filter.text", "{blank:?}");
        }
    }

    proptest! {
        /// Whichever conditions are given, an act is for all devices only by the explicit word.
        #[test]
        fn only_a_word_means_the_fleet(given in proptest::collection::vec(any::<bool>(), FilterKey::ALL.len())) {
            let keys = FilterKey::ALL.iter().zip(&given).filter(|(_, given)| **given).map(|(key, _)| *key);
            let value = |key: FilterKey| match &key.spec().kind {
                FilterKind::Below { min, .. } => FilterValue::Number(*min),
                FilterKind::Choice { choices } => FilterValue::Text(choices().remove(0).0.to_owned()),
                FilterKind::Search | FilterKind::Exact { .. } => FilterValue::Text("x".into()),
            };
            let filter = DeviceFilter::of(keys.map(|key| (key, value(key)))).unwrap();
            let taken = BulkTarget::of(GivenTarget { filter: Some(filter), ..GivenTarget::default() }, "");
            prop_assert_eq!(taken.is_ok(), given.contains(&true));
        }
    }
}
