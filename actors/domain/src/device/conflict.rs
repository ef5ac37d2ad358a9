//! Identity conflicts: two devices that report with the credentials of one, as clones of one image do.
//!
//! A device is in one boot at a time and counts its heartbeats upwards. Heartbeats that follow each other by boot and sequence
//! number are a *run*. A reboot ends a run and begins another, for good; two devices make two runs that go on by turns:
//!
//! ```text
//! one device, rebooted     A1 A2 A3 | B1 B2 B3
//! its queue drained late   A1 A2 | B1 A3' B2 B3       A3 was made before B began
//! two devices              A1 | B7 | A2 | B8 | A3 | B9      both go on after the other began
//! ```
//! A return counts when the heartbeat was made after the other run had begun, and was not sent late. One or two of these may be a
//! clock that jumped; a conflict is when two runs have returned [`RETURNS`] times each. Addresses alone decide nothing, because a
//! device that moves between Wi-Fi and cellular changes them by turns; they are told, so that the devices can be found.
//!
//! Of agents that report neither boot nor uptime nor number, heartbeats of the same hardware from the same address are a run. It
//! returns when the hardware is another than that of the run before, or the address on the same network, and the charge or the free
//! storage goes on where this run left it and not where the other did.

use std::fmt;

use chrono::TimeDelta;

use super::LastStatus;
use crate::Timestamp;
use crate::telemetry::Transport;

/// Returns of each of two runs that make a conflict.
const RETURNS: u8 = 2;
/// Most runs of a device that are remembered; the one that was heard of least lately is forgotten first.
const RUNS_MAX: usize = 6;
/// Silence after which a run is forgotten.
const RUN_FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);
/// Largest difference between the clocks of device and server at which a heartbeat was not sent late.
const SENT_AT_ONCE_WITHIN: TimeDelta = TimeDelta::minutes(10);
/// Largest difference between two starts of a boot, computed from uptimes, that are one.
const BOOT_TOLERANCE: TimeDelta = TimeDelta::minutes(2);
/// Least time over which an uptime is compared with the server's clock, and the largest difference in it.
const UPTIME_OVER: TimeDelta = TimeDelta::minutes(2);
const UPTIME_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// Least difference of charge, in percent, and of free storage, in MiB, that tells two devices apart.
const CHARGE_APART_PCT: i64 = 5;
const STORAGE_APART_MB: i64 = 256;

/// Identity conflict of a device, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityConflict {
    /// When it was noticed.
    pub noticed_at: Timestamp,
    /// Generation of the credentials that two devices reported with.
    pub generation: i32,
    /// Whether a person said that it is one device.
    pub dismissed: bool,
}

/// Identity of a device, as lists show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum IdentityStatus {
    /// One device reports as this one, as far as known.
    Single,
    /// Two devices report as this one, and nobody has decided about it.
    Conflict,
    /// It enrolled a while ago and never sent a heartbeat: an enrollment that broke off, most likely.
    Ghost,
}

named!(pub IdentityStatus, parse -> Result);

impl IdentityStatus {
    /// Title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Single => "One device",
            Self::Conflict => "Identity conflict",
            Self::Ghost => "Ghost",
        }
    }
}

/// Last heartbeats of the two runs of a conflict, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictEvidence {
    /// The one.
    pub one: String,
    /// The other.
    pub other: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Boot {
    Id(Box<str>),
    /// When it began, by the uptime: of agents that report no boot id.
    Began(Timestamp),
    /// Neither is reported.
    Unknown,
    /// Nor is a number: what device it is, and where.
    Place(Box<Place>),
}

/// Hardware and address of a device whose agent reports nothing that counts.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    hardware: [Option<Box<str>>; 3],
    network: (Option<Transport>, Option<Box<str>>),
    address: Option<Box<str>>,
}

impl Place {
    fn of(status: &LastStatus) -> Option<Self> {
        let reported = &status.telemetry;
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let place = Self {
            hardware: [text(&reported.manufacturer), text(&reported.model), text(&reported.build_id)],
            network: (reported.transport, text(&reported.ssid)),
            address: text(&reported.ip),
        };
        (place.address.is_some() || place.hardware.iter().any(Option::is_some)).then_some(place)
    }

