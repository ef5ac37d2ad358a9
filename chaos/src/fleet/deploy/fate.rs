//! How deployments go on simulated devices: as words on the command line, and drawn for each try so that the same seed
//! tells the same story.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::duration;
use crate::fleet::args::share;
use crate::fleet::behaviour::hash;

/// Every error code of the agent API; those up to and without `download_failed`, but for the two mismatches and
/// `not_permitted`, are said before anything begins.
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
/// Those that a device says before it has accepted.
const OBSTACLES: [&str; 7] = ["low_battery", "no_wifi", "metered", "not_charging", "outside_window", "low_storage", "in_call"];

/// How much of an installation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeployProfile {
    /// Immediate success after acceptance
    Instant,
    /// Download in ranges, verification and installation time
    Real,
}

/// How devices take deployments and updates of the agent.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// Detail of the simulated installation
    #[arg(long, value_enum, default_value_t = DeployProfile::Real)]
    pub deploy_profile: DeployProfile,
    /// Share of installations per error code of the agent API, e.g. install_failed=0.1,in_call=0.05
    #[arg(long, value_name = "CODE=0..1", default_value = "", hide_default_value = true)]
    pub deploy_fail: Failures,
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
    pub install_time: Between,
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

/// A duration, or anything from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between(Duration, Duration);

impl FromStr for Between {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (from, to) = (duration::parse(from)?, duration::parse(to)?);
        if to < from { Err(format!("`{text}` ends before it begins")) } else { Ok(Self(from, to)) }
    }
}

impl Between {
    fn draw(self, rng: &mut SmallRng) -> Duration {
        let Self(from, to) = self;
        from + (to - from).mul_f64(rng.random_range(0.0..=1.0))
    }
}

/// How often each error code comes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Failures(Vec<(&'static str, f64)>);

impl FromStr for Failures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut failures = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (code, probability) = part.split_once('=').ok_or_else(|| format!("`{part}` is not of the form install_failed=0.1"))?;
            let code = ERROR_CODES.iter().find(|known| **known == code);
            let code = code.ok_or_else(|| format!("`{part}` names none of {}", ERROR_CODES.join(", ")))?;
            failures.push((*code, share(probability)?));
        }
        let sum: f64 = failures.iter().map(|(_, probability)| probability).sum();
        if sum > 1.0 + 1e-9 { Err(format!("together they are {sum}, more than 1")) } else { Ok(Self(failures)) }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|(code, probability)| format!("{code}={probability}")).collect::<Vec<_>>().join(","))
    }
}

/// A point of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Downloading,
    Verifying,
    Installing,
}

/// How one try goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fate {
    /// It ends with this error code.
    pub(super) fails: Option<&'static str>,
    /// From here on nothing more is said.
    pub(super) hangs: Option<Stage>,
    /// The device reboots here; whether it goes on afterwards.
    pub(super) reboots: Option<(Stage, bool)>,
    /// The network goes away once this share of the file is there.
    pub(super) drops: Option<f64>,
    pub(super) tells_twice: bool,
    pub(super) install_time: Duration,
}

impl Fate {
    /// The fate of a try: the same for the same seed, device, version and number of the try.
    pub(super) fn draw(args: &DeployArgs, seed: u64, device: u64, package: &str, version_code: i64, attempt: u32) -> Self {
        let mut rng = SmallRng::seed_from_u64(hash(seed, &format!("{device}|{package}|{version_code}|{attempt}")));
        let stage = |rng: &mut SmallRng| [Stage::Downloading, Stage::Verifying, Stage::Installing][rng.random_range(0..3)];
        let mut left: f64 = rng.random_range(0.0..1.0);
        let mut fails = None;
        for (code, probability) in &args.deploy_fail.0 {
            left -= probability;
            if left < 0.0 {
                fails = Some(*code);
                break;
            }
        }
        // All are drawn, whatever comes of them: one option does not change what the others do.
        let (hangs, hangs_at) = (rng.random_bool(args.deploy_hang), stage(&mut rng));
        let (reboots, reboots_at, goes_on) = (rng.random_bool(args.deploy_reboot), stage(&mut rng), rng.random_bool(0.5));
        let (drops, drops_at) = (rng.random_bool(args.deploy_drop), rng.random_range(0.1..0.9));
        Self {
            fails,
            hangs: hangs.then_some(hangs_at),
            reboots: reboots.then_some((reboots_at, goes_on)),
            drops: drops.then_some(drops_at),
            tells_twice: rng.random_bool(args.deploy_report_twice),
            install_time: args.install_time.draw(&mut rng),
        }
    }

    /// The error code that is said instead of accepting.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        self.fails.filter(|code| OBSTACLES.contains(code))
    }

    /// Whether it ends with this error code.
    pub(super) fn fails_with(&self, code: &str) -> bool {
        self.fails == Some(code)
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
    fn the_same_seed_tells_the_same_story_and_shares_are_kept() {
        let args = args("--deploy-fail install_failed=0.2,low_battery=0.1 --deploy-hang 0.1 --deploy-reboot 0.3 --install-time 1s..3s");
        let (mut failed, mut obstacles, mut hangs, mut reboots) = (0, 0, 0, 0);
        for device in 0..10_000 {
            let fate = Fate::draw(&args, 7, device, "com.example", 3, 1);
            assert_eq!(fate, Fate::draw(&args, 7, device, "com.example", 3, 1));
            assert!((Duration::from_secs(1)..=Duration::from_secs(3)).contains(&fate.install_time) && fate.drops.is_none());
            failed += u32::from(fate.fails_with("install_failed"));
            obstacles += u32::from(fate.obstacle() == Some("low_battery"));
            hangs += u32::from(fate.hangs.is_some());
            reboots += u32::from(fate.reboots.is_some());
        }
        for (count, about) in [(failed, 2_000), (obstacles, 1_000), (hangs, 1_000), (reboots, 3_000)] {
            assert!(u32::abs_diff(count, about) < 200, "{count} where {about} belong");
        }
        let other_try = (0..100).any(|n| Fate::draw(&args, 7, n, "p", 3, 1).fails != Fate::draw(&args, 7, n, "p", 3, 2).fails);
        assert!(other_try, "another try may end otherwise");
    }

    #[test]
    fn without_options_all_goes_well() {
        let fate = Fate::draw(&args(""), 1, 1, "p", 1, 1);
        assert!(fate.fails.is_none() && fate.hangs.is_none() && fate.reboots.is_none() && fate.drops.is_none() && !fate.tells_twice);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["install_failed", "explode=0.1", "install_failed=2", "install_failed=0.6,in_call=0.6"] {
            assert!(text.parse::<Failures>().is_err(), "{text}");
        }
        assert_eq!("in_call=0.5,timeout=0.5".parse::<Failures>().unwrap().to_string(), "in_call=0.5,timeout=0.5");
        assert!("3s..1s".parse::<Between>().is_err() && "x".parse::<Between>().is_err());
        assert_eq!("2s".parse::<Between>().unwrap(), "2s..2s".parse().unwrap());
    }
}
