//! Fleet reports: how the devices of a group, or all, did on a day or in a week, compared with the one before.
//!
//! ```text
//! device's day  --DayTally-->  Figures of a day, of each group and of the fleet  --add-->  Report of a period
//! ```
//! Figures of days add up: a week is the sum of its days, and its parts are divided last.

mod day;
mod figures;
mod measure;
mod message;
mod period;
mod schedule;

pub use day::{AlertsOfGroups, DayTally, DeviceDay, GroupDay};
pub use figures::{AlertTally, Figures, VERSIONS_MAX, VersionCount};
pub use measure::{Direction, Measure, Unit};
pub use message::report_message;
pub use period::{Period, PeriodKind};
pub use schedule::{REPORT_SCHEDULES_MAX, ReportSchedule, report_notification_id};

use chrono::NaiveDate;

use crate::spreadsheet::neutralised;

/// Header of the table of a report.
pub const TABLE_COLUMNS: [&str; 7] = ["period", "first_day", "last_day", "group", "measure", "value", "before"];

/// Report of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The period.
    pub period: Period,
    /// Group, as people write it; `None`: the fleet.
    pub group: Option<String>,
    /// Days that there are figures of, the oldest first.
    pub days: Vec<(NaiveDate, Figures)>,
    /// Sum of the days.
    pub total: Figures,
    /// Sum of the days of the period before.
    pub before: Figures,
    /// Sums of the groups, by name; of a report about the fleet.
    pub groups: Vec<(String, Figures)>,
}

impl Report {
    /// Report of the days of a period and of the one before it, in the order of their dates.
    pub fn of(
        period: Period,
        group: Option<String>,
        days: Vec<(NaiveDate, Figures)>,
        before: &[(NaiveDate, Figures)],
        groups: Vec<(String, Figures)>,
    ) -> Self {
        let sum = |days: &[(NaiveDate, Figures)]| {
            let mut total = Figures::default();
            days.iter().for_each(|(_, figures)| total.add(figures));
            total
        };
        Self { period, group, total: sum(&days), before: sum(before), days, groups }
    }

    /// The report without its alerts by rule, for those who may not see alerts; their number stays.
    #[must_use]
    pub fn without_rules(mut self) -> Self {
        let days = self.days.iter_mut().map(|(_, figures)| figures);
        let groups = self.groups.iter_mut().map(|(_, figures)| figures);
        days.chain(groups).chain([&mut self.total, &mut self.before]).for_each(|figures| figures.alerts.clear());
        self
    }

    /// Whether there are figures of every day of the period.
    pub fn is_complete(&self) -> bool {
        self.days.len() == self.period.days()
    }

    /// Whether the period before has figures of as many days, so that sums of both can be compared.
    pub fn has_equal_days(&self) -> bool {
        self.total.days == self.before.days
    }

    /// Value of the period before that a measure is compared with; `None`: nothing is known of it, or it is a sum of another number of days.
    pub fn compared(&self, measure: Measure) -> Option<f64> {
        measure.of(&self.before).filter(|_| !measure.is_sum() || self.has_equal_days())
    }

    /// Rows of its table, below [`TABLE_COLUMNS`]: the days that there are figures of, a row for each measure, rule of alerts and version; of a report
    /// about the fleet, the measures of each group after them. Cells are such that no spreadsheet takes them for formulas.
    pub fn rows(&self) -> Vec<[String; TABLE_COLUMNS.len()]> {
        let row = |group: &str, measure: String, value: String, before: String| {
            let Period { kind, first } = self.period;
            let (first, last) = (first.to_string(), self.period.last().to_string());
            [kind.as_str().to_owned(), first, last, neutralised(group), neutralised(&measure), value, before]
        };
        let own = self.group.as_deref().unwrap_or_default();
        let number = |value: Option<f64>| value.map(plain).unwrap_or_default();
        // What the sums below are sums of.
        let mut rows = vec![row(own, "days".to_owned(), self.total.days.to_string(), self.before.days.to_string())];
        rows.extend(
            Measure::ALL
                .into_iter()
                .map(|measure| row(own, measure.as_str().to_owned(), number(measure.of(&self.total)), number(measure.of(&self.before)))),
        );
        for (rule, now, before) in self.alerts() {
            rows.push(row(own, format!("alerts_raised:{rule}"), now.raised.to_string(), before.raised.to_string()));
            rows.push(row(own, format!("alerts_resolved:{rule}"), now.resolved.to_string(), before.resolved.to_string()));
        }
        for (kind, now, before) in [
            ("agent_version", &self.total.agent_versions, &self.before.agent_versions),
            ("app_version", &self.total.app_versions, &self.before.app_versions),
        ] {
            for (version, now, before) in versions(now, before) {
                rows.push(row(own, format!("{kind}:{version}"), now.to_string(), before.to_string()));
            }
        }
        for (group, figures) in &self.groups {
            let of_group = Measure::ALL.into_iter();
            rows.extend(of_group.map(|measure| row(group, measure.as_str().to_owned(), number(measure.of(figures)), String::new())));
        }
        rows
    }

