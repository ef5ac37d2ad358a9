//! Values of the telemetry table: each row takes any value, and is within its limits afterwards.

use domain::heartbeat::{Heartbeat, Telemetry};
use domain::telemetry::{FIELDS, Sent};

use crate::heartbeat::assert_storable;
use crate::samples::{DEVICE, now};

/// The first byte names a row, the second a kind of value, the others are the value.
pub(super) fn run(data: &[u8]) {
    let [row, kind, value @ ..] = data else { return };
    let field = &FIELDS[usize::from(*row) % FIELDS.len()];
    let bytes = |count: usize| value.iter().chain(std::iter::repeat(&0)).take(count).copied().collect::<Vec<u8>>();
    let text = String::from_utf8_lossy(value);
    let sent = match kind % 5 {
        0 => Sent::Flag(value.len() % 2 == 1),
        1 => Sent::Whole(i128::from_le_bytes(bytes(16).try_into().unwrap_or_default())),
        2 => Sent::Fraction(f64::from_le_bytes(bytes(8).try_into().unwrap_or_default())),
        3 => Sent::Text(&text),
        _ => Sent::Json(&text),
    };
    let mut telemetry = Telemetry::default();
    telemetry.take(field, sent, now());
    // A row that is not within its table's types would fail here.
    let _ = (field.get)(&telemetry).map(|reading| reading.to_string());
    telemetry.take_app(&text, [Some(sent), Some(Sent::Text(&text)), Some(sent)], now());
    let heartbeat = Heartbeat::new(DEVICE, None, telemetry, now());
    assert_storable(&heartbeat);
    assert!(field.is_rank(&field.rank(Some(&heartbeat.telemetry)).to_string()), "a cursor of {} is not read back", field.name);
}
