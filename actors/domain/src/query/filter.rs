//! The table of device filters. A row is a filter of the API, `nexmdm ctl`, saved filters, the audit trail, and of the address
//! and the form of the devices page; all of them read it here. Beside its row a filter has one arm in [`FilterCondition::matches`]
//! and one in the statement of the store, both of which the compiler asks for.

use std::fmt;

use crate::DeviceId;
use crate::Invalid;
use crate::device::{AppStatus, Connectivity, DeviceView, IdentityStatus};
use crate::invalid::in_range;
use crate::name::{contains, same};
use crate::rule::{Rule, RuleSet, SubjectKind};
use crate::text::opaque;

/// Longest text of a filter.
pub const FILTER_TEXT_MAX_CHARS: usize = 200;

/// Declaration of a filter.
#[derive(Debug)]
pub struct FilterSpec {
    /// Name of the API's query parameter and JSON field, of saved filters and the audit trail; with `-` for `_` the flag of
    /// `nexmdm ctl`.
    pub name: &'static str,
    /// Letter that is accepted for the name in the API's query and as a short flag.
    pub letter: Option<char>,
    /// Name in the address of the devices page.
    pub url_name: &'static str,
    /// Label on pages.
    pub label: &'static str,
    /// Description in the API's document and in `nexmdm ctl --help`.
    pub help: &'static str,
    /// Kind of its values.
    pub kind: FilterKind,
}

/// Kind of the values of a filter.
#[derive(Debug)]
pub enum FilterKind {
    /// Text that occurs in a field of the device.
    Search,
    /// Text that is a value of the device. Pages offer the values of the fleet.
    Exact {
        /// Values of a device.
        values: for<'a> fn(&'a DeviceView) -> Vec<&'a str>,
    },
    /// One of a few states.
    Choice {
        /// Every state: its name, and its title on pages.
        choices: fn() -> Vec<(&'static str, &'static str)>,
    },
    /// Number that a reading of the device is below; a device without the reading does not match.
    Below {
        /// Smallest number.
        min: i64,
        /// Largest number.
        max: i64,
        /// Unit, as pages show it.
        unit: &'static str,
        /// Numbers that pages offer.
        offered: &'static [i64],
    },
}

/// Value of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterValue {
    /// Text, or the name of a state.
    Text(String),
    /// Number.
    Number(i64),
}

