//! Heartbeats as narrow rows: each value in few bytes where it fits, and the SQL that makes wide rows of them again. Migration 0039 has the columns.
//!
//! ```text
//! narrow   received_at is NULL: what is told is in the columns below, and of a value that does not fit there in its wide column
//! wide     received_at is set: the columns below mean nothing
//! ```
//! The build before writes wide rows, also over narrow ones; it sets `received_at`, and with that the row is wide.

mod session;

use domain::device::LastStatus;
use domain::heartbeat::Transport;
use domain::{Timestamp, telemetry};

pub use session::NarrowRows;
pub(crate) use session::Sessions;

macro_rules! names {
    ({} $( { $field:ident $type:ident $name:literal $history:tt } )*) => {
        /// Columns of the telemetry table, in its order.
        const NAMES: &[&str] = &[$($name),*];
    };
}
telemetry! { columns => names {} }

/// Columns of narrow rows.
pub(crate) const NARROW_COLUMNS: [&str; 11] = [
    "received_us",
    "session_id",
    "readings",
    "seq_int",
    "uptime_int",
    "storage_free_int",
    "temperature_tenths",
    "device_time_ms",
    "ram_available_small",
    "foreground_recent_small",
    "queue_depth_small",
];

/// What `s` is in the statements below.
pub(crate) const SESSION_JOIN: &str = "LEFT JOIN heartbeat_session s ON s.session_id = h.session_id";

/// Wide columns, and what of them is in the narrow columns of `h` and the session `s`; as the view `heartbeats_unpacked` has it.
const UNPACKED: [(&str, &str); 20] = [
    ("received_at", "h.bucket_at + h.received_us * interval '1 microsecond'"),
    ("device_time", "h.bucket_at + h.device_time_ms * interval '1 millisecond'"),
    ("clock_rejected", "h.readings & 1 <> 0"),
    ("battery_pct", "(nullif((h.readings >> 10) & 127, 0) - 1)::smallint"),
    ("charging", "CASE (h.readings >> 1) & 3 WHEN 1 THEN false WHEN 2 THEN true END"),
    ("battery_temperature_c", "h.temperature_tenths::real / 10::real"),
    ("app_version", "s.app_version"),
    ("agent_version_code", "s.agent_version_code"),
    ("uptime_s", "h.uptime_int::bigint"),
    ("ram_available_mb", "h.ram_available_small::integer"),
    ("ram_pressure_pct", "(nullif((h.readings >> 17) & 127, 0) - 1)::smallint"),
    ("storage_free_mb", "h.storage_free_int::bigint"),
    (
        "transport",
        "CASE (h.readings >> 7) & 7 WHEN 1 THEN 'wifi' WHEN 2 THEN 'cellular' WHEN 3 THEN 'ethernet' WHEN 4 THEN 'none' WHEN 5 THEN 'other' END",
    ),
    ("net_validated", "CASE (h.readings >> 3) & 3 WHEN 1 THEN false WHEN 2 THEN true END"),
    ("foreground_recent_s", "h.foreground_recent_small::integer"),
    ("app_running", "CASE (h.readings >> 5) & 3 WHEN 1 THEN false WHEN 2 THEN true END"),
    ("queue_depth", "CASE WHEN h.readings < 0 THEN 0 ELSE h.queue_depth_small::integer END"),
    ("boot_id", "s.boot_id"),
    ("seq", "h.seq_int::bigint"),
    ("cpu_load_pct", "(nullif((h.readings >> 24) & 127, 0) - 1)::smallint"),
];

/// A column of the wide row of `h`, whose session is `s`; `wide` is its wide column, or what stands for it where the table has none.
pub(crate) fn unpacked(column: &str, wide: &str) -> String {
    match UNPACKED.iter().find(|(name, _)| *name == column) {
        Some((_, narrow)) => format!("CASE WHEN h.received_at IS NULL THEN coalesce({narrow}, {wide}) ELSE {wide} END"),
        None => wide.to_owned(),
    }
}

/// What orders the heartbeats of a bucket, of the row `row`: time and number of the device.
pub(crate) fn order_in_bucket(row: &str) -> String {
    format!(
        "(coalesce(CASE WHEN {row}.received_at IS NULL THEN coalesce({row}.bucket_at + {row}.device_time_ms * interval '1 millisecond', \
         {row}.device_time) ELSE {row}.device_time END, '-infinity'), \
         coalesce(CASE WHEN {row}.received_at IS NULL THEN coalesce({row}.seq_int, {row}.seq) ELSE {row}.seq END, -1))"
    )
}

/// Bit of a column in [`NarrowValues::wide`]: its place in the telemetry table.
#[allow(clippy::panic, reason = "for constants: a column that is not in the table does not compile")]
const fn bit(column: &str) -> i32 {
    let mut at = 0;
    while at < NAMES.len() {
        if is_same(NAMES[at].as_bytes(), column.as_bytes()) {
            return 1 << at;
        }
        at += 1;
    }
    panic!("no column has this name")
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// What a heartbeat has in the columns of narrow rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NarrowValues {
    /// Columns of the telemetry table that stay wide, a bit each.
    pub(crate) wide: i32,
    pub(crate) received_us: Option<i32>,
    pub(crate) session: Option<i32>,
    /// `None`: the row is wide.
    pub(crate) readings: Option<i32>,
    pub(crate) seq: Option<i32>,
    pub(crate) uptime: Option<i32>,
    pub(crate) storage_free: Option<i32>,
    pub(crate) temperature: Option<i16>,
    pub(crate) device_time: Option<i16>,
    pub(crate) ram_available: Option<i16>,
    pub(crate) foreground_recent: Option<i16>,
    pub(crate) queue_depth: Option<i16>,
}

