//! Reconciliation of derived data: rows that repeat what other rows say are compared with them, and what differs is explained.
//!
//! It reads beside heartbeats, without a lock: what it compares comes out of one statement, and what it mends is written only where the row is
//! still the one that was read.

use std::collections::BTreeMap;

use crate::{DeviceId, Timestamp};

/// Most differences of a run that are kept as examples; the others are counted.
pub const EXAMPLES_MAX: usize = 20;
/// Most characters of a value in an example.
const VALUE_MAX_CHARS: usize = 200;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Check {
    /// The last status of each device with its newest heartbeat of the last 24 hours.
    LastStatus,
    /// Hourly aggregates of some devices with their heartbeats.
    Hours,
    /// Numbers and the end of deployments with their tasks.
    Deployments,
    /// Open commands with what the actors of their devices hold.
    Commands,
}

crate::named!(pub Check, parse -> Option);

impl Check {
    /// What is compared, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::LastStatus => "Last status of devices with their newest heartbeat",
            Self::Hours => "Hourly aggregates with heartbeats (sample)",
            Self::Deployments => "Deployments with their tasks",
            Self::Commands => "Open commands with the queues of devices",
        }
    }
}

/// How a row differs from what it is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DriftKind {
    /// There is a heartbeat and no last status.
    StatusMissing,
    /// The last status is older than the newest heartbeat.
    StatusBehind,
    /// The last status is newer than any stored heartbeat.
    StatusAhead,
    /// The last status is of a time that has not come yet.
    StatusFuture,
    /// Both are of the same heartbeat and tell different readings.
    StatusDiffers,
    /// An hour has heartbeats and no aggregate.
    HourMissing,
    /// An hour has an aggregate and no heartbeats.
    HourExtra,
    /// An aggregate differs from its heartbeats.
    HourDiffers,
    /// A deployment has another number of devices than it was made for.
    DeploymentDevices,
    /// A deployment has another number of tasks than devices.
    DeploymentTasks,
    /// A deployment has another number of devices in its canary than it was made for.
    DeploymentCanary,
    /// A deployment is over and has open tasks.
    DeploymentOpenTasks,
    /// An open command is not held by the actor of its device.
    CommandMissing,
    /// The actor of a device holds a command that is over.
    CommandExtra,
}

crate::named!(pub DriftKind, parse -> Option);

impl DriftKind {
    /// What differs, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::StatusMissing => "No last status, although there is a heartbeat",
            Self::StatusBehind => "Last status older than the newest heartbeat",
            Self::StatusAhead => "Last status newer than any stored heartbeat",
            Self::StatusFuture => "Last status of a time that has not come yet",
            Self::StatusDiffers => "Last status tells other readings than its heartbeat",
            Self::HourMissing => "No aggregate of an hour that has heartbeats",
            Self::HourExtra => "Aggregate of an hour without heartbeats",
            Self::HourDiffers => "Aggregate of an hour differs from its heartbeats",
            Self::DeploymentDevices => "Another number of devices than the deployment was made for",
            Self::DeploymentTasks => "Another number of tasks than devices",
            Self::DeploymentCanary => "Another number of devices in the canary than the deployment was made for",
            Self::DeploymentOpenTasks => "Open tasks, although the deployment is over",
            Self::CommandMissing => "Open command that the actor of its device does not hold",
            Self::CommandExtra => "Command that is over and still held by the actor of its device",
        }
    }
}

/// How the stored last status of a device stands to its newest heartbeat.
///
/// `None`: they agree, or the device has reported nothing within the window. Times are of buckets, and `order` is the order by which a newer
/// heartbeat wins.
pub fn judge_status<O: PartialOrd>(status: Option<(Timestamp, O)>, heartbeat: Option<(Timestamp, O)>, window: Window) -> Option<DriftKind> {
    match (status, heartbeat) {
        (None, None) => None,
        (None, Some(_)) => Some(DriftKind::StatusMissing),
        (Some((at, _)), _) if at >= window.until => Some(DriftKind::StatusFuture),
        // Older than what is looked at: its heartbeats are not.
        (Some((at, _)), None) if at < window.from => None,
        (Some(_), None) => Some(DriftKind::StatusAhead),
        (Some((_, status)), Some((_, heartbeat))) if status < heartbeat => Some(DriftKind::StatusBehind),
        (Some((_, status)), Some((_, heartbeat))) if status > heartbeat => Some(DriftKind::StatusAhead),
        _ => None,
    }
}

/// Buckets that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First bucket.
    pub from: Timestamp,
    /// End: no heartbeat is accepted from here on.
    pub until: Timestamp,
}

impl Window {
    /// The last 24 hours at `now`, and the minutes by which a device's clock may be ahead.
    pub fn at(now: Timestamp) -> Self {
        Self { from: now - chrono::TimeDelta::hours(24), until: now + chrono::TimeDelta::minutes(10) }
    }
}