impl fmt::Display for FilterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl FilterSpec {
    /// Parses a value that comes as text: of a query, an address, a form.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn parse(&self, text: &str) -> Result<FilterValue, Invalid> {
        let value = match self.kind {
            FilterKind::Below { .. } => FilterValue::Number(text.parse().map_err(|_| Invalid::new(self.name, "not a whole number"))?),
            _ => FilterValue::Text(text.to_owned()),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value against kind and limits of the filter.
    ///
    /// # Errors
    /// Names the filter and the problem: another kind, out of range, too long, control characters, not one of the states.
    pub fn check(&self, value: &FilterValue) -> Result<(), Invalid> {
        match (&self.kind, value) {
            (FilterKind::Below { min, max, .. }, FilterValue::Number(number)) => in_range(self.name, *number, *min, *max).map(drop),
            (FilterKind::Below { .. }, FilterValue::Text(_)) => Err(Invalid::new(self.name, "not a number")),
            (_, FilterValue::Number(_)) => Err(Invalid::new(self.name, "not a text")),
            (FilterKind::Choice { choices }, FilterValue::Text(name)) => {
                let names: Vec<_> = choices().into_iter().map(|(name, _)| name).collect();
                if names.contains(&name.as_str()) {
                    return Ok(());
                }
                Err(Invalid::new(self.name, format!("not one of {}", names.join(", "))))
            }
            (FilterKind::Search | FilterKind::Exact { .. }, FilterValue::Text(text)) => opaque(self.name, text, FILTER_TEXT_MAX_CHARS),
        }
    }
}

/// Type of a filter's field in [`DeviceFilter`].
trait Operand: Sized {
    fn of(value: FilterValue, spec: &FilterSpec) -> Result<Self, Invalid>;
    fn value(&self) -> FilterValue;
}

impl Operand for String {
    fn of(value: FilterValue, _: &FilterSpec) -> Result<Self, Invalid> {
        Ok(value.to_string())
    }
    fn value(&self) -> FilterValue {
        FilterValue::Text(self.clone())
    }
}

impl Operand for Connectivity {
    fn of(value: FilterValue, spec: &FilterSpec) -> Result<Self, Invalid> {
        Self::parse(spec.name, &value.to_string())
    }
    fn value(&self) -> FilterValue {
        FilterValue::Text(self.as_str().to_owned())
    }
}

impl Operand for AppStatus {
    fn of(value: FilterValue, spec: &FilterSpec) -> Result<Self, Invalid> {
        Self::parse(spec.name, &value.to_string())
    }
    fn value(&self) -> FilterValue {
        FilterValue::Text(self.as_str().to_owned())
    }
}

impl Operand for IdentityStatus {
    fn of(value: FilterValue, spec: &FilterSpec) -> Result<Self, Invalid> {
        Self::parse(spec.name, &value.to_string())
    }
    fn value(&self) -> FilterValue {
        FilterValue::Text(self.as_str().to_owned())
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Operand for $type {
            fn of(value: FilterValue, spec: &FilterSpec) -> Result<Self, Invalid> {
                match value {
                    FilterValue::Number(number) => number.try_into().map_err(|_| Invalid::new(spec.name, format!("{number} is out of range"))),
                    FilterValue::Text(_) => Err(Invalid::new(spec.name, "not a number")),
                }
            }
            fn value(&self) -> FilterValue {
                FilterValue::Number((*self).into())
            }
        }
    )*};
}
whole_number!(i16, i64);

impl Operand for OpenAlerts {
    fn of(value: FilterValue, spec: &FilterSpec) -> Result<Self, Invalid> {
        Self::parse(&value.to_string()).ok_or_else(|| Invalid::new(spec.name, "not any, none or a rule"))
    }
    fn value(&self) -> FilterValue {
        FilterValue::Text(self.as_str().to_owned())
    }
}

/// Open alerts that a device is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenAlerts {
    /// One or more.
    Any,
    /// None.
    None,
    /// One of this rule.
    Of(Rule),
}

impl OpenAlerts {
    /// Name in queries and addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::None => "none",
            Self::Of(rule) => rule.as_str(),
        }
    }

    /// Every choice that a device can meet: its name, and its title on pages.
    pub fn choices() -> Vec<(&'static str, &'static str)> {
        let rules = Rule::ALL.into_iter().filter(|rule| rule.spec().subject == SubjectKind::Device);
        [("any", "Any alert"), ("none", "No alert")].into_iter().chain(rules.map(|rule| (rule.as_str(), rule.spec().label))).collect()
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "any" => Self::Any,
            "none" => Self::None,
            rule => Self::Of(rule.parse().ok()?),
        })
    }

    /// Whether a device with these open alerts is meant.
    fn matches(self, open: RuleSet) -> bool {
        match self {
            Self::Any => !open.is_empty(),
            Self::None => open.is_empty(),
            Self::Of(rule) => open.contains(rule),
        }
    }
}

