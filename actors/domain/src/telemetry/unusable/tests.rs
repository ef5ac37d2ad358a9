use super::*;
use crate::telemetry::Transport;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
}

fn field(path: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.path == path).unwrap()
}

/// The reading that is taken of a value, and the problem.
fn taken(path: &str, sent: Sent<'_>) -> (Option<String>, Option<String>) {
    let mut telemetry = Telemetry::default();
    telemetry.take(field(path), sent, at(0));
    let reading = (field(path).get)(&telemetry).map(|reading| reading.to_string());
    (reading, telemetry.unusable.pop().map(|noted| noted.problem))
}

#[test]
fn what_is_taken_of_a_value_is_what_its_row_says() {
    use Sent::{Flag, Fraction, Json, Text, Whole};
    let long = "x".repeat(70);
    let cut = "x".repeat(64);
    let hints = format!("\"{}\"", "x".repeat(4096));
    let outside = Some("outside 0..100");
    let no_number = Some("not a number");
    for (path, sent, reading, problem) in [
        // Numbers in every form, rounded.
        ("battery.pct", Whole(83), Some("83"), None),
        ("battery.pct", Text(" 83 "), Some("83"), None),
        ("battery.pct", Fraction(82.5), Some("83"), None),
        ("battery.pct", Text("8.3E1"), Some("83"), None),
        ("battery.pct", Fraction(100.4), Some("100"), None),
        ("battery.temperature_c", Text("31.5"), Some("31.5"), None),
        ("seq", Whole(i128::from(i64::MAX)), Some("9223372036854775807"), None),
        // Out of range, whatever the size.
        ("battery.pct", Whole(-1), None, outside),
        ("battery.pct", Whole(101), None, outside),
        ("battery.pct", Whole(100_000), None, outside),
        ("battery.pct", Fraction(1e99), None, outside),
        ("battery.pct", Text("1e400"), None, outside),
        ("battery.pct", Text("-1e400"), None, outside),
        ("seq", Whole(i128::from(u64::MAX)), None, Some("outside 0..9223372036854775807")),
        ("battery.temperature_c", Text("1e400"), None, Some("outside -100..200")),
        // No numbers.
        ("battery.pct", Text("NaN"), None, no_number),
        ("battery.pct", Text("Infinity"), None, no_number),
        ("battery.pct", Text("full"), None, no_number),
        ("battery.pct", Text("٨٣"), None, no_number),
        ("battery.pct", Text("85%"), Some("85"), None),
        ("battery.pct", Text("85.4 % "), Some("85"), None),
        ("battery.pct", Text("%"), None, no_number),
        ("storage_free_mb", Text("5 GB"), None, no_number),
        ("battery.temperature_c", Text("31,5"), None, no_number),
        ("battery.pct", Json("{\"pct\":83}"), None, no_number),
        ("battery.pct", Text(""), None, no_number),
        ("battery.pct", Flag(true), None, no_number),
        ("battery.pct", Json("[83]"), None, no_number),
        ("battery.temperature_c", Fraction(f64::NAN), None, no_number),
        // Unknown by a number of its own, and capped.
        ("monitored_foreground_recent_s", Whole(-1), None, None),
        ("monitored_foreground_recent_s", Whole(-2), None, Some("outside 0..2147483647")),
        ("monitored_foreground_recent_s", Whole(9_223_372_036_854_775), Some("2147483647"), None),
        // Words.
        ("network.transport", Text("WIFI"), Some("wifi"), None),
        ("network.transport", Text("Cellular "), Some("cellular"), None),
        ("network.transport", Text("vpn"), Some("other"), Some("unknown word; taken as other")),
        ("network.transport", Text("5g"), Some("other"), Some("unknown word; taken as other")),
        ("network.transport", Text(""), Some("other"), Some("unknown word; taken as other")),
        ("network.transport", Whole(1), None, Some("not text")),
        // Text.
        ("network.ssid", Text("shop"), Some("shop"), None),
        ("network.ssid", Text(""), None, None),
        ("network.ssid", Text("\0\0"), None, Some("control character at position 0 (U+0000)")),
        ("network.ssid", Text("a\u{1b}[0m"), Some("a[0m"), Some("control character at position 1 (U+001B); left out")),
        ("network.ssid", Text("a\nb"), Some("a b"), Some("control character at position 1 (U+000A); left out")),
        (
            "system.model",
            Text("\u{202e}Pixel\u{200b} 8"),
            Some("Pixel 8"),
            Some("character that changes the direction of text at position 0 (U+202E); left out"),
        ),
        ("network.ssid", Text("\u{feff}"), None, Some("invisible character at position 0 (U+FEFF)")),
        ("network.ssid", Text("شبكة"), Some("شبكة"), None),
        ("network.ssid", Text(&long), Some(&cut), Some("longer than 64 characters; cut")),
        ("network.ip", Text(&long), None, Some("70 characters are more than the 64 allowed")),
        ("network.ssid", Whole(7), Some("7"), None),
        ("system.android_version", Whole(13), Some("13"), None),
        ("system.android_version", Fraction(8.1), Some("8.1"), None),
        ("system.model", Flag(true), None, Some("not text")),
        ("system.model", Json("{}"), None, Some("not text")),
        ("system.model", Json("[\"Pixel\"]"), None, Some("not text")),
        // Others.
        ("battery.charging", Flag(true), Some("true"), None),
        ("battery.charging", Text("true"), Some("true"), None),
        ("battery.charging", Text(" Yes"), Some("true"), None),
        ("battery.charging", Text("off"), Some("false"), None),
        ("battery.charging", Whole(1), Some("true"), None),
        ("battery.charging", Whole(0), Some("false"), None),
        ("battery.charging", Whole(2), None, Some("neither true nor false")),
        ("battery.charging", Fraction(1.0), None, Some("neither true nor false")),
        ("battery.charging", Text("charging"), None, Some("neither true nor false")),
        ("battery.charging", Json("[true]"), None, Some("neither true nor false")),
        ("location.at", Text("2026-11-21T15:36:02Z"), Some("2026-11-21T15:36:02.000Z"), None),
        ("location.at", Text("noon"), None, Some("not a time as in 2026-11-21T15:36:17Z")),
        ("self_heal_hints", Json("{\"a\":1}"), Some("{\"a\":1}"), None),
        ("self_heal_hints", Json(&hints), None, Some("more than 4096 bytes")),
    ] {
        let (reading, problem) = (reading.map(str::to_owned), problem.map(str::to_owned));
        assert_eq!(taken(path, sent), (reading, problem), "{path}: {sent:?}");
    }
}

