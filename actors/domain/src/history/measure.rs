//! Aggregates of heartbeats over a period: sums of each measure and question of the telemetry table, and their averages.

use super::Point;
use crate::heartbeat::Telemetry;
use crate::telemetry;
use crate::telemetry::Unit;

/// A reading as a number.
trait Numeric: Copy {
    fn number(self) -> f64;
}

macro_rules! numeric {
    ($($type:ty),+) => {$(
        impl Numeric for $type {
            fn number(self) -> f64 {
                self as f64
            }
        }
    )+};
}
numeric!(i16, i32, i64, f32);

/// A measure at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The least.
    pub min: f64,
    /// The average.
    pub avg: f64,
    /// The most.
    pub max: f64,
}

/// A measure over some heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measure {
    /// Number of values.
    pub n: i64,
    /// The least.
    pub min: f64,
    /// The sum.
    pub sum: f64,
    /// The most.
    pub max: f64,
}

impl Measure {
    /// The one value of a heartbeat.
    fn told(value: Option<impl Numeric>) -> Self {
        value.map_or_else(Self::default, |value| {
            let value = value.number();
            Self { n: 1, min: value, sum: value, max: value }
        })
    }

    pub(super) fn add(&mut self, other: &Self) {
        if other.n > 0 {
            (self.min, self.max) = if self.n == 0 { (other.min, other.max) } else { (self.min.min(other.min), self.max.max(other.max)) };
            self.n += other.n;
            self.sum += other.sum;
        }
    }

    pub(super) fn summary(&self) -> Option<Summary> {
        // A sum of rounded values may leave an average a hair outside.
        (self.n > 0).then(|| Summary { min: self.min, avg: (self.sum / self.n as f64).clamp(self.min, self.max), max: self.max })
    }
}

/// A question over some heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Number of answers.
    pub n: i64,
    /// Number of positive answers.
    pub yes: i64,
}

impl Answers {
    /// The one answer of a heartbeat.
    fn told(answer: Option<bool>) -> Self {
        answer.map_or_else(Self::default, |yes| Self { n: 1, yes: i64::from(yes) })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.n += other.n;
        self.yes += other.yes;
    }

    pub(super) fn share(self) -> Option<f64> {
        (self.n > 0).then(|| self.yes as f64 / self.n as f64)
    }
}

macro_rules! history_types {
    ({}
        measures { $( { $field:ident $column:tt $prefix:tt $about:tt $label:tt $unit:ident [$($tone:tt)?] } )* }
        shares { $( { $answer:ident $share:ident $answer_column:tt $answer_prefix:tt $answer_about:tt } )* }
    ) => {
        /// A value for each measure of the telemetry table.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Measures<T> {
            $(#[doc = $about] pub $field: T,)*
        }

        impl<T> Measures<T> {
            /// The values in the order of the table.
            pub fn from_fn(mut value: impl FnMut() -> T) -> Self {
                Self { $($field: value(),)* }
            }

            /// Each value as another one.
            pub fn map<U>(self, change: impl Fn(T) -> U) -> Measures<U> {
                Measures { $($field: change(self.$field),)* }
            }
        }

        impl Measures<Measure> {
            /// What one heartbeat told.
            pub(super) fn told(telemetry: &Telemetry) -> Self {
                Self { $($field: Measure::told(telemetry.$field),)* }
            }

            pub(super) fn add(&mut self, other: &Self) {
                $(self.$field.add(&other.$field);)*
            }
        }

        /// A value for each question of the telemetry table: what heartbeats answer with yes or no.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Shares<T> {
            $(#[doc = $answer_about] pub $answer: T,)*
        }

        impl<T> Shares<T> {
            /// The values in the order of the table.
            pub fn from_fn(mut value: impl FnMut() -> T) -> Self {
                Self { $($answer: value(),)* }
            }

            /// Each value as another one.
            pub fn map<U>(self, change: impl Fn(T) -> U) -> Shares<U> {
                Shares { $($answer: change(self.$answer),)* }
            }
        }

        impl Shares<Answers> {
            /// What one heartbeat told.
            pub(super) fn told(telemetry: &Telemetry) -> Self {
                Self { $($answer: Answers::told(telemetry.$answer),)* }
            }

            pub(super) fn add(&mut self, other: &Self) {
                $(self.$answer.add(other.$answer);)*
            }
        }

        /// Plots of the device page, in the order of the table.
        pub const CHARTS: &[Chart] = &[$($(Chart {
            name: $prefix,
            label: $label,
            unit: Unit::$unit,
            tone: $tone,
            summary: |point| point.measures.$field,
        },)?)*];
    };
}
telemetry! { history => history_types {} }

/// A plot of one measure.
#[derive(Debug, Clone, Copy)]
pub struct Chart {
    /// Name, unique among the plots.
    pub name: &'static str,
    /// Title.
    pub label: &'static str,
    /// Unit of the values.
    pub unit: Unit,
    /// Colour, a role of the style sheet.
    pub tone: &'static str,
    /// The measure at a point.
    pub summary: fn(&Point) -> Option<Summary>,
}
