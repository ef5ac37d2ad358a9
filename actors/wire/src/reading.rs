//! A reading of the telemetry table in JSON: its types, and the way to the server's type and back.

use chrono::SecondsFormat;
use domain::telemetry::Transport;
use domain::{Invalid, Timestamp};
use serde_json::value::RawValue;

use crate::lenient::{Float, Int};

/// Adds to rows `{ field type .. }` the types that heartbeats and the API have for it: `{ field [type] [type] [attributes] .. }`.
macro_rules! typed {
    ($then:ident $args:tt [$($done:tt)*]) => { $then! { $args $($done)* } };
    ($then:ident $args:tt [$($done:tt)*] { $field:ident $type:ident $($row:tt)* } $($rest:tt)*) => {
        typed! { @ $type $then $args [$($done)*] { $field { $($row)* } } $($rest)* }
    };
    (@ i16 $($all:tt)*) => { typed! { @@ [Int] [i16] [] $($all)* } };
    (@ i32 $($all:tt)*) => { typed! { @@ [Int] [i32] [] $($all)* } };
    (@ i64 $($all:tt)*) => { typed! { @@ [Int] [i64] [] $($all)* } };
    (@ f32 $($all:tt)*) => { typed! { @@ [Float] [f32] [] $($all)* } };
    (@ f64 $($all:tt)*) => { typed! { @@ [Float] [f64] [] $($all)* } };
    (@ bool $($all:tt)*) => { typed! { @@ [bool] [bool] [] $($all)* } };
    (@ String $($all:tt)*) => { typed! { @@ [String] [String] [] $($all)* } };
    (@ Transport $($all:tt)*) => { typed! { @@ [String] [String] [] $($all)* } };
    (@ Timestamp $($all:tt)*) => { typed! { @@ [String] [String] [] $($all)* } };
    (@ JsonText $($all:tt)*) => {
        typed! { @@ [Box<RawValue>] [String] [#[schema(value_type = Option<serde_json::Value>)]] $($all)* }
    };
    (@@ $heartbeat:tt $api:tt $attributes:tt $then:ident $args:tt [$($done:tt)*] { $field:ident { $($row:tt)* } } $($rest:tt)*) => {
        typed! { $then $args [$($done)* { $field $heartbeat $api $attributes $($row)* }] $($rest)* }
    };
}

/// A value as it was sent, or nothing if it is the number that stands for unknown.
macro_rules! known {
    ([$min:literal, $max:literal, unknown $unknown:literal $(, cap)?] $($value:tt)*) => {
        $($value)*.filter(|sent| sent.0 != $unknown)
    };
    ($range:tt $($value:tt)*) => {
        $($value)*
    };
}

/// A type of the telemetry table, in the form that heartbeats have.
pub(crate) trait Reading<Sent>: Sized {
    /// The value of what was sent.
    fn received(path: &str, sent: Sent) -> Result<Self, Invalid>;
    /// The value as a heartbeat has it.
    fn sent(&self) -> Sent;
}

/// The value of what was sent, if there is one.
///
/// # Errors
/// It is none of its type.
pub(crate) fn received<Sent, T: Reading<Sent>>(path: &str, sent: Option<Sent>) -> Result<Option<T>, Invalid> {
    sent.map(|sent| T::received(path, sent)).transpose()
}

/// A value as a heartbeat has it.
pub(crate) fn sent<Sent, T: Reading<Sent>>(value: &Option<T>) -> Option<Sent> {
    value.as_ref().map(T::sent)
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Reading<Int> for $type {
            fn received(path: &str, Int(number): Int) -> Result<Self, Invalid> {
                Self::try_from(number).map_err(|_| Invalid::new(path, format!("{number} is out of range")))
            }
            fn sent(&self) -> Int {
                Int((*self).into())
            }
        }
    )+};
}
whole_numbers!(i16, i32, i64);

impl Reading<Float> for f32 {
    fn received(_path: &str, sent: Float) -> Result<Self, Invalid> {
        Ok(sent.0 as Self)
    }
    fn sent(&self) -> Float {
        // By its digits: 31.1 is not 31.100000381.
        Float(self.to_string().parse().unwrap_or_else(|_| (*self).into()))
    }
}

impl Reading<Float> for f64 {
    fn received(_path: &str, sent: Float) -> Result<Self, Invalid> {
        Ok(sent.0)
    }
    fn sent(&self) -> Float {
        Float(*self)
    }
}

impl Reading<bool> for bool {
    fn received(_path: &str, sent: bool) -> Result<Self, Invalid> {
        Ok(sent)
    }
    fn sent(&self) -> bool {
        *self
    }
}

impl Reading<String> for String {
    fn received(_path: &str, sent: String) -> Result<Self, Invalid> {
        Ok(sent)
    }
    fn sent(&self) -> String {
        self.clone()
    }
}

impl Reading<String> for Transport {
    fn received(path: &str, sent: String) -> Result<Self, Invalid> {
        Self::parse(path, &sent)
    }
    fn sent(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Reading<String> for Timestamp {
    fn received(path: &str, sent: String) -> Result<Self, Invalid> {
        domain::time::parse(&sent).ok_or_else(|| Invalid::new(path, "not a time as in 2026-11-21T15:36:17Z"))
    }
    fn sent(&self) -> String {
        self.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

/// `JsonText`.
impl Reading<Box<RawValue>> for String {
    fn received(_path: &str, sent: Box<RawValue>) -> Result<Self, Invalid> {
        Ok(sent.get().to_owned())
    }
    fn sent(&self) -> Box<RawValue> {
        RawValue::from_string(self.clone()).unwrap_or_default()
    }
}

/// A type of the telemetry table, in the form that the API has.
pub(crate) trait ApiForm<T> {
    fn shown(&self) -> T;
}

/// A value as the API shows it.
pub(crate) fn shown<T, Value: ApiForm<T>>(value: &Value) -> T {
    value.shown()
}

macro_rules! shown_as_they_are {
    ($($type:ty),+) => {$(
        impl ApiForm<$type> for $type {
            fn shown(&self) -> $type {
                self.clone()
            }
        }
    )+};
}
shown_as_they_are!(i16, i32, i64, f32, f64, bool, String);

impl ApiForm<String> for Transport {
    fn shown(&self) -> String {
        self.as_str().to_owned()
    }
}

impl ApiForm<String> for Timestamp {
    fn shown(&self) -> String {
        self.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}
