//! A heartbeat taken value by value, for one that does not read as a whole: what is unusable of it costs nothing else.

use domain::telemetry::{APPS, BLOCKS, CLAIMED_ID, CLOCK, FIELDS, Field, OptIn, PUSH_TOKEN, Sent, Telemetry};
use domain::{DeviceId, Timestamp, text};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::lenient::Int;

/// What a heartbeat says, as far as it is usable.
#[derive(Debug, Default, PartialEq)]
pub struct Values {
    /// The id that the device claims.
    pub device_id: Option<DeviceId>,
    /// The device's clock.
    pub device_time: Option<Timestamp>,
    /// Whether there was a clock that could not be read.
    pub clock_unreadable: bool,
    /// Push token.
    pub fcm_token: Option<String>,
    /// The readings that are kept, and what was unusable.
    pub telemetry: Telemetry,
}

/// Takes what is usable of a heartbeat that was received at `at`; of opt-in readings those that are kept.
pub fn values(told: &Map<String, Value>, kept: &OptIn, at: Timestamp) -> Values {
    let mut values = Values::default();
    let telemetry = &mut values.telemetry;
    for (block, _) in BLOCKS {
        note_block(told, block, kept, telemetry, at);
    }
    for field in FIELDS.iter().filter(|field| kept.keeps(field)) {
        let value = match field.path.split_once('.') {
            None => told.get(field.path),
            Some((block, key)) => told.get(block).and_then(|block| block.get(key)),
        };
        if let Some(value) = value.filter(|value| !value.is_null()) {
            with_sent(value, field.kind == "JsonText", |sent| telemetry.take(field, sent, at));
        }
    }
    take_apps(told.get(APPS), telemetry, at);
    let given = |path: &str| told.get(path).filter(|value| !value.is_null() && value.as_str() != Some(""));
    if let Some(value) = told.get(CLOCK).filter(|value| !value.is_null()) {
        values.device_time = time(value);
        values.clock_unreadable = values.device_time.is_none();
        if values.clock_unreadable {
            note(telemetry, CLOCK, value, "not a time as in 2026-11-21T15:36:17Z; the time of receipt counts", at);
        }
    }
    if let Some(value) = given(CLAIMED_ID) {
        values.device_id = value.as_str().and_then(|text| text.parse().ok());
        if values.device_id.is_none() {
            note(telemetry, CLAIMED_ID, value, "not a UUID", at);
        }
    }
    if let Some(value) = given(PUSH_TOKEN) {
        let fits = |token: &&str| text::bounded(PUSH_TOKEN, token, text::FCM_TOKEN_MAX_CHARS).is_ok();
        values.fcm_token = value.as_str().filter(fits).map(str::to_owned);
        if values.fcm_token.is_none() {
            // Whoever has a push token can send to the device: it is not shown.
            telemetry.note_unusable(PUSH_TOKEN, "(not shown)", "too long, or not text", at);
        }
    }
    values
}

/// Of values that were told more than once, puts the last usable one where the last one stands. `earlier`: [`tolerant::earlier`].
///
/// [`tolerant::earlier`]: crate::tolerant::earlier
pub fn prefer_usable(told: &mut Map<String, Value>, earlier: Vec<(String, Value)>) {
    for (path, value) in earlier.into_iter().rev().filter(|(path, value)| is_usable(path, value)) {
        match path.split_once('.') {
            None if told.get(&path).is_some_and(|last| is_usable(&path, last)) => {}
            None => drop(told.insert(path, value)),
            Some((block, key)) => {
                let block = told.entry(block).or_insert(Value::Null);
                if !block.is_object() {
                    *block = Value::Object(Map::new());
                }
                if let Value::Object(block) = block
                    && !block.get(key).is_some_and(|last| is_usable(&path, last))
                {
                    block.insert(key.to_owned(), value);
                }
            }
        }
    }
}

/// The time that a value names, as text or as a count since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    let counted = || Int::deserialize(value).ok().and_then(|Int(count)| domain::time::of_unix(count));
    value.as_str().and_then(domain::time::parse).or_else(counted)
}

