//! Values as devices send them, and what the telemetry table takes of each: one that is unusable costs no other.

use std::fmt;
use std::str::FromStr;

use crate::text::{fit_line, line};
use crate::{Timestamp, time};

/// A value as a device sent it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sent<'a> {
    /// Yes or no.
    Flag(bool),
    /// Whole number.
    Whole(i128),
    /// Number with a fraction, or one beyond the whole numbers.
    Fraction(f64),
    /// Text.
    Text(&'a str),
    /// JSON text: of a list or an object, and of anything where the field keeps JSON.
    Json(&'a str),
}

impl fmt::Display for Sent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            // With its exponent, where it has one: 1e99 is not a hundred digits.
            Self::Fraction(number) => fmt::Debug::fmt(number, f),
            Self::Text(text) | Self::Json(text) => text.fmt(f),
        }
    }
}

/// The reading that a value gives, and the problem of one that could not be used as it was.
#[derive(Debug, PartialEq)]
pub(super) struct Taken<T> {
    pub(super) value: Option<T>,
    pub(super) problem: Option<String>,
}

impl<T> Taken<T> {
    fn known(value: T) -> Self {
        Self { value: Some(value), problem: None }
    }

    fn unknown() -> Self {
        Self { value: None, problem: None }
    }

    fn unusable(problem: impl Into<String>) -> Self {
        Self { value: None, problem: Some(problem.into()) }
    }
}