macro_rules! device_filters {
    ($($(#[$doc:meta])* $field:ident: $type:ty as $key:ident { $($spec:tt)* })*) => {
        /// Filter of devices; an empty one matches all.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
        pub struct DeviceFilter {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        /// Filter of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FilterKey {
            $($(#[$doc])* $key,)*
        }

        /// Condition of a [`DeviceFilter`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FilterCondition<'a> {
            $($(#[$doc])* $key(&'a $type),)*
        }

        impl FilterKey {
            /// Every filter, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$key),*];

            /// Declaration of the filter.
            pub fn spec(self) -> &'static FilterSpec {
                match self {
                    $(Self::$key => {
                        static SPEC: FilterSpec = FilterSpec { $($spec)* };
                        &SPEC
                    })*
                }
            }
        }

        impl DeviceFilter {
            /// Its conditions; all of them hold for a device that matches.
            pub fn conditions(&self) -> impl Iterator<Item = FilterCondition<'_>> {
                [$(self.$field.as_ref().map(FilterCondition::$key)),*].into_iter().flatten()
            }

            /// Value of a filter, if it is given.
            pub fn value(&self, key: FilterKey) -> Option<FilterValue> {
                match key {
                    $(FilterKey::$key => self.$field.as_ref().map(Operand::value),)*
                }
            }

            /// Sets the value of a filter.
            ///
            /// # Errors
            /// As [`FilterSpec::check`].
            pub fn set(&mut self, key: FilterKey, value: FilterValue) -> Result<(), Invalid> {
                let spec = key.spec();
                spec.check(&value)?;
                match key {
                    $(FilterKey::$key => self.$field = Some(Operand::of(value, spec)?),)*
                }
                Ok(())
            }

            /// Removes a filter.
            pub fn clear(&mut self, key: FilterKey) {
                match key {
                    $(FilterKey::$key => self.$field = None,)*
                }
            }
        }
    };
}

// In the order in which the devices page shows them.
device_filters! {
    /// Text in alias, model, hardware id or id, in whichever case and composition.
    text: String as Text {
        name: "text", letter: Some('q'), url_name: "q", label: "Search alias, model or id",
        help: "Text in alias, model, hardware id or id",
        kind: FilterKind::Search,
    }
    /// Connectivity.
    connectivity: Connectivity as Connectivity {
        name: "status", letter: None, url_name: "status", label: "Status",
        help: "Only devices with this connectivity",
        kind: FilterKind::Choice { choices: || Connectivity::ALL.map(|status| (status.as_str(), status.title())).to_vec() },
    }
    /// Battery level below this.
    battery_below: i16 as BatteryBelow {
        name: "battery_below", letter: None, url_name: "battery_below", label: "Battery",
        help: "Only devices whose battery is below this percentage",
        kind: FilterKind::Below { min: 0, max: 101, unit: "%", offered: &[10, 20, 50, 80] },
    }
    /// Free storage below this, MiB.
    storage_below_mb: i64 as StorageBelow {
        name: "storage_below_mb", letter: None, url_name: "storage_below_mb", label: "Storage",
        help: "Only devices with less free storage than this, in MiB",
        kind: FilterKind::Below { min: 0, max: 1_099_511_627_776, unit: "MB", offered: &[500, 1000, 2000, 5000] },
    }
    /// Status of the monitored app.
    app_status: AppStatus as AppStatus {
        name: "app_status", letter: None, url_name: "app", label: "App",
        help: "Only devices whose monitored app has this status",
        kind: FilterKind::Choice { choices: || AppStatus::ALL.map(|status| (status.as_str(), status.title())).to_vec() },
    }
    /// Tag.
    tag: String as Tag {
        name: "tag", letter: None, url_name: "tag", label: "Tag",
        help: "Only devices with this tag",
        kind: FilterKind::Exact { values: |view| view.identity.tags.iter().map(String::as_str).collect() },
    }
    /// Group.
    group: String as Group {
        name: "group", letter: None, url_name: "group", label: "Group",
        help: "Only devices in this group",
        kind: FilterKind::Exact { values: |view| view.identity.groups.iter().map(String::as_str).collect() },
    }
    /// Agent version.
    app_version: String as AppVersion {
        name: "app_version", letter: None, url_name: "version", label: "Version",
        help: "Only devices with this agent version",
        kind: FilterKind::Exact { values: |view| view.app_version().into_iter().collect() },
    }
    /// Identity.
    identity: IdentityStatus as Identity {
        name: "identity", letter: None, url_name: "identity", label: "Identity",
        help: "Only devices whose identity is in conflict, or is not",
        kind: FilterKind::Choice { choices: || IdentityStatus::ALL.map(|status| (status.as_str(), status.title())).to_vec() },
    }
    /// Open alerts.
    alert: OpenAlerts as Alert {
        name: "alert", letter: None, url_name: "alert", label: "Alert",
        help: "Only devices with an open alert: any, none, or the name of a rule",
        kind: FilterKind::Choice { choices: OpenAlerts::choices },
    }
    /// Model.
    model: String as Model {
        name: "model", letter: None, url_name: "model", label: "Model",
        help: "Only devices of this model",
        kind: FilterKind::Exact { values: |view| view.model().into_iter().collect() },
    }
}

impl FilterKey {
    /// Finds a filter by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.spec().name == name)
    }
}

/// Texts of a device that [`FilterKey::Text`] searches; the store reads them of its rows, as SQL folds case its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchedTexts<'a> {
    /// Id.
    pub id: DeviceId,
    /// Alias.
    pub alias: &'a str,
    /// Model: as last reported, else as enrolled.
    pub model: Option<&'a str>,
    /// Hardware identity.
    pub hardware_id: Option<&'a str>,
}

impl SearchedTexts<'_> {
    /// Whether `text` occurs in one of them.
    pub fn contain(&self, text: &str) -> bool {
        contains(self.alias, text)
            || self.model.is_some_and(|model| contains(model, text))
            || self.hardware_id.is_some_and(|id| contains(id, text))
            || contains(self.id.0.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()), text)
    }
}