    /// Whether another device is known by its hardware.
    fn is_other_hardware(&self, other: &Self) -> bool {
        self.hardware
            .iter()
            .zip(&other.hardware)
            .any(|(one, other)| one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one != other))
    }

    /// Whether another device has to be at the address: one device has one address in a network.
    fn is_other_address(&self, other: &Self) -> bool {
        self.network == other.network && self.address.as_ref().zip(other.address.as_ref()).is_some_and(|(one, other)| one != other)
    }
}

impl Boot {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Id(one), Self::Id(other)) => one == other,
            (Self::Began(one), Self::Began(other)) => (*one - *other).abs() <= BOOT_TOLERANCE,
            (Self::Unknown, Self::Unknown) => true,
            (Self::Place(one), Self::Place(other)) => one.address == other.address && !one.is_other_hardware(other),
            _ => false,
        }
    }

    /// How much it says: what says less is told by the same agent where it says more.
    fn rank(&self) -> u8 {
        match self {
            Self::Place(_) => 0,
            Self::Began(_) | Self::Unknown => 1,
            Self::Id(_) => 2,
        }
    }
}

/// Heartbeats of one boot with one counter.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    boot: Boot,
    seq: Option<i64>,
    /// When its first and its newest heartbeat were made.
    began_at: Timestamp,
    newest_at: Timestamp,
    received_at: Timestamp,
    uptime_s: Option<i64>,
    returns: u8,
    address: Option<Box<str>>,
    model: Option<Box<str>>,
    charge_pct: Option<i64>,
    storage_free_mb: Option<i64>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.boot {
            Boot::Id(id) => write!(f, "boot {id}")?,
            Boot::Began(at) => write!(f, "boot of {}", at.format("%Y-%m-%d %H:%M UTC"))?,
            Boot::Unknown | Boot::Place(_) => write!(f, "unknown boot")?,
        }
        if let Some(seq) = self.seq {
            write!(f, ", sequence {seq}")?;
        }
        for (name, value) in [("model", &self.model), ("address", &self.address)] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}

impl Run {
    /// The run that a heartbeat would begin.
    fn begun_by(status: &LastStatus) -> Self {
        let reported = &status.telemetry;
        let made_at = made_at(status);
        let boot = match (&reported.boot_id, reported.uptime_s) {
            (Some(id), _) => Boot::Id(id.as_str().into()),
            (None, Some(uptime_s)) => {
                TimeDelta::try_seconds(uptime_s).and_then(|uptime| made_at.checked_sub_signed(uptime)).map_or(Boot::Unknown, Boot::Began)
            }
            (None, None) if reported.seq.is_none() => Place::of(status).map_or(Boot::Unknown, |place| Boot::Place(Box::new(place))),
            (None, None) => Boot::Unknown,
        };
        Self {
            boot,
            seq: reported.seq,
            began_at: made_at,
            newest_at: made_at,
            received_at: status.received_at,
            uptime_s: reported.uptime_s,
            returns: 0,
            address: reported.ip.as_deref().map(Into::into),
            model: reported.model.as_deref().map(Into::into),
            charge_pct: reported.battery_pct.map(i64::from),
            storage_free_mb: reported.storage_free_mb,
        }
    }

    fn continue_with(&mut self, next: Self) {
        self.newest_at = self.newest_at.max(next.newest_at);
        self.seq = next.seq.or(self.seq);
        self.received_at = next.received_at;
        self.uptime_s = next.uptime_s;
        self.address = next.address.or(self.address.take());
        self.model = next.model.or(self.model.take());
        self.charge_pct = next.charge_pct.or(self.charge_pct);
        self.storage_free_mb = next.storage_free_mb.or(self.storage_free_mb);
        if let Boot::Began(_) = next.boot {
            // An uptime that stands still in deep sleep moves the start, a little each time.
            self.boot = next.boot;
        }
    }

    /// Whether a heartbeat continues this run by its number.
    fn precedes(&self, next: &Self) -> bool {
        self.boot.same(&next.boot) && self.seq.zip(next.seq).is_none_or(|(before, seq)| before < seq)
    }

