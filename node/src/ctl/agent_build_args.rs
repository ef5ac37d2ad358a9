//! The words of `ctl agent-builds`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// How a build is offered.
#[derive(Args)]
pub(super) struct PromotionArgs {
    /// Share of the devices, 1..100
    #[arg(long)]
    pub(super) percent: i64,
    /// Let devices download it over mobile data too
    #[arg(long)]
    pub(super) mobile_data: bool,
    /// Devices must not put it off
    #[arg(long)]
    pub(super) must_install: bool,
    /// Lowest charge to install at, %
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub(super) min_battery: i64,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

/// What to do with builds of the agent.
#[derive(Subcommand)]
pub(super) enum AgentBuildCommand {
    /// Builds, the newest version first
    List,
    /// Make an uploaded APK of the agent a build; no device is offered it yet
    Add {
        /// Id of the APK
        apk: String,
        /// What is new, for people
        #[arg(long, default_value = "")]
        notes: String,
    },
    /// Offer a build to a share of the devices, or offer it in another way
    Promote {
        /// Id of the build
        id: String,
        #[command(flatten)]
        promotion: PromotionArgs,
    },
    /// Upload an APK of the agent, make it a build and offer it to a share of the devices; what is done already is left out
    Publish {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        promotion: PromotionArgs,
        /// What is new, for people
        #[arg(long, default_value = "")]
        notes: String,
        /// Allow the package with the signer of the file, if it is not managed yet
        #[arg(long)]
        allow_package: bool,
        /// Package of the agent, where the server has another one (agent_updates.package)
        #[arg(long, default_value = actors::enrollment_kit::PACKAGE)]
        package: String,
    },
    /// The agent that new devices get from the server
    Enrollment,
    /// Change the share of devices that a promoted build is offered to
    Rollout {
        /// Id of the build
        id: String,
        /// Share of the devices, 1..100
        percent: i64,
        /// Do not ask, even if it is more than before
        #[arg(long)]
        yes: bool,
    },
    /// Offer a build no longer; devices that run it keep it
    Rollback {
        /// Id of the build
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Tell devices that are offered a build and run an older version to look for it now
    Nudge {
        /// Id of the build
        id: String,
        /// Commands a second
        #[arg(long)]
        rate: Option<i32>,
        /// Only say how many they are
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// The same key again does not send again
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// What became of a build
    Stats {
        /// Id of the build
        id: String,
        /// How far back versions are told, hours
        #[arg(long, default_value_t = 168)]
        hours: i64,
    },
}
