//! Filters and order of lists of devices.

mod filter;

use std::cmp::Ordering;

use chrono::Datelike;

use crate::device::DeviceView;
use crate::telemetry::{FIELDS, Field};
use crate::text::opaque;
use crate::{DeviceId, Invalid, Timestamp};

pub use filter::{
    DeviceFilter, FILTER_TEXT_MAX_CHARS, FilterCondition, FilterKey, FilterKind, FilterSpec, FilterValue, OpenAlerts, SearchedTexts,
};

/// Largest page of a list.
pub const PAGE_MAX: i64 = 500;
/// Page size when none is asked for.
pub const PAGE_DEFAULT: i64 = 100;

/// Sort key of a list; ties are broken by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SortKey {
    /// Alias, in byte order.
    #[default]
    Alias,
    /// Last seen; never comes first.
    LastSeen,
    /// A reading of the telemetry table; unknown comes first.
    Reading(&'static Field),
    /// Time of enrollment.
    Enrolled,
}

impl SortKey {
    /// Battery level.
    pub const BATTERY: Self = Self::Reading(Field::numbered(1));

    /// Every sort key.
    pub fn all() -> impl Iterator<Item = Self> {
        let readings = FIELDS.iter().filter(|field| field.sortable).map(Self::Reading);
        [Self::Alias, Self::LastSeen].into_iter().chain(readings).chain([Self::Enrolled])
    }

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alias => "alias",
            Self::LastSeen => "last_seen_at",
            Self::Reading(field) => field.name,
            Self::Enrolled => "enrolled_at",
        }
    }
}

/// Sort order: key and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sort {
    /// Sort key.
    pub key: SortKey,
    /// Largest first.
    pub descending: bool,
}

impl Sort {
    /// Reads `alias` or `-alias`.
    ///
    /// # Errors
    /// The key is unknown.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        SortKey::all().find(|key| key.as_str() == name).map(|key| Self { key, descending }).ok_or_else(|| {
            let known = SortKey::all().map(SortKey::as_str).collect::<Vec<_>>().join(", ");
            Invalid::new("sort", format!("not one of {known} (a leading - reverses)"))
        })
    }

    /// Compares two devices in this order.
    pub fn compare(&self, a: &DeviceView, b: &DeviceView) -> Ordering {
        let by_key = match self.key {
            SortKey::Alias => a.identity.alias.as_bytes().cmp(b.identity.alias.as_bytes()),
            SortKey::LastSeen => a.last_seen_at.cmp(&b.last_seen_at),
            SortKey::Reading(field) => rank(field, a).cmp(&rank(field, b)),
            SortKey::Enrolled => a.identity.enrolled_at.cmp(&b.identity.enrolled_at),
        };
        let ascending = by_key.then_with(|| a.identity.id.cmp(&b.identity.id));
        if self.descending { ascending.reverse() } else { ascending }
    }
}

/// Place of a device in the order of a reading.
pub fn rank(field: &Field, view: &DeviceView) -> i64 {
    let telemetry = view.last.as_deref().map(|last| &last.telemetry);
    field.rank(telemetry)
}

/// Cursor of a page of devices: the last one of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Value of the sort key of the last device of the page before, as text.
    pub key: String,
    /// Last device of the page before.
    pub id: DeviceId,
}

/// Sort key of a device without a heartbeat.
pub const NEVER: &str = "-infinity";

/// Whether a key is a time exactly as a list writes it: other notations, and years
/// that a database does not know, did not come from a list.
fn is_time(key: &str) -> bool {
    key.parse::<Timestamp>().is_ok_and(|at| (1970..10_000).contains(&at.year()) && Cursor::time_key(at) == key)
}

impl Cursor {
    /// Checks that the key reads as a value of the sort key.
    ///
    /// # Errors
    /// The cursor is not one of this list.
    pub fn checked(self, sort: Sort) -> Result<Self, Invalid> {
        let reads = match sort.key {
            SortKey::Alias => opaque("cursor", &self.key, 200).is_ok(),
            SortKey::LastSeen => self.key == NEVER || is_time(&self.key),
            SortKey::Reading(field) => field.is_rank(&self.key),
            SortKey::Enrolled => is_time(&self.key),
        };
        if reads { Ok(self) } else { Err(Invalid::new("cursor", "not a cursor of this list and order")) }
    }