impl NarrowValues {
    /// Of a wide row.
    pub(crate) const WIDE: Self = Self {
        wide: -1,
        received_us: None,
        session: None,
        readings: None,
        seq: None,
        uptime: None,
        storage_free: None,
        temperature: None,
        device_time: None,
        ram_available: None,
        foreground_recent: None,
        queue_depth: None,
    };

    /// Of a heartbeat, whose version and boot are those of the session; without one they stay wide.
    pub(crate) fn of(status: &LastStatus, session: Option<i32>) -> Self {
        let Some(received_us) = since_bucket_us(status, status.received_at).and_then(|us| i32::try_from(us).ok()) else {
            return Self::WIDE;
        };
        let told = &status.telemetry;
        let mut left = Left(-1);
        let mut readings = u32::from(status.clock_rejected);
        readings |= answer(told.charging) << 1;
        left.without(const { bit("charging") }, told.charging.is_some());
        readings |= answer(told.net_validated) << 3;
        left.without(const { bit("net_validated") }, told.net_validated.is_some());
        readings |= answer(told.app_running) << 5;
        left.without(const { bit("app_running") }, told.app_running.is_some());
        readings |= told.transport.map_or(0, kind_of_network) << 7;
        left.without(const { bit("transport") }, told.transport.is_some());
        for (value, column, shift) in [
            (told.battery_pct, const { bit("battery_pct") }, 10),
            (told.ram_pressure_pct, const { bit("ram_pressure_pct") }, 17),
            (told.cpu_load_pct, const { bit("cpu_load_pct") }, 24),
        ] {
            // What is out of range is left to the checks of the wide columns.
            if let Some(value @ 0..=100) = value {
                readings |= u32::from(value.unsigned_abs() + 1) << shift;
                left.without(column, true);
            }
        }
        let has_empty_queue = told.queue_depth == Some(0);
        if has_empty_queue {
            readings |= 1 << 31;
            left.without(const { bit("queue_depth") }, true);
        }
        if session.is_some() {
            left.without(const { bit("app_version") | bit("agent_version_code") | bit("boot_id") }, true);
        }
        let temperature = told.battery_temperature_c.and_then(tenths);
        left.without(const { bit("battery_temperature_c") }, temperature.is_some());
        Self {
            received_us: Some(received_us),
            session,
            readings: Some(readings.cast_signed()),
            seq: left.fitting(told.seq, const { bit("seq") }),
            uptime: left.fitting(told.uptime_s, const { bit("uptime_s") }),
            storage_free: left.fitting(told.storage_free_mb, const { bit("storage_free_mb") }),
            temperature,
            device_time: status.device_time.and_then(|at| since_bucket_ms(status, at)),
            ram_available: left.fitting(told.ram_available_mb, const { bit("ram_available_mb") }),
            foreground_recent: left.fitting(told.foreground_recent_s, const { bit("foreground_recent_s") }),
            queue_depth: if has_empty_queue { None } else { left.fitting(told.queue_depth, const { bit("queue_depth") }) },
            wide: left.0,
        }
    }
}

/// Columns that stay wide.
struct Left(i32);

impl Left {
    /// Takes columns away where they are narrow.
    fn without(&mut self, columns: i32, are_narrow: bool) {
        if are_narrow {
            self.0 &= !columns;
        }
    }

    /// The value in fewer bytes, if it fits; then its column is not wide.
    fn fitting<Wide, Narrow: TryFrom<Wide>>(&mut self, value: Option<Wide>, column: i32) -> Option<Narrow> {
        let narrow = value.and_then(|value| Narrow::try_from(value).ok());
        self.without(column, narrow.is_some());
        narrow
    }
}

/// Unknown, no, yes.
fn answer(value: Option<bool>) -> u32 {
    value.map_or(0, |yes| 1 + u32::from(yes))
}

fn kind_of_network(transport: Transport) -> u32 {
    match transport {
        Transport::Wifi => 1,
        Transport::Cellular => 2,
        Transport::Ethernet => 3,
        Transport::None => 4,
        Transport::Other => 5,
    }
}

/// Tenths that are exactly this number again.
fn tenths(value: f32) -> Option<i16> {
    let tenths = (value * 10.0).round();
    if !(f32::from(i16::MIN)..=f32::from(i16::MAX)).contains(&tenths) {
        return None;
    }
    let tenths = tenths as i16;
    ((f32::from(tenths) / 10.0).to_bits() == value.to_bits()).then_some(tenths)
}

/// Time from the start of the bucket, of times as the database has them: to the microsecond.
fn since_bucket_us(status: &LastStatus, at: Timestamp) -> Option<i64> {
    at.timestamp_micros().checked_sub(status.bucket_at.timestamp_micros())
}

/// The same in whole milliseconds.
fn since_bucket_ms(status: &LastStatus, at: Timestamp) -> Option<i16> {
    let us = since_bucket_us(status, at)?;
    if us % 1000 == 0 { i16::try_from(us / 1000).ok() } else { None }
}

#[cfg(test)]
mod tests;