/// A row that differs from what it is derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// How.
    pub kind: DriftKind,
    /// Id of the device, deployment or command.
    pub subject: String,
    /// The fields that differ, and what they are on either side; where whole rows are missing, their times.
    pub fields: Vec<FieldDrift>,
    /// Whether it was mended.
    pub healed: bool,
}

/// A field of a row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDrift {
    /// Name of the field.
    pub field: String,
    /// Value of the derived row; `None`: it has none.
    pub stored: Option<String>,
    /// Value that it should have; `None`: none.
    pub expected: Option<String>,
}

impl FieldDrift {
    /// A difference; long values are cut.
    pub fn new(field: &str, stored: Option<String>, expected: Option<String>) -> Self {
        let cut = |value: String| value.chars().take(VALUE_MAX_CHARS).collect();
        Self { field: field.to_owned(), stored: stored.map(cut), expected: expected.map(cut) }
    }
}

/// A device whose last status differs, with what its repair compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusDrift {
    /// The device.
    pub device: DeviceId,
    /// What differs.
    pub drift: Drift,
    /// Bucket of the last status, as it was read.
    pub status_at: Option<Timestamp>,
    /// Bucket of the newest heartbeat, as it was read.
    pub heartbeat_at: Option<Timestamp>,
}

/// Record of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ReconciliationRun {
    /// What was compared.
    pub check: Check,
    /// Node that compared what it alone knows; empty: one node for the whole cluster.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Duration in seconds.
    pub seconds: f64,
    /// Rows that were compared.
    pub checked: u64,
    /// Rows that differed.
    pub drifted: u64,
    /// Of these, rows that were mended.
    pub healed: u64,
    /// Whether all that was to be compared was.
    pub complete: bool,
    /// Rows that differed, by kind.
    pub kinds: BTreeMap<DriftKind, u64>,
    /// The first of them.
    pub examples: Vec<Drift>,
}

impl ReconciliationRun {
    /// A run that begins.
    pub fn new(check: Check, node: &str, now: Timestamp) -> Self {
        Self {
            check,
            node: node.to_owned(),
            started_at: now,
            seconds: 0.0,
            checked: 0,
            drifted: 0,
            healed: 0,
            complete: false,
            kinds: BTreeMap::new(),
            examples: Vec::new(),
        }
    }

    /// Adds a row that differed.
    pub fn note(&mut self, drift: Drift) {
        self.drifted += 1;
        self.healed += u64::from(drift.healed);
        *self.kinds.entry(drift.kind).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(drift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_315_200 + second, 0).unwrap()
    }

    #[test]
    fn a_status_is_judged_by_the_order_in_which_newer_heartbeats_win() {
        let window = Window { from: at(0), until: at(1000) };
        let order = |second: i64, seq: i64| Some((at(second), (second, seq)));
        for (status, heartbeat, found) in [
            (None, None, None),
            (None, order(10, 1), Some(DriftKind::StatusMissing)),
            (order(10, 1), order(10, 1), None),
            (order(10, 1), order(20, 0), Some(DriftKind::StatusBehind)),
            (order(10, 1), order(10, 2), Some(DriftKind::StatusBehind)),
            (order(20, 1), order(10, 1), Some(DriftKind::StatusAhead)),
            (order(10, 2), order(10, 1), Some(DriftKind::StatusAhead)),
            (order(10, 2), None, Some(DriftKind::StatusAhead)),
            (order(-10, 2), None, None),
            (order(-10, 2), order(5, 0), Some(DriftKind::StatusBehind)),
            (order(1000, 2), None, Some(DriftKind::StatusFuture)),
            (order(2000, 2), order(10, 0), Some(DriftKind::StatusFuture)),
        ] {
            assert_eq!(judge_status(status, heartbeat, window), found, "{status:?} {heartbeat:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_heartbeat_wrote_into_both_is_no_drift(second in -2000i64..999, seq in 0i64..5) {
            let window = Window { from: at(0), until: at(1000) };
            let written = Some((at(second), (second, seq)));
            let heartbeat = written.filter(|_| second >= 0);
            prop_assert_eq!(judge_status(written, heartbeat, window), None);
        }

        #[test]
        fn counts_are_of_all_and_examples_are_bounded(drifts in proptest::collection::vec((0..DriftKind::ALL.len(), any::<bool>()), 0..100)) {
            let mut run = ReconciliationRun::new(Check::LastStatus, "", at(0));
            for (kind, healed) in &drifts {
                run.note(Drift { kind: DriftKind::ALL[*kind], subject: String::new(), fields: vec![], healed: *healed });
            }
            prop_assert_eq!(run.drifted as usize, drifts.len());
            prop_assert_eq!(run.kinds.values().sum::<u64>(), run.drifted);
            prop_assert_eq!(run.healed as usize, drifts.iter().filter(|(_, healed)| *healed).count());
            prop_assert_eq!(run.examples.len(), drifts.len().min(EXAMPLES_MAX));
        }
    }

    #[test]
    fn long_values_are_cut() {
        let field = FieldDrift::new("x", Some("ä".repeat(500)), None);
        assert_eq!(field.stored.map(|value| value.chars().count()), Some(200));
    }
}
