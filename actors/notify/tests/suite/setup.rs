//! Notifiers, channels and messages of tests.

use std::collections::BTreeMap;
use std::time::Duration;

use clock::Clock;
use domain::alert::{Rule, Severity, Subject};
use domain::notification::{Channel, ChannelKind, Message, NotificationKind, NotifiedAlert, ReportMessage};
use domain::{AlertId, ChannelId, DeviceId, Timestamp};
use notify::{Metrics, Notifier, NotifySettings};
use prometheus::Registry;
use secrecy::SecretBox;
use store::ChannelRow;
use uuid::Uuid;

/// A time limit that only tests about hanging reach.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn settings() -> NotifySettings {
    NotifySettings {
        public_url: "https://mdm.example.org".into(),
        allow_private_targets: true,
        sends: true,
        timeout: TIMEOUT,
        mail_timeout: TIMEOUT,
        per_channel: 2,
        poll_interval: Duration::from_millis(50),
        answer_max_bytes: 4_096,
        authorities_pem: None,
        mail_server: None,
    }
}

pub(crate) fn master_key() -> SecretBox<Vec<u8>> {
    SecretBox::new(Box::new(vec![7; 32]))
}

pub(crate) fn notifier_with(settings: NotifySettings, clock: Clock) -> Notifier {
    Notifier::new(settings, &master_key(), clock, Metrics::register(&Registry::new()).unwrap()).unwrap()
}

pub(crate) fn notifier(settings: NotifySettings) -> Notifier {
    notifier_with(settings, Clock::system())
}

/// A channel as it is stored, with these fields.
pub(crate) fn channel(notifier: &Notifier, number: u128, kind: ChannelKind, fields: &[(&str, &str)]) -> ChannelRow {
    let given: BTreeMap<_, _> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let parsed = notify::parse(kind, given, None, notifier.has_mail_server()).unwrap();
    let id = ChannelId(Uuid::from_u128(number));
    let sealed_secret = Some(notifier.seal(id, &parsed.secrets).unwrap());
    let channel = Channel {
        id,
        name: format!("channel {number}"),
        kind,
        settings: parsed.settings,
        has_secret: true,
        enabled: true,
        changed_at: at(0),
    };
    ChannelRow { channel, sealed_secret }
}

pub(crate) fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
}

/// A report with a table.
pub(crate) fn report() -> Message {
    let report = ReportMessage {
        path: "/reports?period=daily&date=2026-11-29".into(),
        file_name: "report-daily-2026-11-29.csv".into(),
        lines: vec![("Online".into(), "98.4 %".into(), "+1.5 points".into())],
        csv: "\"measure\",\"value\"\r\n\"online_pct\",\"98.4\"\r\n".into(),
    };
    Message::of_report("report-1-2026-11-29".into(), "Daily report, 2026-11-29: 98.4 % online".into(), report)
}

/// A message about one device, of a name that means harm everywhere.
pub(crate) fn message(thread: &str, kind: NotificationKind) -> Message {
    let alert = NotifiedAlert {
        alert: AlertId(Uuid::from_u128(1)),
        rule: Rule::DeviceOffline,
        subject: Subject::Device(DeviceId(Uuid::from_u128(5))),
        name: "@everyone **till**\r\nBcc: evil@example.org\r\n\r\n<script>".into(),
        groups: vec!["north".into()],
        severity: Severity::Critical,
        reason: "no heartbeat for 12 min <!channel>".into(),
        opened_at: at(0),
        resolved_at: (kind == NotificationKind::Resolved).then(|| at(600)),
    };
    Message {
        kind,
        severity: Severity::Critical,
        thread: thread.into(),
        begins_thread: kind == NotificationKind::Raised,
        ends_thread: kind == NotificationKind::Resolved,
        threads: vec![],
        headline: format!("Device offline: {}", alert.name),
        count: 1,
        alerts: vec![alert],
        event: None,
        report: None,
    }
}
