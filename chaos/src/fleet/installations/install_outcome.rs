//! Simulated outcomes of installations: the options on the command line, and the outcome drawn for each attempt, which
//! depends on the seed alone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::duration;
use crate::fleet::args::share;
use crate::fleet::behaviour::hash;

/// Error codes of the agent API that an installation can end with.
const ERROR_CODES: [&str; 14] = [
    "checksum_mismatch",
    "signer_mismatch",
    "not_permitted",
    "low_battery",
    "no_wifi",
    "metered",
    "not_charging",
    "outside_window",
    "low_storage",
    "in_call",
    "download_failed",
    "install_failed",
    "downgrade_refused",
    "timeout",
];
/// Error codes that a device reports instead of `accepted`.
const OBSTACLES: [&str; 7] = ["low_battery", "no_wifi", "metered", "not_charging", "outside_window", "low_storage", "in_call"];

/// Part of an installation that is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeployProfile {
    /// Immediate success after acceptance
    Instant,
    /// Download in ranges, verification and installation time
    Real,
}

/// Options for the simulation of deployments and agent updates.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// Detail of the simulated installation
    #[arg(long, value_enum, default_value_t = DeployProfile::Real)]
    pub deploy_profile: DeployProfile,
    /// Share of installations per error code of the agent API, e.g. install_failed=0.1,in_call=0.05
    #[arg(long, value_name = "CODE=0..1", default_value = "", hide_default_value = true)]
    pub deploy_fail: ErrorShares,
    /// Share of installations without further reports after acceptance
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub deploy_hang: f64,
    /// Share of installations interrupted by a reboot; half of them continue, the others fail
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub deploy_reboot: f64,
    /// Share of installations with every status reported twice
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub deploy_report_twice: f64,
    /// Share of downloads that are interrupted and resumed
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub deploy_drop: f64,
    /// Duration of an installation
    #[arg(long, value_name = "DURATION[..DURATION]", default_value = "200ms..2s")]
    pub install_time: DurationRange,
    /// Bytes per range request
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10, value_parser = clap::value_parser!(u64).range(1..=4 << 20))]
    pub download_piece: u64,
    /// Concurrent downloads of the fleet, per node
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub downloads: usize,
    /// Fixed free storage of every device
    #[arg(long, value_name = "MIB")]
    pub storage_free_mb: Option<u32>,
    /// Interval of agent update checks [default: only on the command `update`]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub update_interval: Option<Duration>,
    /// Package of the agent
    #[arg(long, value_name = "PACKAGE", default_value = "com.nexmdm")]
    pub agent_package: String,
}

/// A duration, or a range from which one is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationRange(Duration, Duration);

impl FromStr for DurationRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (from, to) = (duration::parse(from)?, duration::parse(to)?);
        if to < from { Err(format!("`{text}`: the end is before the start")) } else { Ok(Self(from, to)) }
    }
}

impl DurationRange {
    fn draw(self, rng: &mut SmallRng) -> Duration {
        let Self(from, to) = self;
        from + (to - from).mul_f64(rng.random_range(0.0..=1.0))
    }
}

/// Share of installations that end with each error code.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorShares(Vec<(&'static str, f64)>);

impl FromStr for ErrorShares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut failures = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (code, probability) = part.split_once('=').ok_or_else(|| format!("`{part}`: expected the form install_failed=0.1"))?;
            let code = ERROR_CODES.iter().find(|known| **known == code);
            let code = code.ok_or_else(|| format!("`{part}`: expected one of {}", ERROR_CODES.join(", ")))?;
            failures.push((*code, share(probability)?));
        }
        let sum: f64 = failures.iter().map(|(_, probability)| probability).sum();
        if sum > 1.0 + 1e-9 { Err(format!("together they are {sum}, more than 1")) } else { Ok(Self(failures)) }
    }
}

impl fmt::Display for ErrorShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|(code, probability)| format!("{code}={probability}")).collect::<Vec<_>>().join(","))
    }
}

/// Stage of an installation at which something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Downloading,
    Verifying,
    Installing,
}

/// Predetermined outcome of one installation attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InstallOutcome {
    /// Error code that ends the attempt; `None` for success.
    pub(super) error_code: Option<&'static str>,
    /// Stage after which no report follows.
    pub(super) hangs_at: Option<Stage>,
    /// Stage at which the device reboots, and whether the installation resumes afterwards.
    pub(super) reboots_at: Option<(Stage, bool)>,
    /// Share of the file after which the network connection is lost.
    pub(super) connection_lost_at: Option<f64>,
    /// Whether each status is reported twice.
    pub(super) reports_twice: bool,
    pub(super) install_time: Duration,
}

