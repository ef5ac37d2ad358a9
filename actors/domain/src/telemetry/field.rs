//! A row of the telemetry table at run time: what pages, exports and documents need to know of a field.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::{Telemetry, Transport};
use crate::Timestamp;

/// Rank of what is unknown: before everything that is known.
pub const UNKNOWN_RANK: i64 = -1;

/// A field of the telemetry.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Field number between nodes.
    pub number: u16,
    /// Name in the server, the API and exports.
    pub name: &'static str,
    /// Path in the heartbeat.
    pub path: &'static str,
    /// Type, by its name in the table.
    pub kind: &'static str,
    /// Description of the field, a sentence.
    pub about: &'static str,
    /// Name on the device page.
    pub label: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Range of numbers, largest size of text; empty when every value is fine.
    pub range: &'static str,
    /// Place of storage.
    pub storage: Storage,
    /// Whether it has a history.
    pub plotted: bool,
    /// Whether the API shows it.
    pub in_api: bool,
    /// Place among the telemetry of the device export.
    pub csv: Option<u8>,
    /// Whether lists of devices can be sorted by it.
    pub sortable: bool,
    /// Place on the device page.
    pub page: Page,
    /// Name by which the configuration asks for it; `None` for what is always kept.
    pub opt_in: Option<&'static str>,
    /// The reading of a device.
    pub get: fn(&Telemetry) -> Option<Reading<'_>>,
    /// Drops the reading.
    pub clear: fn(&mut Telemetry),
}

/// By the number, which no other field has.
impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Field {}

impl Hash for Field {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl Field {
    /// The field of this number; there has to be one.
    #[allow(clippy::panic, reason = "for constants: a number that is not in the table does not compile")]
    pub const fn numbered(number: u16) -> &'static Self {
        let mut at = 0;
        while at < super::FIELDS.len() {
            if super::FIELDS[at].number == number {
                return &super::FIELDS[at];
            }
            at += 1;
        }
        panic!("no field has this number")
    }

    /// Place of a device in the order of this field: the value, -1 when it is unknown.
    pub fn rank(&self, telemetry: Option<&Telemetry>) -> i64 {
        match telemetry.and_then(self.get) {
            Some(Reading::Integer(number)) => number,
            _ => UNKNOWN_RANK,
        }
    }

    /// Whether a text is a rank of this field.
    pub fn is_rank(&self, text: &str) -> bool {
        match self.kind {
            "i16" => text.parse::<i16>().is_ok(),
            "i32" => text.parse::<i32>().is_ok(),
            _ => text.parse::<i64>().is_ok(),
        }
    }

    /// The fields of the device export, in its order.
    pub fn exported() -> Vec<&'static Self> {
        let mut fields: Vec<_> = super::FIELDS.iter().filter(|field| field.csv.is_some()).collect();
        fields.sort_by_key(|field| field.csv);
        fields
    }
}

/// The unit of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// No number, or one that only identifies.
    None,
    /// Parts of a hundred.
    Percent,
    /// Degrees Celsius.
    Celsius,
    /// Seconds.
    Seconds,
    /// MiB.
    Mebibytes,
    /// Degrees of an angle.
    Degrees,
    /// Meters.
    Meters,
    /// Things.
    Count,
}

impl Unit {
    /// Symbol in documents.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::None | Self::Count => "",
            Self::Percent => "%",
            Self::Celsius => "°C",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::Degrees => "°",
            Self::Meters => "m",
        }
    }
}

/// Place of a field in the database, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "as the table writes them")]
pub enum Storage {
    /// Column of every heartbeat and of the last status.
    column(&'static str),
    /// Column of the last status only.
    status(&'static str),
    /// Key in the details of the last status.
    detail(&'static str),
}

/// Place of a field on the device page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Not listed by its row: it is shown as a part of something else, or not at all.
    Elsewhere,
    /// In the list of this section.
    Listed(Section),
    /// In brackets behind the field before it, after these words.
    Behind(&'static str),
}

/// List of fields on the device page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Operating system and hardware.
    System,
    /// The agent and what it may do.
    Agent,
}

/// A reading of any field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading<'a> {
    /// Yes or no.
    Flag(bool),
    /// Whole number.
    Integer(i64),
    /// Number, single precision.
    Single(f32),
    /// Number, double precision.
    Double(f64),
    /// Text.
    Text(&'a str),
    /// Time.
    Time(Timestamp),
}

impl fmt::Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Single(number) => number.fmt(f),
            Self::Double(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Time(at) => at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).fmt(f),
        }
    }
}

/// A type of the table, as a reading.
pub(super) trait AsReading {
    fn reading(&self) -> Reading<'_>;
}

macro_rules! as_reading {
    ($($type:ty => $reading:expr),+ $(,)?) => {$(
        impl AsReading for $type {
            fn reading(&self) -> Reading<'_> {
                let reading: fn(&$type) -> Reading<'_> = $reading;
                reading(self)
            }
        }
    )+};
}
as_reading! {
    bool => |flag| Reading::Flag(*flag),
    i16 => |number| Reading::Integer((*number).into()),
    i32 => |number| Reading::Integer((*number).into()),
    i64 => |number| Reading::Integer(*number),
    f32 => |number| Reading::Single(*number),
    f64 => |number| Reading::Double(*number),
    String => |text| Reading::Text(text),
    Transport => |transport| Reading::Text(transport.as_str()),
    Timestamp => |at| Reading::Time(*at),
}

/// A range of the table as text.
macro_rules! range {
    ([]) => {
        ""
    };
    ([bytes $max:literal]) => {
        concat!("up to ", $max, " bytes")
    };
    ([$max:literal]) => {
        concat!("up to ", $max, " characters")
    };
    ([$min:literal, $max:literal]) => {
        concat!($min, "..", $max)
    };
    ([$min:literal, $max:literal, unknown $unknown:literal]) => {
        concat!($min, "..", $max, ", ", $unknown, ": unknown")
    };
}
/// Whether a cell of the table is filled.
macro_rules! given {
    ([]) => {
        false
    };
    ([$($cell:tt)+]) => {
        true
    };
}
/// A cell that may be empty.
macro_rules! option {
    () => {
        None
    };
    ($cell:expr) => {
        Some($cell)
    };
}
/// The cell of the device page.
macro_rules! page {
    ([]) => {
        Page::Elsewhere
    };
    ([in $words:literal]) => {
        Page::Behind($words)
    };
    ([$section:ident]) => {
        Page::Listed(Section::$section)
    };
}
pub(super) use {given, option, page, range};