#[test]
fn a_value_is_shown_short_and_without_what_does_not_show() {
    assert_eq!(shown("-1"), "-1");
    assert_eq!(shown("a\0b\u{202e}c"), "a\u{fffd}b\u{fffd}c");
    let long = shown(&"ä".repeat(50_000));
    assert_eq!((long.chars().count(), long.chars().last()), (VALUE_MAX_CHARS, Some('…')));
}

#[test]
fn a_value_is_unusable_since_the_first_of_those_in_a_row() {
    let told = |value: i128, second: i64| {
        let mut telemetry = Telemetry::default();
        telemetry.take(field("battery.pct"), Sent::Whole(value), at(second));
        telemetry
    };
    let (first, mut second) = (told(-1, 0), told(-2, 60));
    second.continue_unusable(&first);
    assert_eq!((second.unusable[0].value.as_str(), second.unusable[0].since), ("-2", at(0)));
    let mut after_a_good_one = told(-3, 120);
    after_a_good_one.continue_unusable(&told(50, 90));
    assert_eq!(after_a_good_one.unusable[0].since, at(120));
}

#[test]
fn of_packages_what_is_usable_stays() {
    let mut telemetry = Telemetry::default();
    telemetry.take_app("a.b", [Some(Sent::Whole(2)), Some(Sent::Text("3.2")), Some(Sent::Whole(-1))], at(0));
    telemetry.take_app("a\0", [None; 3], at(0));
    (0..100).for_each(|n| telemetry.take_app(&format!("p{n}"), [None; 3], at(0)));
    assert_eq!(telemetry.apps.len(), APPS_MAX);
    assert_eq!((telemetry.apps[0].version_name.as_deref(), telemetry.apps[0].version_code), (Some("3.2"), None));
    assert_eq!(telemetry.unusable.len(), 1, "one note per path");
    assert_eq!(telemetry.unusable[0].problem, "installed of a.b: neither true nor false");
    assert_eq!(telemetry.unusable[0].label(), "Monitored apps");
}

#[test]
fn every_path_has_a_name_for_people() {
    let label = |path: &str| Unusable { field: path.into(), value: String::new(), problem: String::new(), since: at(0) }.label().to_owned();
    assert_eq!(label("battery.pct"), "Battery");
    assert_eq!(label("memory"), "Memory");
    assert_eq!(label("timestamp_utc"), "Clock");
    assert_eq!(label("of_a_later_build"), "of_a_later_build");
}

fn any_sent() -> impl Strategy<Value = (u8, i128, f64, String)> {
    (0u8..5, prop_oneof![any::<i128>(), -300i128..300], any::<f64>(), prop_oneof![any::<String>(), "[-+0-9.eE]{0,12}", "\\PC{0,300}"])
}

proptest! {
    /// Whatever is sent, what is taken is within the ranges that stored telemetry has, and what is shown is bounded.
    #[test]
    fn whatever_is_sent_is_taken_within_its_range(values in proptest::collection::vec(any_sent(), FIELDS.len())) {
        let mut telemetry = Telemetry::default();
        for (field, (kind, whole, fraction, text)) in FIELDS.iter().zip(&values) {
            let sent = match kind {
                0 => Sent::Flag(*whole > 0),
                1 => Sent::Whole(*whole),
                2 => Sent::Fraction(*fraction),
                3 => Sent::Text(text),
                _ => Sent::Json(text),
            };
            telemetry.take(field, sent, at(0));
        }
        prop_assert_eq!(telemetry.clone().checked(), Ok(telemetry.clone()));
        prop_assert!(telemetry.unusable.len() <= FIELDS.len());
        prop_assert!(telemetry.unusable.iter().all(|noted| noted.value.chars().count() <= VALUE_MAX_CHARS && noted.problem.len() < 200));
        prop_assert!(telemetry.transport.is_none_or(|transport| Transport::ALL.contains(&transport)));
    }
}