/// A type of the telemetry table without a range.
pub(super) trait Plain: Sized {
    fn read(sent: Sent<'_>) -> Result<Self, &'static str>;
}

impl Plain for bool {
    fn read(sent: Sent<'_>) -> Result<Self, &'static str> {
        let is_word = |text: &str, words: [&str; 4]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
        match sent {
            Sent::Flag(flag) => Ok(flag),
            Sent::Whole(number @ (0 | 1)) => Ok(number == 1),
            Sent::Text(text) if is_word(text, ["true", "yes", "on", "1"]) => Ok(true),
            Sent::Text(text) if is_word(text, ["false", "no", "off", "0"]) => Ok(false),
            _ => Err("neither true nor false"),
        }
    }
}

impl Plain for Timestamp {
    fn read(sent: Sent<'_>) -> Result<Self, &'static str> {
        let problem = "not a time as in 2026-11-21T15:36:17Z";
        let Sent::Text(text) = sent else { return Err(problem) };
        time::parse(text).ok_or(problem)
    }
}

/// A value of a type without a range.
pub(super) fn plain<T: Plain>(sent: Sent<'_>) -> Taken<T> {
    T::read(sent).map_or_else(Taken::unusable, Taken::known)
}

/// A type of numbers, within a wider one in which values are compared with their range.
pub(super) trait Number: Copy + fmt::Display {
    type Wide: Copy + PartialOrd;
    fn read(sent: Sent<'_>) -> Result<Self::Wide, &'static str>;
    fn wide(self) -> Self::Wide;
    /// The value of a number that is within range.
    fn narrow(wide: Self::Wide) -> Self;
}

const NOT_A_NUMBER: &str = "not a number";

macro_rules! numbers {
    ($($type:ty: $wide:ty = $read:ident),+ $(,)?) => {$(
        impl Number for $type {
            type Wide = $wide;
            fn read(sent: Sent<'_>) -> Result<$wide, &'static str> {
                $read(sent)
            }
            fn wide(self) -> $wide {
                <$wide>::from(self)
            }
            fn narrow(wide: $wide) -> Self {
                wide as Self
            }
        }
    )+};
}
numbers! { i16: i128 = whole, i32: i128 = whole, i64: i128 = whole, f32: f64 = fraction, f64: f64 = fraction }

/// A whole number; a fraction is rounded.
fn whole(sent: Sent<'_>) -> Result<i128, &'static str> {
    match sent {
        Sent::Whole(number) => Ok(number),
        Sent::Text(text) if digits(text).parse::<i128>().is_ok() => digits(text).parse().map_err(|_| NOT_A_NUMBER),
        // What is beyond every range saturates.
        other => fraction(other).map(|number| number.round() as i128),
    }
}

/// The number of a text, without blanks around it and a percent sign behind it. Other units are not taken off: what they stand for may
/// be another unit than the field's.
fn digits(text: &str) -> &str {
    let text = text.trim();
    text.strip_suffix('%').map_or(text, str::trim_end)
}

fn fraction(sent: Sent<'_>) -> Result<f64, &'static str> {
    let number = match sent {
        Sent::Whole(number) => number as f64,
        Sent::Fraction(number) => number,
        // 1e400 is a number, "Infinity" is none.
        Sent::Text(text) if text.bytes().any(|byte| byte.is_ascii_digit()) => digits(text).parse().map_err(|_| NOT_A_NUMBER)?,
        _ => return Err(NOT_A_NUMBER),
    };
    if number.is_nan() { Err(NOT_A_NUMBER) } else { Ok(number) }
}

/// A number within its range. `unknown` stands for a reading that the device does not have.
pub(super) fn number<T: Number>(sent: Sent<'_>, min: T, max: T, unknown: Option<T>, cap: bool) -> Taken<T> {
    let number = match T::read(sent) {
        Ok(number) => number,
        Err(problem) => return Taken::unusable(problem),
    };
    if unknown.is_some_and(|unknown| unknown.wide() == number) {
        Taken::unknown()
    } else if number >= min.wide() && number <= max.wide() {
        Taken::known(T::narrow(number))
    } else if cap && number > max.wide() {
        Taken::known(max)
    } else {
        Taken::unusable(format!("outside {min}..{max}"))
    }
}

/// Text of so many characters on one line, without what nobody would see; with `cut`, the first ones of longer text.
pub(super) fn text(sent: Sent<'_>, max_chars: usize, cut: bool) -> Taken<String> {
    let mut kept = match sent {
        Sent::Text(text) => text.to_owned(),
        // A release of Android is 13 as well as "13".
        Sent::Whole(_) | Sent::Fraction(_) => sent.to_string(),
        Sent::Flag(_) | Sent::Json(_) => return Taken::unusable("not text"),
    };
    let hidden = line("", &kept, kept.len()).err().map(|invalid| invalid.problem);
    if hidden.is_some() {
        fit_line(&mut kept, usize::MAX);
    }
    if kept.is_empty() {
        return hidden.map_or_else(Taken::unknown, Taken::unusable);
    }
    let too_long = line("", &kept, max_chars).err().map(|invalid| invalid.problem);
    match too_long {
        Some(problem) if !cut => Taken::unusable(problem),
        Some(_) => {
            fit_line(&mut kept, max_chars);
            Taken { value: Some(kept), problem: Some(format!("longer than {max_chars} characters; cut")) }
        }
        None => Taken { value: Some(kept), problem: hidden.map(|problem| format!("{problem}; left out")) },
    }
}

/// One of some words, in whatever case; any other is `fallback`.
pub(super) fn word<T: FromStr>(sent: Sent<'_>, fallback: &str) -> Taken<T> {
    let Sent::Text(text) = sent else { return Taken::unusable("not text") };
    match text.trim().to_ascii_lowercase().parse() {
        Ok(known) => Taken::known(known),
        Err(_) => Taken { value: fallback.parse().ok(), problem: Some(format!("unknown word; taken as {fallback}")) },
    }
}

/// JSON of so many bytes.
pub(super) fn json(sent: Sent<'_>, max_bytes: usize) -> Taken<String> {
    let text = sent.to_string();
    if text.len() > max_bytes { Taken::unusable(format!("more than {max_bytes} bytes")) } else { Taken::known(text) }
}

/// What a row takes of a value, by its type and the cell of its range.
macro_rules! take {
    ([], $type:ty, $sent:expr) => {
        sent::plain::<$type>($sent)
    };
    ([else $word:ident], $type:ty, $sent:expr) => {
        sent::word::<$type>($sent, stringify!($word))
    };
    ([bytes $max:literal], $type:ty, $sent:expr) => {
        sent::json($sent, $max)
    };
    ([$max:literal], $type:ty, $sent:expr) => {
        sent::text($sent, $max, false)
    };
    ([$max:literal, cut], $type:ty, $sent:expr) => {
        sent::text($sent, $max, true)
    };
    ([$min:literal, $max:literal], $type:ty, $sent:expr) => {
        sent::number::<$type>($sent, $min, $max, None, false)
    };
    ([$min:literal, $max:literal, cap], $type:ty, $sent:expr) => {
        sent::number::<$type>($sent, $min, $max, None, true)
    };
    ([$min:literal, $max:literal, unknown $unknown:literal], $type:ty, $sent:expr) => {
        sent::number::<$type>($sent, $min, $max, Some($unknown), false)
    };
    ([$min:literal, $max:literal, unknown $unknown:literal, cap], $type:ty, $sent:expr) => {
        sent::number::<$type>($sent, $min, $max, Some($unknown), true)
    };
}
pub(super) use take;
