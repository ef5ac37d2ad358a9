//! Details: values of a device that are never searched, sorted or plotted, as one JSON column of the last status.

use std::hash::{Hash, Hasher};

use domain::heartbeat::{Telemetry, WatchedApp};
use domain::telemetry::Unusable;
use domain::{Timestamp, telemetry};
use serde_json::{Map, Value, json};

/// The last field that was there when digests were stored first. Later ones take part when they are reported only, so that a
/// new field does not change the digest of a device that does not report it.
const FIRST_DIGEST_LAST: u16 = 35;

/// A type of the telemetry table, as a detail.
trait Detail: Sized {
    fn json(&self) -> Value;
    fn read(json: &Value) -> Option<Self>;
    fn digest(&self, hasher: &mut Fnv);
}

impl Detail for String {
    fn json(&self) -> Value {
        json!(self)
    }
    fn read(json: &Value) -> Option<Self> {
        json.as_str().map(str::to_owned)
    }
    fn digest(&self, hasher: &mut Fnv) {
        self.hash(hasher);
    }
}

impl Detail for bool {
    fn json(&self) -> Value {
        json!(self)
    }
    fn read(json: &Value) -> Option<Self> {
        json.as_bool()
    }
    fn digest(&self, hasher: &mut Fnv) {
        self.hash(hasher);
    }
}

impl Detail for i32 {
    fn json(&self) -> Value {
        json!(self)
    }
    fn read(json: &Value) -> Option<Self> {
        json.as_i64().and_then(|number| number.try_into().ok())
    }
    fn digest(&self, hasher: &mut Fnv) {
        self.hash(hasher);
    }
}

macro_rules! number_details {
    ($($type:ty),+) => {$(
        impl Detail for $type {
            fn json(&self) -> Value {
                json!(self)
            }
            fn read(json: &Value) -> Option<Self> {
                json.as_f64().map(|number| number as Self)
            }
            fn digest(&self, hasher: &mut Fnv) {
                self.to_bits().hash(hasher);
            }
        }
    )+};
}
number_details!(f32, f64);

impl Detail for Timestamp {
    fn json(&self) -> Value {
        json!(self.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
    }
    fn read(json: &Value) -> Option<Self> {
        json.as_str()?.parse().ok()
    }
    fn digest(&self, hasher: &mut Fnv) {
        self.timestamp_micros().hash(hasher);
    }
}

/// FNV-1a: the same on every build and machine.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

fn digest<T: Detail>(value: &Option<T>, hasher: &mut Fnv) {
    // As an option hashes itself.
    isize::from(value.is_some()).hash(hasher);
    if let Some(value) = value {
        value.digest(hasher);
    }
}

macro_rules! detail_functions {
    ({} $( { $number:literal $field:ident $name:literal } )*) => {
        /// Details as JSON text. What was not told is left out.
        pub(crate) fn details(telemetry: &Telemetry) -> String {
            let mut details = Map::new();
            $(if let Some(value) = &telemetry.$field {
                details.insert($name.to_owned(), value.json());
            })*
            if !telemetry.apps.is_empty() {
                let apps: Vec<_> =
                    telemetry.apps.iter().map(|app| json!([app.package, app.installed, app.version_name, app.version_code])).collect();
                details.insert("apps".into(), Value::Array(apps));
            }
            if !telemetry.unusable.is_empty() {
                let noted = |noted: &Unusable| json!([noted.field, noted.value, noted.problem, noted.since.json()]);
                details.insert("unusable".into(), telemetry.unusable.iter().map(noted).collect());
            }
            Value::Object(details).to_string()
        }

        /// Whether two heartbeats tell the same [`details`].
        pub fn same_details(a: &Telemetry, b: &Telemetry) -> bool {
            $(a.$field == b.$field &&)* a.apps == b.apps && a.unusable == b.unusable
        }

        /// Digest of [`details`].
        pub(crate) fn details_hash(telemetry: &Telemetry) -> i64 {
            let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
            $(if $number <= FIRST_DIGEST_LAST {
                digest(&telemetry.$field, &mut hasher);
            })*
            for app in &telemetry.apps {
                (&app.package, app.installed, &app.version_name, app.version_code).hash(&mut hasher);
            }
            $(if $number > FIRST_DIGEST_LAST && telemetry.$field.is_some() {
                u16::hash(&$number, &mut hasher);
                digest(&telemetry.$field, &mut hasher);
            })*
            for noted in &telemetry.unusable {
                (&noted.field, &noted.value, &noted.problem).hash(&mut hasher);
                noted.since.digest(&mut hasher);
            }
            hasher.finish() as i64
        }

        /// Reads [`details`] back into `telemetry`.
        pub(crate) fn read_details(details: &Value, telemetry: &mut Telemetry) {
            $(telemetry.$field = Detail::read(&details[$name]);)*
            telemetry.apps = details["apps"].as_array().into_iter().flatten().filter_map(read_app).collect();
            telemetry.unusable = details["unusable"].as_array().into_iter().flatten().filter_map(read_unusable).collect();
        }
    };
}
telemetry! { details => detail_functions {} }

fn read_app(app: &Value) -> Option<WatchedApp> {
    Some(WatchedApp {
        package: app[0].as_str()?.to_owned(),
        installed: app[1].as_bool(),
        version_name: app[2].as_str().map(str::to_owned),
        version_code: app[3].as_i64(),
    })
}

fn read_unusable(noted: &Value) -> Option<Unusable> {
    let text = |at: usize| noted[at].as_str().map(str::to_owned);
    Some(Unusable { field: text(0)?, value: text(1)?, problem: text(2)?, since: Detail::read(&noted[3])? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_read_back_as_they_were() {
        let told = Telemetry {
            sdk_int: Some(33),
            ssid: Some("shop \"1\"".into()),
            metered: Some(false),
            ram_total_mb: Some(3891),
            self_heal_hints: Some("{\"a\":1}".into()),
            apps: vec![WatchedApp { package: "a.b".into(), installed: Some(true), version_name: None, version_code: Some(321) }],
            ..Default::default()
        };
        assert!(same_details(&told, &told) && !same_details(&told, &Telemetry::default()));
        assert!(!same_details(&told, &Telemetry { metered: None, ..told.clone() }));
        assert!(same_details(&told, &Telemetry { battery_pct: Some(3), ..told.clone() }), "the battery is not among them");
        assert_eq!(details_hash(&told), details_hash(&Telemetry { battery_pct: Some(3), ..told.clone() }));
        assert_ne!(details_hash(&told), details_hash(&Telemetry { metered: None, ..told.clone() }));
        // Nodes of other builds compare it with what they stored.
        assert_eq!(details_hash(&told), -6_051_301_599_044_353_429);
        let placed = Telemetry {
            location_lat: Some(52.520_008),
            location_at: chrono::DateTime::from_timestamp(1_780_000_000, 5_000),
            ..told.clone()
        };
        assert_ne!(details_hash(&told), details_hash(&placed));
        let mut placed = placed;
        placed.note_unusable("battery.pct", -1, "outside 0..100", chrono::DateTime::from_timestamp(1_780_000_000, 5_000).unwrap());
        assert_ne!(details_hash(&placed), details_hash(&Telemetry { unusable: vec![], ..placed.clone() }));
        assert!(!same_details(&placed, &Telemetry { unusable: vec![], ..placed.clone() }));
        let mut read = Telemetry::default();
        read_details(&serde_json::from_str(&details(&placed)).unwrap(), &mut read);
        assert_eq!(read, placed);
    }
}
