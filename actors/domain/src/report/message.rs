//! Message about a report: its words, and its table.

use chrono::NaiveDate;

use crate::alert::Rule;

use super::{Measure, Period, Report, ReportSchedule, versions};
use crate::notification::{Message, ReportMessage};

/// Rules and versions that a message lists.
const LISTED_MAX: usize = 5;
/// Longest table that is attached; of a longer one, groups are left out.
const CSV_MAX_BYTES: usize = 128 << 10;
/// Measures that a headline says.
const HEADLINE: [Measure; 3] = [Measure::OnlinePct, Measure::Reboots, Measure::AlertsRaised];

/// Message about a report, for the channel of a schedule; `sent`: first day of the period that was sent before it.
pub fn report_message(schedule: &ReportSchedule, report: &Report, sent: Option<NaiveDate>) -> Message {
    let thread = format!("report-{}-{}", schedule.id, report.period.first);
    Message::of_report(thread, headline(report), content(report, report.period.left_out(sent)))
}

/// Lines and table of a report, before which so many were not sent.
fn content(report: &Report, left_out: u64) -> ReportMessage {
    let Period { kind, first } = report.period;
    let group = report.group.as_deref().map(|group| format!("&group={}", encoded(group))).unwrap_or_default();
    let mut lines: Vec<_> = Measure::ALL
        .into_iter()
        .map(|measure| {
            let (now, before) = (measure.of(&report.total), report.compared(measure));
            (measure.label().to_owned(), measure.text(now), measure.change(now, before).unwrap_or_default())
        })
        .collect();
    for (rule, now, before) in report.alerts().into_iter().filter(|(_, now, _)| now.raised > 0).take(LISTED_MAX) {
        let label = rule.parse::<Rule>().map_or_else(|_| rule.to_owned(), |rule| rule.spec().label.to_owned());
        let difference = Measure::AlertsRaised.change(Some(now.raised as f64), Some(before.raised as f64));
        let difference = difference.filter(|_| report.has_equal_days());
        lines.push((
            format!("Alerts: {label}"),
            format!("{} raised, {} resolved", now.raised, now.resolved),
            difference.unwrap_or_default(),
        ));
    }
    for (label, versions_now, versions_before) in [
        ("Agent", &report.total.agent_versions, &report.before.agent_versions),
        ("App", &report.total.app_versions, &report.before.app_versions),
    ] {
        for (version, now, before) in versions(versions_now, versions_before).into_iter().filter(|one| one.1 > 0).take(LISTED_MAX) {
            let difference = Measure::Devices.change(Some(now as f64), Some(before as f64));
            let difference = if versions_before.is_empty() { None } else { difference };
            let devices = crate::quantity::count(now, "device", "devices");
            lines.push((format!("{label} {version}"), devices, difference.unwrap_or_default()));
        }
    }
    if !report.is_complete() {
        lines.push((
            "Days".to_owned(),
            format!("{} of {}: of the others there are no figures", report.days.len(), report.period.days()),
            String::new(),
        ));
    }
    if report.before.days > 0 && !report.has_equal_days() {
        let text = format!("{}: sums are not compared", crate::quantity::count(report.before.days, "day", "days"));
        lines.push(("Period before".to_owned(), text, String::new()));
    }
    if left_out > 0 {
        let text =
            format!("{}, as there were no figures in time, or the channel was off", crate::quantity::count(left_out, "report", "reports"));
        lines.push(("Not sent before this one".to_owned(), text, String::new()));
    }
    let (csv, groups) = report.csv_within(CSV_MAX_BYTES);
    if groups < report.groups.len() {
        let text = format!("{}: a table by mail has the first {groups} by name, that of the page has all", report.groups.len());
        lines.push(("Groups".to_owned(), text, String::new()));
    }
    ReportMessage {
        path: format!("/reports?period={}&date={first}{group}", kind.as_str()),
        file_name: format!("report-{}-{first}.csv", kind.as_str()),
        lines,
        csv,
    }
}

/// One line that says what a report says: "Daily report 2026-11-29, group north: online 98.4 %, restarts 3, alerts raised 12".
fn headline(report: &Report) -> String {
    let group = report.group.as_deref().map(|group| format!(", group {group}")).unwrap_or_default();
    let value = |measure: Measure| format!("{} {}", measure.label().to_lowercase(), measure.text(measure.of(&report.total)));
    let values: Vec<_> = HEADLINE.into_iter().map(value).collect();
    format!("{} report, {}{group}: {}", report.period.kind.title(), report.period, values.join(", "))
}