/// Whether something is taken of a value that stands at this path.
fn is_usable(path: &str, value: &Value) -> bool {
    if let Some(field) = FIELDS.iter().find(|field| field.path == path) {
        let mut taken = Telemetry::default();
        let problem = with_sent(value, field.kind == "JsonText", |sent| (field.set)(&mut taken, sent));
        return !value.is_null() && problem.is_none() && (field.get)(&taken).is_some();
    }
    match path {
        CLOCK => time(value).is_some(),
        CLAIMED_ID => value.as_str().is_some_and(|text| text.parse::<DeviceId>().is_ok()),
        PUSH_TOKEN => value.as_str().is_some_and(|text| !text.is_empty()),
        _ => path.strip_prefix(APPS).is_some_and(|package| package.starts_with('.')) && value.is_object(),
    }
}

/// Notes a value where an object belongs. A list is what agents of the earlier server send for an empty one.
fn note_block(told: &Map<String, Value>, block: &str, kept: &OptIn, telemetry: &mut Telemetry, at: Timestamp) {
    let belongs = |field: &&Field| field.path.strip_prefix(block).is_some_and(|key| key.starts_with('.'));
    let value = told.get(block).filter(|value| !matches!(value, Value::Object(_) | Value::Array(_) | Value::Null));
    if let Some(value) = value
        && FIELDS.iter().filter(belongs).any(|field| kept.keeps(field))
    {
        note(telemetry, block, value, "not an object", at);
    }
}

fn take_apps(told: Option<&Value>, telemetry: &mut Telemetry, at: Timestamp) {
    let apps = match told {
        None | Some(Value::Null | Value::Array(_)) => return,
        Some(Value::Object(apps)) => apps,
        Some(value) => return note(telemetry, APPS, value, "not an object", at),
    };
    for (package, app) in apps {
        let part = |name: &str| app.get(name).filter(|value| !value.is_null());
        let [installed, name, code] = ["installed", "version_name", "version_code"].map(part);
        with_part(installed, |installed| {
            with_part(name, |name| with_part(code, |code| telemetry.take_app(package, [installed, name, code], at)));
        });
        if !matches!(app, Value::Object(_) | Value::Null) {
            note(telemetry, APPS, app, "not an object", at);
        }
    }
}

fn note(telemetry: &mut Telemetry, path: &str, value: &Value, problem: &str, at: Timestamp) {
    with_sent(value, false, |sent| telemetry.note_unusable(path, sent, problem, at));
}