    /// Whether a heartbeat that continues this run by its place is another device's than those of the current run.
    fn is_apart_from(&self, current: &Self, next: &Self) -> bool {
        let (Boot::Place(here), Boot::Place(there)) = (&self.boot, &current.boot) else { return true };
        let goes_on_here = |known: fn(&Self) -> Option<i64>, apart: i64| match (known(self), known(current), known(next)) {
            (Some(here), Some(there), Some(now)) => (now - there).abs() >= apart + (now - here).abs(),
            _ => false,
        };
        here.is_other_hardware(there)
            || (here.is_other_address(there)
                && (goes_on_here(|run| run.charge_pct, CHARGE_APART_PCT) || goes_on_here(|run| run.storage_free_mb, STORAGE_APART_MB)))
    }

    /// Whether the uptime went on with the server's clock since the last heartbeat of this run: then the next one was not sent late.
    fn lives_by_uptime(&self, next: &Self) -> bool {
        let passed = next.received_at - self.received_at;
        let up = self.uptime_s.zip(next.uptime_s).and_then(|(before, uptime_s)| TimeDelta::try_seconds(uptime_s.checked_sub(before)?));
        passed >= UPTIME_OVER && up.is_some_and(|up| up >= passed - UPTIME_TOLERANCE)
    }
}

/// When a heartbeat was made: by the device's clock if that is believed.
fn made_at(status: &LastStatus) -> Timestamp {
    status.device_time.filter(|_| !status.clock_rejected).unwrap_or(status.received_at)
}

/// Whether a heartbeat was sent at once, as far as the device's clock tells.
fn sent_at_once(status: &LastStatus) -> bool {
    !status.clock_rejected && (status.received_at - made_at(status)).abs() <= SENT_AT_ONCE_WITHIN
}

/// Runs of the heartbeats of a device, in memory of its owner; begun anew where the device is loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeartbeatRuns {
    /// The current one last.
    runs: Vec<Run>,
}

impl HeartbeatRuns {
    /// Takes a heartbeat as it arrives, stored or not. Evidence of a conflict, if it completes one.
    pub fn observe(&mut self, status: &LastStatus) -> Option<ConflictEvidence> {
        let next = Run::begun_by(status);
        self.runs.retain(|run| next.received_at - run.received_at < RUN_FORGOTTEN_AFTER);
        let rank = next.boot.rank();
        match &next.boot {
            // Of an agent that names its boots, one without a name tells nothing.
            _ if self.runs.iter().any(|run| run.boot.rank() > rank) => return None,
            Boot::Began(_) | Boot::Place(_) if !sent_at_once(status) => return None,
            Boot::Unknown if next.seq.is_none() => return None,
            _ => self.runs.retain(|run| run.boot.rank() == rank),
        }
        let Some(current) = self.runs.last() else {
            self.runs.push(next);
            return None;
        };
        // Of the runs that it continues the one whose number is nearest; of equal ones the current one.
        let continued =
            (0..self.runs.len()).filter(|at| self.runs[*at].precedes(&next)).max_by_key(|at| (next.seq.and(self.runs[*at].seq), *at));
        match continued {
            Some(at) if at + 1 == self.runs.len() => self.runs[at].continue_with(next),
            Some(at) => {
                let after_the_other_began = sent_at_once(status) && next.newest_at > current.began_at;
                if !after_the_other_began && !self.runs[at].lives_by_uptime(&next) {
                    return None;
                }
                let counts = self.runs[at].is_apart_from(current, &next);
                let mut returned = self.runs.remove(at);
                returned.returns = returned.returns.saturating_add(u8::from(counts));
                returned.continue_with(next);
                self.runs.push(returned);
                return self.evidence();
            }
            None => {
                let newest_of_boot = self.runs.iter().filter(|run| run.boot.same(&next.boot)).map(|run| run.newest_at).max();
                // A repeat, or one that was overtaken. Without a time of its own, the same number again is a repeat.
                let repeated = current.seq == next.seq && status.device_time.is_none();
                if newest_of_boot.is_some_and(|newest| next.newest_at <= newest || repeated || !sent_at_once(status)) {
                    return None;
                }
                if self.runs.len() == RUNS_MAX {
                    self.runs.remove(0);
                }
                self.runs.push(next);
            }
        }
        None
    }

    fn evidence(&mut self) -> Option<ConflictEvidence> {
        let mut returned = self.runs.iter().rev().filter(|run| run.returns >= RETURNS);
        let evidence = ConflictEvidence { other: returned.next()?.to_string(), one: returned.next()?.to_string() };
        self.runs.clear();
        Some(evidence)
    }
}

#[cfg(test)]
mod tests;
