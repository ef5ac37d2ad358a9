//! The agent's own updates: who is offered which build, and when a build is taken out of circulation by itself.
//!
//! The cohort slot of a device is fixed by its id, so no state is kept per device: raising the percentage only ever adds
//! devices. Of all promoted builds a device is offered the one with the highest version code that is newer than what it
//! runs and whose cohort it is in. So who is not in the cohort of the newest build still gets the one before it, and
//! nobody is ever offered an older version than it has: Android does not downgrade in place.

mod build;

use sha2::{Digest, Sha256};

use crate::invalid::in_range;
use crate::{AgentBuildId, DeviceId, Invalid, Timestamp};

pub use build::{AgentBuild, BuildCandidate, UpdateCounts, VersionSample};

/// Places that devices are spread over, so a percentage is a number of them.
pub const COHORT_SLOTS: usize = 100;

/// `u32_be(sha256(device_id)[0..4]) % 100`, over the lower-case hyphenated text of the id: 0..99.
pub fn cohort_slot(device: DeviceId) -> u8 {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let digest = Sha256::digest(device.0.hyphenated().encode_lower(&mut text));
    let word = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (word % COHORT_SLOTS as u32) as u8
}

/// Whether a device is among the first `rollout_percent` places.
pub fn in_cohort(device: DeviceId, rollout_percent: u8) -> bool {
    cohort_slot(device) < rollout_percent
}

/// A build that is offered to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromotedBuild {
    /// Which.
    pub build: AgentBuildId,
    /// Version code.
    pub version_code: i64,
    /// Size of its cohort, 1..100.
    pub rollout_percent: u8,
}

/// Answer to an update check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum UpdateAnswer {
    /// Nothing is promoted.
    NoCurrentBuild,
    /// It runs the newest promoted build, or something newer.
    AlreadyCurrent,
    /// There is something newer, for other devices.
    NotInCohort,
    /// It may install this build.
    #[strum(serialize = "offered")]
    Offer(AgentBuildId),
}

impl UpdateAnswer {
    /// Name in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Answer to an update check of a device with this version; `promoted` in any order.
pub fn answer(device: DeviceId, current_version_code: i64, promoted: &[PromotedBuild]) -> UpdateAnswer {
    if promoted.is_empty() {
        return UpdateAnswer::NoCurrentBuild;
    }
    let newer = || promoted.iter().filter(|build| build.version_code > current_version_code);
    if newer().next().is_none() {
        return UpdateAnswer::AlreadyCurrent;
    }
    let slot = cohort_slot(device);
    match newer().filter(|build| slot < build.rollout_percent).max_by_key(|build| build.version_code) {
        Some(build) => UpdateAnswer::Offer(build.build),
        None => UpdateAnswer::NotInCohort,
    }
}

/// Since when a device with this version has been offered a newer build, at least; `None`: it is offered none. Each promoted build comes with the
/// last change of its offer: who was in its cohort before that is not recorded.
pub fn offered_since(
    device: DeviceId,
    current_version_code: i64,
    promoted: impl IntoIterator<Item = (PromotedBuild, Timestamp)>,
) -> Option<Timestamp> {
    let mut newer = promoted.into_iter().filter(|(build, _)| build.version_code > current_version_code).peekable();
    newer.peek()?;
    let slot = cohort_slot(device);
    newer.filter(|(build, _)| slot < build.rollout_percent).map(|(_, since)| since).min()
}

/// The build that decides what counts as current: the newest promoted one.
pub fn newest(promoted: &[PromotedBuild]) -> Option<&PromotedBuild> {
    promoted.iter().max_by_key(|build| build.version_code)
}

/// Builds that devices of this version may update themselves to, the newest first. Those behind a build for the whole fleet are
/// offered to nobody.
pub fn updates_from(version_code: i64, promoted: &[PromotedBuild]) -> Vec<PromotedBuild> {
    let mut newer: Vec<_> = promoted.iter().filter(|build| build.version_code > version_code).copied().collect();
    newer.sort_unstable_by_key(|build| std::cmp::Reverse(build.version_code));
    let offered = newer.iter().position(|build| usize::from(build.rollout_percent) >= COHORT_SLOTS).map_or(newer.len(), |at| at + 1);
    newer.truncate(offered);
    newer
}

/// Changes of a build's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum BuildState {
    /// Added, not offered yet.
    Draft,
    /// Offered to its cohort.
    Promoted,
    /// Taken out by the server, because it did harm.
    Halted,
    /// Taken out by a person.
    RolledBack,
}

