//! Quantities in words: counts, percentages, sizes and times, one function for each.

use crate::Timestamp;

/// Number with thousands separators.
pub fn number(value: u64) -> String {
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

/// Count of things: "1 device", "2,000 devices".
pub fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// Whole percentages of parts, which add up to 100: what rounding down leaves goes to the largest remainders. All are 0 where the parts are.
pub fn percentages(parts: &[u64]) -> Vec<u64> {
    let whole: u128 = parts.iter().map(|part| u128::from(*part)).sum();
    if whole == 0 {
        return vec![0; parts.len()];
    }
    let hundredfold = |part: u64| u128::from(part) * 100;
    let mut rounded: Vec<u64> = parts.iter().map(|part| u64::try_from(hundredfold(*part) / whole).unwrap_or(100)).collect();
    let left = 100_u64.saturating_sub(rounded.iter().sum());
    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    // Among equal remainders the larger part, then the first.
    by_remainder.sort_by_key(|at| std::cmp::Reverse((hundredfold(parts[*at]) % whole, parts[*at])));
    for at in by_remainder.into_iter().take(usize::try_from(left).unwrap_or_default()) {
        rounded[at] += 1;
    }
    rounded
}

/// Percentages of parts as text, adding up to 100; yet never "0 %" of some, nor "100 %" of not all.
pub fn shares(parts: &[u64]) -> Vec<String> {
    let whole: u64 = parts.iter().sum();
    parts.iter().zip(percentages(parts)).map(|(part, pct)| share_text(*part, whole, pct)).collect()
}

/// Percentage of one part as text.
pub fn share(part: u64, whole: u64) -> String {
    let part = part.min(whole);
    share_text(part, whole, percentages(&[part, whole - part])[0])
}

fn share_text(part: u64, whole: u64, pct: u64) -> String {
    match pct {
        0 if part > 0 => "<1 %".into(),
        100 if part < whole => ">99 %".into(),
        pct => format!("{pct} %"),
    }
}

/// Size given in bytes: "900 B", "8.5 KB", "12.3 MB", "3.8 GB".
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut size, mut at) = (bytes as f64 / 1024.0, 0);
    // What would be rounded to 1024.0 is 1.0 of the next unit.
    while size >= 1023.95 && at + 1 < UNITS.len() {
        size /= 1024.0;
        at += 1;
    }
    format!("{size:.1} {}", UNITS[at])
}

/// Size given in MiB, whole below 1 GB: "640 MB", "3.8 GB", "1.2 TB".
pub fn mebibytes(mib: i64) -> String {
    let mib = mib.max(0).unsigned_abs();
    if mib < 1024 { format!("{mib} MB") } else { bytes(mib.saturating_mul(1 << 20)) }
}

/// How long ago `at` was: "just now", "5 min ago", "3 h ago", "2 d ago"; or how far ahead.
pub fn relative(now: Timestamp, at: Timestamp) -> String {
    let ms = (now - at).num_milliseconds();
    match ms {
        -9_999..10_000 => "just now".into(),
        10_000.. => format!("{} ago", coarse(ms)),
        _ => format!("in {}", coarse(-ms)),
    }
}

/// Length of time in one unit, rounded.
fn coarse(ms: i64) -> String {
    let rounded = |unit_s: i64| (ms + unit_s * 500) / (unit_s * 1000);
    let units = [(60, "min", 60), (3_600, "h", 24), (86_400, "d", 365)];
    if rounded(10) < 6 {
        return format!("{} s", rounded(10) * 10);
    }
    match units.into_iter().map(|(unit_s, name, most)| (rounded(unit_s), name, most)).find(|(count, _, most)| count < most) {
        Some((count, name, _)) => format!("{} {name}", count.max(1)),
        None => format!("{} y", rounded(31_536_000)),
    }
}