fn with_part(value: Option<&Value>, then: impl FnOnce(Option<Sent<'_>>)) {
    match value {
        Some(value) => with_sent(value, false, |sent| then(Some(sent))),
        None => then(None),
    }
}

/// Passes on a value as it was sent; `as_json`: as JSON, whatever it is.
fn with_sent<T>(value: &Value, as_json: bool, then: impl FnOnce(Sent<'_>) -> T) -> T {
    match value {
        Value::String(text) if !as_json => then(Sent::Text(text)),
        Value::Bool(flag) if !as_json => then(Sent::Flag(*flag)),
        Value::Number(number) if !as_json => then(match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Sent::Whole(number.into()),
            (None, Some(number)) => Sent::Whole(number.into()),
            (None, None) => Sent::Fraction(number.as_f64().unwrap_or(f64::NAN)),
        }),
        other => then(Sent::Json(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Heartbeat;
    use crate::tolerant;
    use proptest::prelude::*;

    fn at() -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap()
    }

    fn read(text: &str) -> Values {
        values(&tolerant::object(text.as_bytes()).unwrap(), &OptIn::all(), at())
    }

    /// Paths, values and problems of what was unusable.
    fn unusable(values: &Values) -> Vec<(&str, &str, &str)> {
        values.telemetry.unusable.iter().map(|noted| (&*noted.field, &*noted.value, &*noted.problem)).collect()
    }

    #[test]
    fn a_good_heartbeat_reads_the_same_as_a_whole_and_value_by_value() {
        for text in [
            include_str!("../fixtures/heartbeat-full.json"),
            include_str!("../fixtures/heartbeat.json"),
            include_str!("../fixtures/heartbeat-legacy.json"),
            "{}",
        ] {
            let whole = serde_json::from_str::<Heartbeat>(text).unwrap();
            let (time, token) = (whole.timestamp_utc.clone(), whole.fcm_token.clone());
            let mut by_value = read(text);
            let whole = whole.telemetry(&OptIn::all()).unwrap();
            // JSON is kept as it was written by the one, as it was read by the other.
            by_value.telemetry.self_heal_hints.clone_from(&whole.self_heal_hints);
            assert_eq!(by_value.telemetry, whole);
            assert_eq!((by_value.device_time, by_value.fcm_token), (time.map(|time| time.parse().unwrap()), token));
        }
    }

    #[test]
    fn what_is_unusable_is_noted_and_the_rest_is_kept() {
        let told = read(
            r#"{"battery":{"pct":-1,"temperature_c":NaN,"charging":true},"memory":"plenty","system":[],"network":{"transport":"5g","ssid":"\u0000"},
                "storage_free_mb":5120,"timestamp_utc":"٢٠٢٦-١١-٢١T15:36:17Z","device_id":"kiosk","fcm_token":"a\u0000","seq":"12",
                "app_versions":{"a.b":{"version_code":1e400},"c.d":7},"location":null}"#,
        );
        assert_eq!(
            (told.telemetry.charging, told.telemetry.storage_free_mb, told.telemetry.seq, told.telemetry.apps.len()),
            (Some(true), Some(5120), Some(12), 2)
        );
        assert_eq!((told.device_time, told.clock_unreadable, told.device_id, told.fcm_token.as_deref()), (None, true, None, None));
        assert_eq!(
            unusable(&told),
            [
                ("memory", "plenty", "not an object"),
                ("battery.pct", "-1", "outside 0..100"),
                ("battery.temperature_c", "NaN", "not a number"),
                ("network.transport", "5g", "unknown word; taken as other"),
                ("network.ssid", "\u{fffd}", "control character at position 0 (U+0000)"),
                ("app_versions", "1e400", "version_code of a.b: outside 0..9223372036854775807"),
                ("timestamp_utc", "٢٠٢٦-١١-٢١T15:36:17Z", "not a time as in 2026-11-21T15:36:17Z; the time of receipt counts"),
                ("device_id", "kiosk", "not a UUID"),
                ("fcm_token", "(not shown)", "too long, or not text"),
            ]
        );
    }

    #[test]
    fn times_in_other_common_forms_are_read() {
        for clock in [
            r#""2026-11-21T17:36:17+0200""#,
            r#""2026-11-21 15:36:17Z""#,
            r#""2026-11-21 17:36:17+0200""#,
            "1795275377",
            "1795275377000",
            "1.795275377E12",
            r#""1795275377000""#,
        ] {
            let told = read(&format!(r#"{{"timestamp_utc":{clock}}}"#));
            assert_eq!(told.device_time, Some("2026-11-21T15:36:17Z".parse().unwrap()), "{clock}");
            assert!(!told.clock_unreadable && told.telemetry.unusable.is_empty(), "{clock}");
        }
    }

    #[test]
    fn of_values_that_are_told_twice_the_last_usable_one_counts() {
        for (text, path, reading) in [
            (r#"{"seq":5,"seq":6}"#, "seq", Some("6")),
            (r#"{"seq":5,"seq":NaN}"#, "seq", Some("5")),
            (r#"{"seq":5,"seq":null}"#, "seq", Some("5")),
            (r#"{"battery":{"pct":50,"pct":-1}}"#, "battery.pct", Some("50")),
            (r#"{"battery":{"pct":50,"pct":60}}"#, "battery.pct", Some("60")),
            (r#"{"battery":{"pct":50},"battery":{"charging":true}}"#, "battery.pct", Some("50")),
            (r#"{"battery":{"pct":50},"battery":7}"#, "battery.pct", Some("50")),
            (r#"{"battery":{"pct":50},"battery":{"pct":"full"}}"#, "battery.pct", Some("50")),
            (r#"{"battery":{"pct":-1},"battery":{"pct":"full"}}"#, "battery.pct", None),
        ] {
            let mut told = tolerant::object(text.as_bytes()).unwrap();
            prefer_usable(&mut told, tolerant::earlier(text.as_bytes()));
            let telemetry = values(&told, &OptIn::all(), at()).telemetry;
            let field = FIELDS.iter().find(|field| field.path == path).unwrap();
            assert_eq!((field.get)(&telemetry).map(|reading| reading.to_string()).as_deref(), reading, "{text}");
            assert_eq!(telemetry.unusable.is_empty(), reading.is_some(), "{text}: {:?}", telemetry.unusable);
        }
        let text = r#"{"timestamp_utc":"2026-11-21T15:36:17Z","timestamp_utc":"noon","app_versions":{"a.b":{"version_code":1},"a.b":7}}"#;
        let mut told = tolerant::object(text.as_bytes()).unwrap();
        prefer_usable(&mut told, tolerant::earlier(text.as_bytes()));
        let values = values(&told, &OptIn::all(), at());
        assert_eq!((values.clock_unreadable, values.telemetry.apps[0].version_code), (false, Some(1)));
    }

    #[test]
    fn a_position_that_is_not_kept_is_not_noted_either() {
        for text in [r#"{"location":{"lat":91,"at":"noon"}}"#, r#"{"location":"Berlin"}"#] {
            let told = values(&tolerant::object(text.as_bytes()).unwrap(), &OptIn::default(), at());
            assert_eq!(told, Values::default(), "{text}");
            assert!(!read(text).telemetry.unusable.is_empty());
        }
    }

    /// JSON of any shape, at the places where heartbeats have values.
    fn any_heartbeat() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-200i64..200).prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "\\PC{0,300}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        let others = [APPS, CLOCK, CLAIMED_ID, PUSH_TOKEN, "battery", "app_versions.a.b"];
        let paths: Vec<&str> = FIELDS.iter().map(|field| field.path).chain(others).collect();
        proptest::collection::vec((prop::sample::select(paths), value), 0..20).prop_map(|told| {
            let mut heartbeat = Map::new();
            for (path, value) in told {
                match path.split_once('.') {
                    None => drop(heartbeat.insert(path.to_owned(), value)),
                    Some((block, key)) => match heartbeat.entry(block).or_insert_with(|| Value::Object(Map::new())) {
                        Value::Object(block) => drop(block.insert(key.to_owned(), value)),
                        other => *other = value,
                    },
                }
            }
            heartbeat
        })
    }

    proptest! {
        /// Whatever an object holds, there is a heartbeat in it that can be stored.
        #[test]
        fn any_object_is_a_heartbeat_that_can_be_stored(told in any_heartbeat()) {
            let taken = values(&told, &OptIn::all(), at());
            prop_assert_eq!(taken.telemetry.clone().checked(), Ok(taken.telemetry.clone()));
            prop_assert!(taken.telemetry.unusable.len() <= FIELDS.len() + BLOCKS.len() + 4);
            prop_assert!(taken.fcm_token.is_none_or(|token| token.chars().count() <= text::FCM_TOKEN_MAX_CHARS));
            // What reads as a whole reads the same value by value; only a list passes for a package there.
            let is_list = told.get(APPS).and_then(|apps| apps.get("a.b")).is_some_and(Value::is_array);
            let whole = serde_json::from_value::<Heartbeat>(Value::Object(told)).ok();
            if let Some(whole) = whole.and_then(|whole| whole.telemetry(&OptIn::all()).ok()).filter(|_| !is_list) {
                let clean = ["app_versions", "timestamp_utc", "device_id", "fcm_token"];
                prop_assert!(taken.telemetry.unusable.iter().all(|noted| clean.contains(&&*noted.field)), "{:?}", taken.telemetry.unusable);
                prop_assert_eq!(Telemetry { unusable: vec![], ..taken.telemetry }, whole);
            }
        }
    }
}