named!(pub BuildState, parse -> Option);

/// Promotion of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// Size of the cohort, 1..100.
    pub rollout_percent: u8,
    /// Download over Wi-Fi only.
    pub wifi_only: bool,
    /// The agent does not put it off, whatever its own rules for quiet hours.
    pub must_install: bool,
    /// Lowest charge to install at, percent, 0..100.
    pub min_battery_pct: u8,
}

impl Promotion {
    /// A promotion within its limits.
    ///
    /// # Errors
    /// Names the field that is out of its limits: `rollout_percent` 1..100, `min_battery` 0..100.
    pub fn new(rollout_percent: i64, wifi_only: bool, must_install: bool, min_battery_pct: i64) -> Result<Self, Invalid> {
        Ok(Self {
            rollout_percent: percent(rollout_percent)?,
            wifi_only,
            must_install,
            min_battery_pct: in_range("min_battery", min_battery_pct, 0, 100)? as u8,
        })
    }
}

/// The size of a cohort within its limits, 1..100.
///
/// # Errors
/// It is out of them.
pub fn percent(rollout_percent: i64) -> Result<u8, Invalid> {
    Ok(in_range("rollout_percent", rollout_percent, 1, 100)? as u8)
}

/// Report of a device about an agent update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum UpdateEvent {
    /// The file is there.
    Downloaded,
    /// It runs the build.
    Installed,
    /// It could not be downloaded or installed.
    Failed,
    /// The downloaded file is not the offered one: wrong digest or signer.
    VerifyFailed,
}

named!(pub UpdateEvent, parse -> Result);

/// Limits of the automatic halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaltPolicy {
    /// So many devices that could not verify it are enough; at least 1.
    pub verify_failures_max: i64,
    /// Share of devices that failed, of those that are done, percent: at or above it is too much.
    pub failure_rate_pct: i64,
    /// The share says nothing before so many devices are done.
    pub min_count: i64,
}

/// Reports of devices since the build was promoted last; each device counts once for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RolloutResults {
    /// Devices that installed it.
    pub installs: i64,
    /// Devices that could not.
    pub failures: i64,
    /// Devices that could not verify it.
    pub verify_failures: i64,
}

impl RolloutResults {
    /// With one more device that told this.
    #[must_use]
    pub fn and(mut self, event: UpdateEvent) -> Self {
        match event {
            UpdateEvent::Downloaded => {}
            UpdateEvent::Installed => self.installs += 1,
            UpdateEvent::Failed => self.failures += 1,
            UpdateEvent::VerifyFailed => self.verify_failures += 1,
        }
        self
    }
}

/// Reason for an automatic halt of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum HaltReason {
    /// Devices could not verify it.
    VerifyFailures,
    /// Too many devices could not install it.
    FailureRate,
}

named!(pub HaltReason, parse -> Option);

/// Whether a build does harm. One that devices cannot verify counts for both rules.
pub fn halt(policy: HaltPolicy, judged: RolloutResults) -> Option<HaltReason> {
    let failed = judged.failures.saturating_add(judged.verify_failures);
    let done = judged.installs.saturating_add(failed);
    if judged.verify_failures >= policy.verify_failures_max.max(1) {
        Some(HaltReason::VerifyFailures)
    } else if failed > 0 && done >= policy.min_count && failed.saturating_mul(100) >= done.saturating_mul(policy.failure_rate_pct) {
        Some(HaltReason::FailureRate)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
