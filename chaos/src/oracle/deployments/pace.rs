//! Rate and concurrency of a deployment, from its attempts.

use super::facts::AttemptRow;

const MINUTE_US: i64 = 60_000_000;

/// The most starts within less than a minute, and the time of the last of them, microseconds.
pub fn most_in_a_minute(attempts: &[&AttemptRow]) -> (usize, i64) {
    let mut starts: Vec<i64> = attempts.iter().map(|attempt| attempt.started_us).collect();
    starts.sort_unstable();
    let (mut first, mut most) = (0, (0, 0));
    for (place, at_us) in starts.iter().enumerate() {
        while at_us - starts[first] >= MINUTE_US {
            first += 1;
        }
        if place + 1 - first > most.0 {
            most = (place + 1 - first, *at_us);
        }
    }
    most
}

/// The most concurrent attempts, and the first time with so many, microseconds.
pub fn most_at_a_time(attempts: &[&AttemptRow]) -> (usize, i64) {
    // At equal times, ends come before starts.
    let ends = attempts.iter().filter_map(|attempt| Some((attempt.finished_us?.max(attempt.started_us), false)));
    let mut turns: Vec<(i64, bool)> = ends.chain(attempts.iter().map(|attempt| (attempt.started_us, true))).collect();
    turns.sort_unstable();
    let (mut under_way, mut most) = (0_i64, (0_i64, 0));
    for (at_us, begins) in turns {
        under_way += if begins { 1 } else { -1 };
        if under_way > most.0 {
            most = (under_way, at_us);
        }
    }
    (usize::try_from(most.0).unwrap_or(0), most.1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::attempt;
    use super::*;

    #[test]
    fn a_minute_is_any_minute_and_has_no_end() {
        let starts = |at: &[i64]| {
            let rows: Vec<AttemptRow> = at.iter().map(|ms| attempt("d", ms * 1_000, None)).collect();
            most_in_a_minute(&rows.iter().collect::<Vec<_>>())
        };
        assert_eq!(starts(&[]), (0, 0));
        assert_eq!(starts(&[0, 60_000, 120_000]).0, 1, "a minute apart is not within one");
        assert_eq!(starts(&[50_000, 109_999, 200_000, 0]), (2, 50_000_000));
        assert_eq!(starts(&[0, 30_000, 50_000, 80_000, 100_000, 109_999]), (4, 109_999_000));
    }

    #[test]
    fn attempts_overlap_until_they_end() {
        let spans = |spans: &[(i64, Option<i64>)]| {
            let rows: Vec<AttemptRow> = spans.iter().map(|(from, to)| attempt("d", *from, *to)).collect();
            most_at_a_time(&rows.iter().collect::<Vec<_>>())
        };
        assert_eq!(spans(&[(0, Some(10)), (10, Some(20))]), (1, 0), "one after the other");
        assert_eq!(spans(&[(0, Some(11)), (10, Some(20)), (15, None), (16, None)]), (3, 16));
        assert_eq!(spans(&[(5, Some(5))]), (0, 0), "ended as it began");
    }
}
