//! The words of `ctl agent-builds`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Conditions of a promoted build.
#[derive(Args)]
pub(super) struct PromotionArgs {
    /// Percentage of devices, 1..100
    #[arg(long)]
    pub(super) percent: i64,
    /// Allow downloads over mobile data
    #[arg(long)]
    pub(super) mobile_data: bool,
    /// Force the installation: devices do not postpone it
    #[arg(long)]
    pub(super) must_install: bool,
    /// Minimum battery, %
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub(super) min_battery: i64,
    /// Skip the confirmation
    #[arg(long)]
    pub(super) yes: bool,
}

/// Subcommands for agent builds.
#[derive(Subcommand)]
pub(super) enum AgentBuildCommand {
    /// List builds, newest version first
    List,
    /// Add an uploaded agent APK as a build; it is not offered to devices yet
    Add {
        /// Id of the APK
        apk: String,
        /// Release notes (internal)
        #[arg(long, default_value = "")]
        notes: String,
    },
    /// Promote a build to a percentage of devices, or change its conditions
    Promote {
        /// Build id
        id: String,
        #[command(flatten)]
        promotion: PromotionArgs,
    },
    /// Upload an agent APK, add it as a build and promote it; completed steps are skipped
    Publish {
        /// APK file
        file: PathBuf,
        #[command(flatten)]
        promotion: PromotionArgs,
        /// Release notes (internal)
        #[arg(long, default_value = "")]
        notes: String,
        /// Allow the package with the signer of the file if it is not managed yet
        #[arg(long)]
        allow_package: bool,
        /// Package of the agent, if the server's agent_updates.package differs
        #[arg(long, default_value = enrollment_kit::PACKAGE)]
        package: String,
    },
    /// List the devices that need push messages in the format of the earlier server (commands.legacy_push)
    LegacyPush {
        /// List devices behind this one
        #[arg(long, value_name = "DEVICE")]
        after: Option<String>,
    },
    /// Show the agent APK for new devices
    Enrollment,
    /// Change the rollout percentage of a promoted build
    Rollout {
        /// Build id
        id: String,
        /// Percentage of devices, 1..100
        percent: i64,
        /// Skip the confirmation of a higher percentage
        #[arg(long)]
        yes: bool,
    },
    /// Roll a build back: it is no longer offered; devices that have installed it keep it
    Rollback {
        /// Build id
        id: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Notify devices that are offered a build and run an older version to check for updates now
    Nudge {
        /// Build id
        id: String,
        /// Commands per second
        #[arg(long)]
        rate: Option<i32>,
        /// Dry run: only count the devices
        #[arg(long)]
        dry_run: bool,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
        /// Idempotency key: repeating the call with the same key does not send again
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Statistics of a build
    Stats {
        /// Build id
        id: String,
        /// Range of the version statistics, hours
        #[arg(long, default_value_t = 168)]
        hours: i64,
    },
}