    /// Alerts by rule, of this period and of the one before; the most that were raised first.
    pub fn alerts(&self) -> Vec<(&str, AlertTally, AlertTally)> {
        let rules: std::collections::BTreeSet<&str> =
            self.total.alerts.keys().chain(self.before.alerts.keys()).map(String::as_str).collect();
        let of = |figures: &Figures, rule: &str| figures.alerts.get(rule).copied().unwrap_or_default();
        let mut counted: Vec<_> = rules.into_iter().map(|rule| (rule, of(&self.total, rule), of(&self.before, rule))).collect();
        counted.sort_by_key(|(rule, now, _)| (std::cmp::Reverse(now.raised), *rule));
        counted
    }

    /// The table as text (RFC 4180): every cell quoted.
    pub fn csv(&self) -> String {
        std::iter::once(TABLE_COLUMNS.map(str::to_owned)).chain(self.rows()).map(table_row).collect()
    }

    /// The table with as many groups as there is room for in `most` bytes, and their number. A group is in it with all its rows or with none; of groups
    /// that are not, a last row, `groups_left_out`, has the number.
    pub(super) fn csv_within(&self, most: usize) -> (String, usize) {
        let whole = self.csv();
        if whole.len() <= most || self.groups.is_empty() {
            return (whole, self.groups.len());
        }
        let rows: Vec<String> = self.rows().into_iter().map(table_row).collect();
        let of_group = Measure::ALL.len();
        let (own, of_groups) = rows.split_at(rows.len().saturating_sub(self.groups.len() * of_group));
        let Period { kind, first } = self.period;
        let last_row = |left_out: usize| {
            let (first, last) = (first.to_string(), self.period.last().to_string());
            let measure = "groups_left_out".to_owned();
            table_row([kind.as_str().to_owned(), first, last, String::new(), measure, left_out.to_string(), String::new()])
        };
        let mut text = table_row(TABLE_COLUMNS.map(str::to_owned));
        text.extend(own.iter().map(String::as_str));
        let room = most.saturating_sub(last_row(self.groups.len()).len());
        let mut groups = 0;
        for group in of_groups.chunks(of_group) {
            if text.len() + group.iter().map(String::len).sum::<usize>() > room {
                break;
            }
            text.extend(group.iter().map(String::as_str));
            groups += 1;
        }
        text.push_str(&last_row(self.groups.len().saturating_sub(groups)));
        (text, groups)
    }
}

/// Row of a table (RFC 4180): every cell quoted.
fn table_row(cells: [String; TABLE_COLUMNS.len()]) -> String {
    let cells = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
    cells.join(",") + "\r\n"
}

/// Devices by version, now and before: the most first.
pub fn versions<'a>(now: &'a [VersionCount], before: &'a [VersionCount]) -> Vec<(&'a str, u64, u64)> {
    let of = |counts: &[VersionCount], version: &str| counts.iter().find(|one| one.version == version).map_or(0, |one| one.devices);
    let gone = before.iter().filter(|one| of(now, &one.version) == 0).map(|one| (one.version.as_str(), 0, one.devices));
    let there = now.iter().map(|one| (one.version.as_str(), one.devices, of(before, &one.version)));
    there.chain(gone).collect()
}

