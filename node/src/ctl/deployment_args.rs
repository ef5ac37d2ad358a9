//! The command line of `nexmdm ctl deployments` and `nexmdm ctl flags`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::Filter;

#[derive(Subcommand)]
pub(super) enum DeploymentCommand {
    /// Deploy an APK; says what it comes to and asks before it does
    Create(Box<NewDeployment>),
    /// List deployments, newest first
    List {
        /// running, paused, canceled or finished
        #[arg(long)]
        state: Option<String>,
        /// Only of this package
        #[arg(long)]
        package: Option<String>,
        /// At most so many; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One deployment and how far it got
    Show {
        /// Its id
        id: String,
        /// Wait until it is over or paused; the exit code says whether all went well
        #[arg(long)]
        watch: bool,
    },
    /// Its devices
    Tasks {
        /// Its id
        id: String,
        /// Only in this state
        #[arg(long)]
        state: Option<String>,
        /// Only for this reason
        #[arg(long)]
        reason: Option<String>,
        /// At most so many; 0: all
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// What happened to it, newest first
    Events {
        /// Its id
        id: String,
        /// At most so many; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Nothing of it begins any more; what is installing is left to finish
    Pause {
        /// Its id
        id: String,
    },
    /// Let it go on
    Resume {
        /// Its id
        id: String,
    },
    /// Call it off
    Cancel {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Take it back: deploy what was good to the devices that have it
    Rollback {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Its devices as a table
    Csv {
        /// Its id
        id: String,
        /// Where to; standard output when absent
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(super) struct NewDeployment {
    /// Id of the APK
    pub(super) apk: String,
    /// For people
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The whole fleet
    #[arg(long)]
    pub(super) fleet: bool,
    /// A device, by alias or id; may be given again
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) devices: Vec<String>,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// First devices; 0: none
    #[arg(long, value_name = "N")]
    pub(super) canary: Option<u32>,
    /// Success of the first devices that opens the gate, percent
    #[arg(long, value_name = "PERCENT")]
    pub(super) threshold: Option<u8>,
    /// Installations that start within a minute; 0: no limit
    #[arg(long, value_name = "N")]
    pub(super) rate: Option<u32>,
    /// Devices at a time
    #[arg(long, value_name = "N")]
    pub(super) concurrency: Option<u32>,
    /// Over any network, not only Wi-Fi
    #[arg(long)]
    pub(super) any_network: bool,
    /// Least charge, percent
    #[arg(long, value_name = "PERCENT")]
    pub(super) min_battery: Option<u8>,
    /// Only while charging
    #[arg(long)]
    pub(super) charging_only: bool,
    /// Only at this time of the day, e.g. 22:00-05:00@Europe/Berlin
    #[arg(long, value_name = "WINDOW")]
    pub(super) window: Option<String>,
    /// Every other option, JSON as the API has it
    #[arg(long, value_name = "JSON")]
    pub(super) options: Option<String>,
    /// Take devices over from an older open deployment of the package
    #[arg(long)]
    pub(super) supersede: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Makes a repeated call happen once
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum FlagCommand {
    /// Every flag as it is
    List,
    /// Turn one on or off
    Set {
        /// deployments.enabled or deployments.kill_switch
        name: String,
        /// on or off
        to: OnOff,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnOff {
    On,
    Off,
}