/// A value in the query of a page, as the dashboard writes it: other characters of ASCII behind a tilde, all else percent-encoded (RFC 3986).
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b' ' => text.push('+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => text.push(char::from(byte)),
            byte if byte.is_ascii() => text.push_str(&format!("~{byte:02X}")),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{figures, report};
    use crate::report::{Figures, PeriodKind};

    #[test]
    fn a_message_says_what_changed_and_where_to_look() {
        let mut report = report();
        report.group = Some("north & south".into());
        let message = content(&report, 3);
        assert_eq!(message.path, "/reports?period=weekly&date=2026-11-23&group=north+~26+south");
        assert_eq!(message.file_name, "report-weekly-2026-11-23.csv");
        let texts: Vec<_> = message.texts().collect();
        assert!(texts.contains(&"Online: 80 % (-20 points)".to_owned()), "{texts:?}");
        // Two days, and one of the week before: sums are not compared, and both are said.
        assert!(texts.contains(&"Restarts: 0".to_owned()), "{texts:?}");
        assert!(texts.contains(&"Alerts: Monitored app down: 3 raised, 2 resolved".to_owned()), "{texts:?}");
        assert!(texts.contains(&"Period before: 1 day: sums are not compared".to_owned()), "{texts:?}");
        assert!(texts.iter().any(|text| text.starts_with("Not sent before this one: 3 reports")), "{texts:?}");
        assert!(texts.contains(&"Agent =2: 9 devices".to_owned()), "{texts:?}");
        assert!(texts.contains(&"Days: 2 of 7: of the others there are no figures".to_owned()), "{texts:?}");
        assert_eq!(headline(&report), "Weekly report, week of 2026-11-23, group north & south: online 80 %, restarts 0, alerts raised 3");
    }

    #[test]
    fn sums_of_as_many_days_are_compared() {
        let first = report();
        let before = [(first.period.before().first, Figures { reboots: 4, ..figures(1_000) })];
        let equal = Report::of(first.period, None, first.days.into_iter().skip(1).collect(), &before, vec![]);
        let texts: Vec<_> = content(&equal, 0).texts().collect();
        assert!(texts.contains(&"Restarts: 0 (-4)".to_owned()), "{texts:?}");
        assert!(texts.contains(&"Alerts: Monitored app down: 3 raised, 2 resolved (+3)".to_owned()), "{texts:?}");
        assert!(!texts.iter().any(|text| text.starts_with("Period before") || text.starts_with("Not sent")), "{texts:?}");
    }

    #[test]
    fn a_table_that_is_too_long_has_whole_groups_and_says_how_many_are_left_out() {
        let period = Period::of(PeriodKind::Daily, "2026-11-29".parse().unwrap());
        let groups = (0..2_000).map(|number| (format!("grüppe {number}"), Figures::default())).collect();
        let report = Report::of(period, None, vec![(period.first, figures(1))], &[], groups);
        let message = content(&report, 0);
        let csv = &message.csv;
        assert!(csv.len() <= CSV_MAX_BYTES && csv.len() > CSV_MAX_BYTES - 2_048, "{}", csv.len());
        let (rows, last) = csv.trim_end().rsplit_once("\r\n").unwrap();
        assert!(report.csv().starts_with(rows));
        let groups = rows.matches("\"devices\"").count() - 1;
        assert_eq!(rows.matches("\"grüppe ").count(), groups * Measure::ALL.len(), "each with all its rows");
        assert_eq!(last, format!("\"daily\",\"2026-11-29\",\"2026-11-29\",\"\",\"groups_left_out\",\"{}\",\"\"", 2_000 - groups));
        let said = format!("Groups: 2000: a table by mail has the first {groups} by name, that of the page has all");
        assert!(message.texts().any(|text| text == said), "{:?}", message.lines);

        let short = Report { groups: report.groups[..10].to_vec(), ..report };
        let message = content(&short, 0);
        assert_eq!(message.csv, short.csv());
        assert!(!message.texts().any(|text| text.starts_with("Groups")), "{:?}", message.lines);
    }
}