/// Number for a table: without separators, at most three places after the point.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// Figures of a day on which so many of a thousand hours were online.
    pub(crate) fn figures(online_hours: u64) -> Figures {
        Figures { days: 1, device_days: 10, expected_s: 3_600_000, online_s: online_hours * 3_600, ..Figures::default() }
    }

    pub(crate) fn report() -> Report {
        let period = Period::of(PeriodKind::Weekly, day("2026-11-25"));
        let mut today = figures(900);
        today.alerts.insert("app_down".into(), AlertTally { raised: 3, resolved: 2 });
        (today.alerts_raised, today.alerts_resolved) = (3, 2);
        today.agent_versions = vec![VersionCount { version: "=2".into(), devices: 9 }];
        let before = vec![(day("2026-11-16"), Figures { reboots: 4, ..figures(1_000) })];
        let days = vec![(day("2026-11-23"), figures(700)), (day("2026-11-24"), today)];
        Report::of(period, None, days, &before, vec![("north, \"old\"".into(), figures(500))])
    }

    #[test]
    fn a_week_is_the_sum_of_its_days() {
        let report = report();
        assert_eq!((report.total.days, report.total.device_days), (2, 20));
        assert_eq!(Measure::OnlinePct.of(&report.total), Some(80.0));
        assert_eq!(Measure::OnlinePct.of(&report.before), Some(100.0));
        assert!(!report.is_complete(), "two of seven days");
        assert_eq!(report.alerts(), [("app_down", AlertTally { raised: 3, resolved: 2 }, AlertTally::default())]);
    }

    #[test]
    fn without_rules_only_their_sum_is_left() {
        let bare = report().without_rules();
        assert!(bare.alerts().is_empty() && bare.days.iter().all(|(_, figures)| figures.alerts.is_empty()));
        assert!(!bare.csv().contains("app_down\""));
        assert_eq!(bare.total.alerts_raised, 3);
    }

    #[test]
    fn sums_are_compared_with_sums_of_as_many_days() {
        let unfinished = report();
        assert!(!unfinished.has_equal_days(), "two days, and one before");
        for measure in Measure::ALL {
            let before = if measure.is_sum() { None } else { measure.of(&unfinished.before) };
            assert_eq!(unfinished.compared(measure), before, "{}", measure.as_str());
        }
        assert_eq!(unfinished.compared(Measure::OnlinePct), Some(100.0));
        let before = [(day("2026-11-16"), Figures { reboots: 4, ..figures(1_000) }), (day("2026-11-17"), figures(1_000))];
        let equal = Report::of(unfinished.period, None, unfinished.days, &before, vec![]);
        assert_eq!(equal.compared(Measure::Reboots), Some(4.0));
        // What adds up with the days is a sum.
        let of_days = |days: usize| {
            let numbers = vec![5; Figures::NAMES.len()];
            let mut sum = Figures::default();
            (0..days).for_each(|_| sum.add(&Figures { days: 1, ..Figures::of_numbers(&numbers) }));
            sum
        };
        for measure in Measure::ALL {
            assert_eq!(measure.of(&of_days(1)) != measure.of(&of_days(2)), measure.is_sum(), "{}", measure.as_str());
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_measure_rule_and_version_and_runs_no_formula() {
        let csv = report().csv();
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines[0], r#""period","first_day","last_day","group","measure","value","before""#);
        assert_eq!(lines[1], r#""weekly","2026-11-23","2026-11-29","","days","2","1""#);
        assert!(lines.contains(&r#""weekly","2026-11-23","2026-11-29","","online_pct","80","100""#), "{csv}");
        assert!(lines.contains(&r#""weekly","2026-11-23","2026-11-29","","alerts_raised:app_down","3","0""#), "{csv}");
        assert!(lines.contains(&r#""weekly","2026-11-23","2026-11-29","","agent_version:=2","9","0""#), "{csv}");
        assert!(lines.contains(&r#""weekly","2026-11-23","2026-11-29","north, ""old""","online_pct","50","""#), "{csv}");
        // What nothing is known of is empty, and no zero.
        assert!(lines.contains(&r#""weekly","2026-11-23","2026-11-29","","battery_low_pct","","""#), "{csv}");
    }

    #[test]
    fn versions_that_are_gone_are_listed() {
        let count = |version: &str, devices| VersionCount { version: version.into(), devices };
        assert_eq!(versions(&[count("2", 8), count("1", 1)], &[count("1", 5), count("0", 4)]), [("2", 8, 0), ("1", 1, 5), ("0", 0, 4)]);
    }
}