impl FilterCondition<'_> {
    /// Whether a device matches. The store has the same in SQL; a test compares the two.
    fn matches(self, view: &DeviceView) -> bool {
        let identity = &view.identity;
        match self {
            Self::Connectivity(wanted) => view.connectivity == *wanted,
            Self::Tag(tag) => identity.tags.iter().any(|known| same(known, tag)),
            Self::Group(group) => identity.groups.iter().any(|known| same(known, group)),
            Self::BatteryBelow(limit) => view.battery_pct().is_some_and(|pct| pct < *limit),
            Self::StorageBelow(limit) => {
                view.last.as_ref().and_then(|last| last.telemetry.storage_free_mb).is_some_and(|free| free < *limit)
            }
            Self::AppVersion(version) => view.app_version() == Some(version),
            Self::Model(model) => view.model() == Some(model),
            Self::AppStatus(wanted) => view.app_status == *wanted,
            Self::Alert(wanted) => wanted.matches(view.open_alerts),
            Self::Identity(wanted) => view.identity_status() == *wanted,
            Self::Text(text) => {
                let hardware_id = identity.hardware_id.as_deref();
                SearchedTexts { id: identity.id, alias: &identity.alias, model: view.model(), hardware_id }.contain(text)
            }
        }
    }
}

impl DeviceFilter {
    /// A filter of these values.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn of(values: impl IntoIterator<Item = (FilterKey, FilterValue)>) -> Result<Self, Invalid> {
        let mut filter = Self::default();
        for (key, value) in values {
            filter.set(key, value)?;
        }
        Ok(filter)
    }

    /// The values that are given, in the order of the table.
    pub fn values(&self) -> impl Iterator<Item = (FilterKey, FilterValue)> + '_ {
        FilterKey::ALL.iter().filter_map(|key| Some((*key, self.value(*key)?)))
    }

    /// Checks every value against its limits.
    ///
    /// # Errors
    /// As [`FilterSpec::check`].
    pub fn checked(self) -> Result<Self, Invalid> {
        self.values().try_for_each(|(key, value)| key.spec().check(&value))?;
        Ok(self)
    }

    /// Whether a device matches.
    pub fn matches(&self, view: &DeviceView) -> bool {
        self.conditions().all(|condition| condition.matches(view))
    }
}

#[cfg(test)]
mod tests;
