//! Values as people read them: times, numbers, sizes, tables for a spreadsheet.

use std::fmt::Write;

use chrono::SecondsFormat;
use domain::Timestamp;
use domain::heartbeat::{Telemetry, Transport};
use domain::telemetry::{Reading, Unit};

/// Text in place of an unknown value.
pub(crate) const UNKNOWN: &str = "–";

/// How long ago `at` was: "just now", "5 min ago", "3 h ago", "2 d ago"; or how far ahead.
pub(crate) fn relative(now: Timestamp, at: Timestamp) -> String {
    let seconds = (now - at).num_seconds();
    match seconds {
        -9..10 => "just now".into(),
        10.. => format!("{} ago", coarse(seconds)),
        _ => format!("in {}", coarse(-seconds)),
    }
}

fn coarse(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds / 10 * 10),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400..31_536_000 => format!("{} d", seconds / 86_400),
        _ => format!("{} y", seconds / 31_536_000),
    }
}

/// A length of time in its two largest units: "1 d 4 h".
pub(crate) fn duration(seconds: i64) -> String {
    let parts = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds.max(0);
    let mut text = String::new();
    let mut units = 0;
    for (length, unit) in parts {
        let count = rest / length;
        rest %= length;
        if count == 0 && units == 0 {
            continue;
        }
        units += 1;
        if count > 0 {
            let gap = if text.is_empty() { "" } else { " " };
            // Writing to a String does not fail.
            let _ = write!(text, "{gap}{} {unit}", number(count.unsigned_abs()));
        }
        if units == 2 {
            break;
        }
    }
    if text.is_empty() { "0 s".into() } else { text }
}

/// A time as machines read it.
pub(crate) fn iso(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A number with thousands separators.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A message of the server as a sentence: it begins with a small letter and ends without a stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

/// A rate: one decimal while it is small.
pub(crate) fn rate(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { number(value.round() as u64) }
}

/// A count of things: "1 device", "2,000 devices".
pub(crate) fn count(value: usize, one: &str, many: &str) -> String {
    format!("{} {}", number(value as u64), if value == 1 { one } else { many })
}

/// A size given in MiB: "640 MB", "3.8 GB", "1.2 TB".
pub(crate) fn mebibytes(mib: i64) -> String {
    match mib {
        ..1024 => format!("{mib} MB"),
        1024..1_048_576 => format!("{:.1} GB", mib as f64 / 1024.0),
        _ => format!("{:.1} TB", mib as f64 / 1_048_576.0),
    }
}

/// A size given in bytes: "900 B", "8.5 KB", "12.3 MB".
pub(crate) fn bytes(bytes: i64) -> String {
    match bytes.max(0) {
        bytes @ ..1024 => format!("{bytes} B"),
        bytes @ ..1_048_576 => format!("{:.1} KB", bytes as f64 / 1024.0),
        bytes if bytes < 1 << 30 => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
        bytes => mebibytes(bytes >> 20),
    }
}

/// Yes, no or unknown.
pub(crate) fn yes_no(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "Yes",
        Some(false) => "No",
        None => UNKNOWN,
    }
}

/// A reading with its unit.
pub(crate) fn reading(reading: Reading<'_>, unit: Unit) -> String {
    match (reading, unit) {
        (Reading::Flag(flag), _) => yes_no(Some(flag)).to_owned(),
        (Reading::Integer(seconds), Unit::Seconds) => duration(seconds),
        (Reading::Integer(mib), Unit::Mebibytes) => mebibytes(mib),
        (Reading::Integer(count), Unit::Count) => number(count.unsigned_abs()),
        (Reading::Single(celsius), Unit::Celsius) => format!("{celsius:.1} °C"),
        (reading, Unit::Degrees) => format!("{reading}°"),
        (Reading::Time(at), _) => iso(at),
        (reading, unit) if unit.symbol().is_empty() => reading.to_string(),
        (reading, unit) => format!("{reading} {}", unit.symbol()),
    }
}

/// The network in a few words: "Wi-Fi", "Cellular", "Offline".
pub(crate) fn network(telemetry: &Telemetry) -> Option<&'static str> {
    telemetry.transport.map(transport)
}

/// A kind of network.
pub(crate) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Wifi => "Wi-Fi",
        Transport::Cellular => "Cellular",
        Transport::Ethernet => "Ethernet",
        Transport::None => "Offline",
        Transport::Other => "Other",
    }
}

/// The colour of a kind of network, a role of the style sheet.
pub(crate) fn transport_tone(transport: Transport) -> &'static str {
    match transport {
        Transport::Wifi => "accent",
        Transport::Cellular => "warn",
        Transport::Ethernet => "good",
        Transport::None => "bad",
        Transport::Other => "idle",
    }
}

/// A cell of a CSV file. What a spreadsheet would take for a formula becomes text.
pub(crate) fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

/// Text as one word of a POSIX shell.
pub(crate) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn relative_times_are_coarse() {
        let ago = |seconds: i64| relative(at(0), at(-seconds));
        assert_eq!(ago(0), "just now");
        assert_eq!(ago(9), "just now");
        assert_eq!(ago(19), "10 s ago");
        assert_eq!(ago(61), "1 min ago");
        assert_eq!(ago(3599), "59 min ago");
        assert_eq!(ago(7200), "2 h ago");
        assert_eq!(ago(86_400 * 40), "40 d ago");
        assert_eq!(ago(86_400 * 800), "2 y ago");
        assert_eq!(ago(-5), "just now", "clocks differ a little");
        assert_eq!(ago(-7200), "in 2 h");
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3700), "1 h 1 min");
        assert_eq!(duration(86_400 + 59), "1 d");
        assert_eq!(duration(86_400 * 1234 + 3600 * 4), "1,234 d 4 h");
        assert_eq!(duration(-5), "0 s");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([number(0), number(999), number(1000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([rate(0.0), rate(3.34), rate(99.94), rate(1234.4)], ["0.0", "3.3", "99.9", "1,234"]);
        assert_eq!([count(1, "device", "devices"), count(2000, "device", "devices")], ["1 device", "2,000 devices"]);
    }

    #[test]
    fn sizes_grow_units() {
        assert_eq!([mebibytes(0), mebibytes(640), mebibytes(3891), mebibytes(1_258_291)], ["0 MB", "640 MB", "3.8 GB", "1.2 TB"]);
    }

    #[test]
    fn sizes_of_files_have_the_unit_that_fits() {
        assert_eq!(
            [bytes(-1), bytes(900), bytes(8675), bytes(12_900_000), bytes(1 << 31)],
            ["0 B", "900 B", "8.5 KB", "12.3 MB", "2.0 GB"]
        );
    }

    #[test]
    fn a_spreadsheet_sees_no_formula_and_a_shell_no_quote() {
        assert_eq!(csv_cell("=1+1"), "\"'=1+1\"");
        assert_eq!(csv_cell("a\"b"), "\"a\"\"b\"");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