    /// Key of a time.
    pub fn time_key(at: Timestamp) -> String {
        at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{AppStatus, Connectivity, DeviceIdentity, LastStatus};
    use crate::heartbeat::Telemetry;
    use crate::rule::RuleSet;
    use std::sync::Arc;

    fn view(n: u128, alias: &str, battery_pct: Option<i16>) -> DeviceView {
        let at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        DeviceView {
            identity: Arc::new(DeviceIdentity {
                id: DeviceId(uuid::Uuid::from_u128(n)),
                alias: alias.into(),
                tags: vec!["till".into()],
                groups: vec!["berlin".into()],
                hardware_id: Some("HW-1".into()),
                model: Some("Joy 2".into()),
                manufacturer: None,
                enrolled_at: at,
            }),
            last: Some(Arc::new(LastStatus {
                bucket_at: at,
                received_at: at,
                device_time: None,
                clock_rejected: false,
                telemetry: Telemetry { battery_pct, app_version: Some("1.4.0".into()), storage_free_mb: Some(5000), ..Default::default() },
            })),
            last_seen_at: Some(at),
            connectivity: Connectivity::Online,
            app_status: AppStatus::Unknown,
            channels: Default::default(),
            conflict_at: None,
            ghost: false,
            open_alerts: RuleSet::named(["app_down"]),
        }
    }

    #[test]
    fn every_filter_takes_and_leaves() {
        let device = view(1, "Kiosk-17", Some(15));
        let matches = |key: FilterKey, value: &str| {
            let value = key.spec().parse(value).unwrap();
            DeviceFilter::of([(key, value)]).unwrap().matches(&device)
        };
        let cases = [
            (FilterKey::Text, "kIOSK-1", "kiosk-2"),
            (FilterKey::Text, "hw-1", "hw-2"),
            (FilterKey::Text, "joy", "joy 3"),
            (FilterKey::Connectivity, "online", "offline"),
            (FilterKey::BatteryBelow, "16", "15"),
            (FilterKey::StorageBelow, "5001", "5000"),
            (FilterKey::AppStatus, "unknown", "up"),
            (FilterKey::Text, "JOY\u{a0}2", "joy2"),
            (FilterKey::Tag, "till", "til"),
            (FilterKey::Tag, "TILL", "tilll"),
            (FilterKey::Group, "berlin", "x"),
            (FilterKey::AppVersion, "1.4.0", "1.4"),
            (FilterKey::Identity, "single", "conflict"),
            (FilterKey::Alert, "any", "none"),
            (FilterKey::Alert, "app_down", "low_battery"),
            (FilterKey::Model, "Joy 2", "Joy"),
        ];
        for (key, takes, leaves) in cases {
            assert!(matches(key, takes) && !matches(key, leaves), "{key:?}");
        }
        assert!(FilterKey::ALL.iter().all(|key| cases.iter().any(|(tried, ..)| tried == key)), "a filter has no case here");
        assert!(DeviceFilter::default().matches(&device));
    }

    #[test]
    fn a_cursor_fits_its_order() {
        let cursor =
            |key: &str, sort: &str| Cursor { key: key.into(), id: DeviceId(uuid::Uuid::nil()) }.checked(Sort::parse(sort).unwrap());
        assert!(cursor("kiosk", "alias").is_ok() && cursor("a\0", "alias").is_err());
        assert!(cursor("-1", "battery_pct").is_ok() && cursor("full", "-battery_pct").is_err());
        assert!(cursor("-infinity", "last_seen_at").is_ok() && cursor("never", "last_seen_at").is_err());
        assert!(cursor("2026-11-21T15:36:17.123456Z", "enrolled_at").is_ok() && cursor("-infinity", "enrolled_at").is_err());
        for foreign in ["0000-01-01T00:00:00.000000Z", "+262142-01-01T00:00:00.000000Z", "2026-11-21 15:36:10.1234567 +23:59"] {
            assert!(cursor(foreign, "enrolled_at").is_err() && cursor(foreign, "last_seen_at").is_err(), "{foreign}");
        }
    }

    #[test]
    fn every_sort_key_reads_by_its_name() {
        assert_eq!(SortKey::BATTERY.as_str(), "battery_pct");
        for key in SortKey::all() {
            assert_eq!(Sort::parse(&format!("-{}", key.as_str())), Ok(Sort { key, descending: true }));
        }
        let refused = Sort::parse("mood").unwrap_err();
        assert_eq!(refused.problem, "not one of alias, last_seen_at, battery_pct, enrolled_at (a leading - reverses)");
    }

    #[test]
    fn orders_by_key_then_id_and_reverses_both() {
        let devices = [view(2, "b", Some(1)), view(1, "b", None), view(3, "B", Some(90))];
        let order = |text: &str| {
            let sort = Sort::parse(text).unwrap();
            let mut sorted: Vec<_> = devices.iter().collect();
            sorted.sort_by(|a, b| sort.compare(a, b));
            sorted.iter().map(|view| view.identity.id.0.as_u128()).collect::<Vec<_>>()
        };
        assert_eq!(order("alias"), [3, 1, 2]);
        assert_eq!(order("-alias"), [2, 1, 3]);
        assert_eq!(order("battery_pct"), [1, 2, 3]);
        assert!(Sort::parse("colour").is_err());
        assert_eq!(Sort::parse("-last_seen_at").unwrap().key.as_str(), "last_seen_at");
    }
}
