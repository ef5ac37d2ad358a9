//! Daily partitions of `heartbeats`: which there should be, what is recorded of each, and the next steps of their life.
//!
//! ```text
//! open -> settled -> archived -> verified -> dropped -> (restoring -> restored -> dropped)
//! ```

mod plan;
mod record;

use chrono::{Days, NaiveDate};

pub use plan::{Action, Cause, DayPlan, DaySeen, PartitionSettings, Step, TableSeen, VERIFIED_FOR, Wait, is_expired, plan, settles_at};
pub use record::{ArchiveRecord, PartitionRecord, PartitionState, Progress};

/// Days before today that late heartbeats may still belong to.
pub const PAST_DAYS: u64 = 7;
/// Days after today that are prepared.
pub const AHEAD_DAYS: u64 = 7;

/// The days whose partitions must exist on `today`, oldest first: the week that
/// late heartbeats may belong to, today, and the week ahead.
pub fn wanted_days(today: NaiveDate) -> Vec<NaiveDate> {
    let first = today - Days::new(PAST_DAYS);
    (0..=PAST_DAYS + AHEAD_DAYS).map(|n| first + Days::new(n)).collect()
}

/// The table of one day, `heartbeats_p20261121`.
pub fn table_name(day: NaiveDate) -> String {
    format!("heartbeats_p{}", day.format("%Y%m%d"))
}

/// The day of a daily table; `None` for the default one.
pub fn day_of(table: &str) -> Option<NaiveDate> {
    let digits = table.strip_prefix("heartbeats_p").filter(|digits| digits.len() == 8)?;
    NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_read_back_as_days() {
        let day = NaiveDate::from_ymd_opt(2026, 12, 30).unwrap();
        assert_eq!((day_of(&table_name(day)), day_of("heartbeats_default")), (Some(day), None));
        assert_eq!((day_of("heartbeats_p2026123"), day_of("heartbeats_p+2026123")), (None, None), "no name of ours");
    }

    #[test]
    fn a_week_back_today_and_a_week_ahead_across_a_year_end() {
        let days = wanted_days(NaiveDate::from_ymd_opt(2026, 12, 30).unwrap());
        assert_eq!(days.len(), 15);
        assert_eq!(table_name(days[0]), "heartbeats_p20261223");
        assert_eq!(table_name(days[14]), "heartbeats_p20270106");
    }
}
