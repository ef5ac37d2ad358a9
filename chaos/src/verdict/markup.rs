//! Text within HTML and XML. Names come from devices and servers, and may be anything.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

/// Text as it may stand between tags and within quoted attributes. What XML has no character for, or would turn the line around, is
/// replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\r' => {}
            c if c.is_control() => out.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Appends formatted text; writing to a text cannot fail.
macro_rules! put {
    ($out:expr, $($part:tt)*) => {{
        let _ = write!($out, $($part)*);
    }};
}
pub(super) use put;

/// Time since the start of a run, such as `1:04.250`; with a sign where it is before.
pub(super) fn elapsed(us: i64, with_ms: bool) -> String {
    let mut text = if us < 0 { "-".to_owned() } else { String::new() };
    let ms = us.unsigned_abs() / 1_000;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    match hours {
        0 => put!(text, "{minutes}:{seconds:02}"),
        hours => put!(text, "{hours}:{minutes:02}:{seconds:02}"),
    }
    if with_ms {
        put!(text, ".{:03}", ms % 1_000);
    }
    text
}

/// Date and time to the millisecond.
pub(super) fn utc(at_us: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(at_us).map_or_else(|| "?".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}

/// Number to about three digits.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = match magnitude {
        _ if !value.is_finite() => return "?".to_owned(),
        m if m >= 100.0 || m.fract() == 0.0 => format!("{value:.0}"),
        m if m >= 10.0 => format!("{value:.1}"),
        m if m >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    if magnitude < 10_000.0 {
        return text;
    }
    // Thin groups of three digits.
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(escaped("<script>alert('x' & \"y\")</script>"), "&lt;script&gt;alert(&#39;x&#39; &amp; &quot;y&quot;)&lt;/script&gt;");
        assert_eq!(escaped("a\u{0}b\u{1b}c\u{202e}d\r\ne\tf\u{ffff}"), "a\u{fffd}b\u{fffd}c\u{fffd}d\ne\tf\u{fffd}");
    }

    #[test]
    fn times_and_numbers_read_well() {
        for (us, with_ms, text) in
            [(0, false, "0:00"), (64_250_000, true, "1:04.250"), (3_661_000_000, false, "1:01:01"), (-1_500_000, true, "-0:01.500")]
        {
            assert_eq!(elapsed(us, with_ms), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.0123"),
            (1.2345, "1.23"),
            (45.67, "45.7"),
            (123.4, "123"),
            (1_234_567.0, "1,234,567"),
            (-20_000.0, "-20,000"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