/// Length of time in its two largest units, rounded: "1 d 4 h".
pub fn duration(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = seconds.max(0);
    let Some(largest) = UNITS.iter().position(|(length, _)| seconds >= *length) else { return "0 s".into() };
    let smallest = UNITS[(largest + 1).min(UNITS.len() - 1)].0;
    let mut rest = seconds.saturating_add(smallest / 2) / smallest * smallest;
    // Rounded up it may be one of the next larger unit.
    let largest = largest.saturating_sub(1);
    let mut parts = Vec::new();
    for (length, unit) in &UNITS[largest..] {
        if rest >= *length {
            parts.push(format!("{} {unit}", number((rest / length).unsigned_abs())));
            rest %= length;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn numbers_are_grouped_and_plurals_follow_them() {
        assert_eq!([number(0), number(999), number(1000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        let devices = |value| count(value, "device", "devices");
        assert_eq!([devices(0), devices(1), devices(2000)], ["0 devices", "1 device", "2,000 devices"]);
    }

    #[test]
    fn percentages_of_the_parts_of_a_whole_add_up() {
        assert_eq!(percentages(&[5000, 200]), [96, 4]);
        assert_eq!(percentages(&[1, 1, 1]), [34, 33, 33]);
        assert_eq!(percentages(&[42, 0, 0, 158]), [21, 0, 0, 79]);
        assert_eq!(percentages(&[0, 0]), [0, 0]);
        assert_eq!(percentages(&[]), [0_u64; 0]);
        assert_eq!(percentages(&[u64::MAX, u64::MAX]), [50, 50]);
    }

    #[test]
    fn shares_never_hide_a_few() {
        assert_eq!([share(0, 10), share(10, 10), share(5, 10), share(0, 0)], ["0 %", "100 %", "50 %", "0 %"]);
        assert_eq!([share(1, 10_000), share(9_999, 10_000)], ["<1 %", ">99 %"]);
        assert_eq!(shares(&[5000, 200]), ["96 %", "4 %"]);
        assert_eq!(shares(&[9_999, 1, 0]), [">99 %", "<1 %", "0 %"]);
    }

    #[test]
    fn sizes_grow_units() {
        assert_eq!([mebibytes(0), mebibytes(640), mebibytes(3891), mebibytes(1_258_291)], ["0 MB", "640 MB", "3.8 GB", "1.2 TB"]);
        assert_eq!([bytes(0), bytes(900), bytes(8675), bytes(12_900_000), bytes(1 << 31)], ["0 B", "900 B", "8.5 KB", "12.3 MB", "2.0 GB"]);
        assert_eq!([bytes((1 << 20) - 1), bytes((1 << 30) - 1), mebibytes((1 << 20) - 1)], ["1.0 MB", "1.0 GB", "1.0 TB"]);
    }

    #[test]
    fn relative_times_are_rounded() {
        let ago = |seconds: i64| relative(at(0), at(-seconds));
        for (seconds, text) in [
            (0, "just now"),
            (9, "just now"),
            (14, "10 s ago"),
            (19, "20 s ago"),
            (56, "1 min ago"),
            (61, "1 min ago"),
            (3569, "59 min ago"),
            (3599, "1 h ago"),
            (7200, "2 h ago"),
            (86_399, "1 d ago"),
            (86_400 * 40, "40 d ago"),
            (86_400 * 800, "2 y ago"),
            (-5, "just now"),
            (-7200, "in 2 h"),
            (-(86_400 - 1), "in 1 d"),
            (-(7 * 86_400 - 1), "in 7 d"),
        ] {
            assert_eq!(ago(seconds), text, "{seconds} s");
        }
    }

    #[test]
    fn durations_have_two_units_and_are_rounded() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (3600, "1 h"),
            (3700, "1 h 2 min"),
            (86_400 + 59, "1 d"),
            (7 * 86_400 - 1, "7 d"),
            (86_399, "1 d"),
            (86_400 * 1234 + 3600 * 4, "1,234 d 4 h"),
            (-5, "0 s"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds} s");
        }
    }

    proptest! {
        #[test]
        fn rounding_moves_no_part_by_one_percent(parts in proptest::collection::vec(0_u64..10_000_000, 1..9)) {
            let whole: u64 = parts.iter().sum();
            let rounded = percentages(&parts);
            prop_assert_eq!(rounded.iter().sum::<u64>(), if whole == 0 { 0 } else { 100 });
            for (part, pct) in parts.iter().zip(rounded) {
                let exact = if whole == 0 { 0.0 } else { *part as f64 * 100.0 / whole as f64 };
                prop_assert!((pct as f64 - exact).abs() < 1.0);
            }
        }

        #[test]
        fn a_duration_has_at_most_two_units(seconds in 0_i64..100_000_000) {
            prop_assert!(duration(seconds).split(' ').count() <= 4);
        }
    }
}
