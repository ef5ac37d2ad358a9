//! Values as people read them: times, numbers, sizes, tables for a spreadsheet.

use chrono::SecondsFormat;
use domain::Timestamp;
use domain::heartbeat::{Telemetry, Transport};
pub(crate) use domain::quantity::{duration, mebibytes, number, relative, share, shares};
use domain::telemetry::{Reading, Unit};

/// Text in place of an unknown value.
pub(crate) const UNKNOWN: &str = "–";

/// A time as machines read it.
pub(crate) fn iso(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
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
    domain::quantity::count(value as u64, one, many)
}

/// A size given in bytes.
pub(crate) fn bytes(bytes: i64) -> String {
    domain::quantity::bytes(bytes.max(0).unsigned_abs())
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

    #[test]
    fn rates_have_a_decimal_while_they_are_small() {
        assert_eq!([rate(0.0), rate(3.34), rate(99.94), rate(1234.4)], ["0.0", "3.3", "99.9", "1,234"]);
    }

    #[test]
    fn a_spreadsheet_sees_no_formula_and_a_shell_no_quote() {
        assert_eq!(csv_cell("=1+1"), "\"'=1+1\"");
        assert_eq!(csv_cell("a\"b"), "\"a\"\"b\"");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