impl InstallOutcome {
    /// The outcome of an attempt: a function of seed, device, version and number of the attempt.
    pub(super) fn draw(args: &DeployArgs, seed: u64, device: u64, package: &str, version_code: i64, attempt: u32) -> Self {
        let mut rng = SmallRng::seed_from_u64(hash(seed, &format!("{device}|{package}|{version_code}|{attempt}")));
        let stage = |rng: &mut SmallRng| [Stage::Downloading, Stage::Verifying, Stage::Installing][rng.random_range(0..3)];
        let mut left: f64 = rng.random_range(0.0..1.0);
        let mut error_code = None;
        for (code, probability) in &args.deploy_fail.0 {
            left -= probability;
            if left < 0.0 {
                error_code = Some(*code);
                break;
            }
        }
        // Every value is drawn, used or not, so that one option does not change the effect of the others.
        let (hangs, hang_stage) = (rng.random_bool(args.deploy_hang), stage(&mut rng));
        let (reboots, reboot_stage, resumes) = (rng.random_bool(args.deploy_reboot), stage(&mut rng), rng.random_bool(0.5));
        let (connection_lost, lost_share) = (rng.random_bool(args.deploy_drop), rng.random_range(0.1..0.9));
        Self {
            error_code,
            hangs_at: hangs.then_some(hang_stage),
            reboots_at: reboots.then_some((reboot_stage, resumes)),
            connection_lost_at: connection_lost.then_some(lost_share),
            reports_twice: rng.random_bool(args.deploy_report_twice),
            install_time: args.install_time.draw(&mut rng),
        }
    }

    /// The error code that is reported instead of `accepted`.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        self.error_code.filter(|code| OBSTACLES.contains(code))
    }

    /// Whether the attempt ends with this error code.
    pub(super) fn fails_with(&self, code: &str) -> bool {
        self.error_code == Some(code)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: DeployArgs,
    }

    fn args(words: &str) -> DeployArgs {
        Cli::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap().args
    }

    #[test]
    fn an_outcome_depends_on_the_seed_alone_and_shares_are_kept() {
        let args = args("--deploy-fail install_failed=0.2,low_battery=0.1 --deploy-hang 0.1 --deploy-reboot 0.3 --install-time 1s..3s");
        let (mut failed, mut obstacles, mut hangs, mut reboots) = (0, 0, 0, 0);
        for device in 0..10_000 {
            let outcome = InstallOutcome::draw(&args, 7, device, "com.example", 3, 1);
            assert_eq!(outcome, InstallOutcome::draw(&args, 7, device, "com.example", 3, 1));
            assert!(
                (Duration::from_secs(1)..=Duration::from_secs(3)).contains(&outcome.install_time) && outcome.connection_lost_at.is_none()
            );
            failed += u32::from(outcome.fails_with("install_failed"));
            obstacles += u32::from(outcome.obstacle() == Some("low_battery"));
            hangs += u32::from(outcome.hangs_at.is_some());
            reboots += u32::from(outcome.reboots_at.is_some());
        }
        for (count, about) in [(failed, 2_000), (obstacles, 1_000), (hangs, 1_000), (reboots, 3_000)] {
            assert!(u32::abs_diff(count, about) < 200, "{count} where {about} belong");
        }
        let other_attempt = (0..100)
            .any(|n| InstallOutcome::draw(&args, 7, n, "p", 3, 1).error_code != InstallOutcome::draw(&args, 7, n, "p", 3, 2).error_code);
        assert!(other_attempt, "another attempt may end otherwise");
    }

    #[test]
    fn without_options_every_attempt_succeeds() {
        let outcome = InstallOutcome::draw(&args(""), 1, 1, "p", 1, 1);
        assert!(
            outcome.error_code.is_none()
                && outcome.hangs_at.is_none()
                && outcome.reboots_at.is_none()
                && outcome.connection_lost_at.is_none()
                && !outcome.reports_twice
        );
    }

    #[test]
    fn invalid_values_are_refused() {
        for text in ["install_failed", "explode=0.1", "install_failed=2", "install_failed=0.6,in_call=0.6"] {
            assert!(text.parse::<ErrorShares>().is_err(), "{text}");
        }
        assert_eq!("in_call=0.5,timeout=0.5".parse::<ErrorShares>().unwrap().to_string(), "in_call=0.5,timeout=0.5");
        assert!("3s..1s".parse::<DurationRange>().is_err() && "x".parse::<DurationRange>().is_err());
        assert_eq!("2s".parse::<DurationRange>().unwrap(), "2s..2s".parse().unwrap());
    }
}
