//! Filters and order of lists of devices.

use std::cmp::Ordering;

use chrono::Datelike;

use crate::device::{AppStatus, Connectivity, DeviceView};
use crate::invalid::in_range;
use crate::text::bounded;
use crate::{DeviceId, Invalid, Timestamp, names};

/// Largest page of a list.
pub const PAGE_MAX: i64 = 500;
/// Page size when none is asked for.
pub const PAGE_DEFAULT: i64 = 100;

/// Filter of devices; an empty one matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DeviceFilter {
    /// Connectivity.
    pub connectivity: Option<Connectivity>,
    /// Tag.
    pub tag: Option<String>,
    /// Group.
    pub group: Option<String>,
    /// Text in alias, model, hardware id or id, ignoring ASCII case.
    pub text: Option<String>,
    /// Battery level below this.
    pub battery_below: Option<i16>,
    /// Agent version.
    pub app_version: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Status of the monitored app.
    pub app_status: Option<AppStatus>,
}

impl DeviceFilter {
    /// Checks every value against its limits.
    ///
    /// # Errors
    /// Names the value that is too long, out of range or holds control characters.
    pub fn checked(self) -> Result<Self, Invalid> {
        for (field, value) in
            [("tag", &self.tag), ("group", &self.group), ("text", &self.text), ("app_version", &self.app_version), ("model", &self.model)]
        {
            if let Some(value) = value {
                bounded(field, value, 200)?;
            }
        }
        if let Some(limit) = self.battery_below {
            in_range("battery_below", limit, 0, 101)?;
        }
        Ok(self)
    }

    /// Whether a device matches.
    pub fn matches(&self, view: &DeviceView) -> bool {
        let identity = &view.identity;
        self.connectivity.is_none_or(|wanted| view.connectivity == wanted)
            && self.tag.as_ref().is_none_or(|tag| identity.tags.contains(tag))
            && self.group.as_ref().is_none_or(|group| identity.groups.contains(group))
            && self.battery_below.is_none_or(|limit| view.battery_pct().is_some_and(|pct| pct < limit))
            && self.app_version.as_ref().is_none_or(|version| view.app_version() == Some(version))
            && self.model.as_ref().is_none_or(|model| view.model() == Some(model))
            && self.app_status.is_none_or(|wanted| view.app_status == wanted)
            && self.text.as_ref().is_none_or(|text| {
                contains(&identity.alias, text)
                    || view.model().is_some_and(|model| contains(model, text))
                    || identity.hardware_id.as_ref().is_some_and(|id| contains(id, text))
                    || identity.id.to_string().contains(&text.to_ascii_lowercase())
            })
    }
}

fn contains(hay: &str, needle: &str) -> bool {
    let (hay, needle) = (hay.as_bytes(), needle.as_bytes());
    needle.is_empty() || hay.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// Sort key of a list; ties are broken by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SortKey {
    /// Alias, in byte order.
    #[default]
    Alias,
    /// Last seen; never comes first.
    #[strum(serialize = "last_seen_at")]
    LastSeen,
    /// Battery level; unknown comes first.
    #[strum(serialize = "battery_pct")]
    Battery,
    /// Time of enrollment.
    #[strum(serialize = "enrolled_at")]
    Enrolled,
}

named!(pub SortKey, parse -> Option);

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
        let key = SortKey::parse(name);
        key.map(|key| Self { key, descending })
            .ok_or_else(|| Invalid::new("sort", format!("not one of {} (a leading - reverses)", names::list::<SortKey>())))
    }

    /// Compares two devices in this order.
    pub fn compare(&self, a: &DeviceView, b: &DeviceView) -> Ordering {
        let by_key = match self.key {
            SortKey::Alias => a.identity.alias.as_bytes().cmp(b.identity.alias.as_bytes()),
            SortKey::LastSeen => a.last_seen_at.cmp(&b.last_seen_at),
            SortKey::Battery => a.battery_pct().cmp(&b.battery_pct()),
            SortKey::Enrolled => a.identity.enrolled_at.cmp(&b.identity.enrolled_at),
        };
        let ascending = by_key.then_with(|| a.identity.id.cmp(&b.identity.id));
        if self.descending { ascending.reverse() } else { ascending }
    }
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
            SortKey::Alias => bounded("cursor", &self.key, 200).is_ok(),
            SortKey::LastSeen => self.key == NEVER || is_time(&self.key),
            SortKey::Battery => self.key.parse::<i16>().is_ok(),
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
    use crate::device::{DeviceIdentity, LastStatus};
    use crate::heartbeat::Telemetry;
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
                telemetry: Telemetry { battery_pct, app_version: Some("1.4.0".into()), ..Default::default() },
            })),
            last_seen_at: Some(at),
            connectivity: Connectivity::Online,
            app_status: AppStatus::Unknown,
            channels: Default::default(),
        }
    }

    #[test]
    fn every_filter_takes_and_leaves() {
        let device = view(1, "Kiosk-17", Some(15));
        let filter = |f: fn(&mut DeviceFilter)| {
            let mut filter = DeviceFilter::default();
            f(&mut filter);
            filter.matches(&device)
        };
        assert!(filter(|_| ()));
        assert!(filter(|f| f.connectivity = Some(Connectivity::Online)));
        assert!(!filter(|f| f.connectivity = Some(Connectivity::Offline)));
        assert!(filter(|f| f.tag = Some("till".into())) && !filter(|f| f.tag = Some("til".into())));
        assert!(filter(|f| f.group = Some("berlin".into())) && !filter(|f| f.group = Some("x".into())));
        assert!(filter(|f| f.text = Some("kIOSK-1".into())) && filter(|f| f.text = Some("hw-1".into())));
        assert!(filter(|f| f.text = Some("joy".into())) && !filter(|f| f.text = Some("kiosk-2".into())));
        assert!(filter(|f| f.battery_below = Some(16)) && !filter(|f| f.battery_below = Some(15)));
        assert!(filter(|f| f.app_version = Some("1.4.0".into())) && !filter(|f| f.app_version = Some("1.4".into())));
        assert!(filter(|f| f.model = Some("Joy 2".into())) && !filter(|f| f.model = Some("Joy".into())));
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
    fn a_filter_with_control_characters_is_refused() {
        let filter = DeviceFilter { text: Some("a\0".into()), ..Default::default() };
        assert_eq!(filter.checked().unwrap_err().field, "text");
        assert!(DeviceFilter { battery_below: Some(102), ..Default::default() }.checked().is_err());
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
