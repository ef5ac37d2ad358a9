//! The command line of `nexmdm ctl deployments` and `nexmdm ctl flags`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum, value_parser};
use domain::deployment::{CliFlag, OptionSpec, option_specs};
use domain::param::{ParamKind, ParamValue};
use serde_json::Value;

use super::filter_args::Filter;

#[derive(Subcommand)]
pub(super) enum DeploymentCommand {
    /// Deploy an APK; shows the plan and asks for confirmation
    Create(Box<NewDeployment>),
    /// List deployments, newest first
    List {
        /// running, paused, canceled or finished
        #[arg(long)]
        state: Option<String>,
        /// Only this package
        #[arg(long)]
        package: Option<String>,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a deployment and its progress
    Show {
        /// Deployment id
        id: String,
        /// Wait until the deployment has finished or paused. Exit code 0 if it finished without failures
        #[arg(long)]
        watch: bool,
    },
    /// List the devices of a deployment
    Tasks {
        /// Deployment id
        id: String,
        /// Only this state
        #[arg(long)]
        state: Option<String>,
        /// Only this reason
        #[arg(long)]
        reason: Option<String>,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// List the events of a deployment, newest first
    Events {
        /// Deployment id
        id: String,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Pause a deployment: no new installs start; installs in progress are left to finish
    Pause {
        /// Deployment id
        id: String,
    },
    /// Resume a deployment
    Resume {
        /// Deployment id
        id: String,
    },
    /// Cancel a deployment
    Cancel {
        /// Deployment id
        id: String,
        /// Skip the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Roll back a deployment: install the rollback build on the devices that got the version
    Rollback {
        /// Deployment id
        id: String,
        /// Skip the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Export the devices of a deployment as CSV
    Csv {
        /// Deployment id
        id: String,
        /// Output file [default: standard output]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Options that have a flag of their own, as they are declared.
pub(super) struct OptionFlags(pub(super) Vec<(&'static OptionSpec, Value)>);

impl Args for OptionFlags {
    fn augment_args(command: Command) -> Command {
        option_specs().filter_map(|spec| Some((spec, spec.flag?))).fold(command, |command, (spec, flag)| {
            let arg = Arg::new(flag.name).long(flag.name).help(flag.help);
            command.arg(match spec.param.kind {
                ParamKind::Flag => arg.action(ArgAction::SetTrue),
                ParamKind::Choice(choices) => arg.value_parser(choices.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
                _ => arg.value_name(if spec.param.unit == "%" { "PERCENT" } else { "N" }).value_parser(value_parser!(i64)),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |(spec, flag): (&'static OptionSpec, CliFlag)| match (spec.param.kind, spec.default_value()) {
            // The opposite of what holds without it.
            (ParamKind::Flag, Some(ParamValue::Flag(default))) => matches.get_flag(flag.name).then(|| (spec, (!default).into())),
            (ParamKind::Choice(_), _) => matches.get_one::<String>(flag.name).map(|name| (spec, name.clone().into())),
            _ => matches.get_one::<i64>(flag.name).map(|number| (spec, (*number).into())),
        };
        Ok(Self(option_specs().filter_map(|spec| Some((spec, spec.flag?))).filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Args)]
pub(super) struct NewDeployment {
    /// APK id
    pub(super) apk: String,
    /// Name of the deployment, shown in lists
    #[arg(long)]
    pub(super) name: Option<String>,
    /// All devices
    #[arg(long)]
    pub(super) fleet: bool,
    /// Device, by alias or id; repeatable
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) devices: Vec<String>,
    #[command(flatten)]
    pub(super) filter: Filter,
    #[command(flatten)]
    pub(super) flags: OptionFlags,
    /// Maintenance window, e.g. 22:00-05:00@Europe/Berlin
    #[arg(long, value_name = "WINDOW")]
    pub(super) window: Option<String>,
    /// Other options, as JSON of the API
    #[arg(long, value_name = "JSON")]
    pub(super) options: Option<String>,
    /// Supersede older deployments of the package
    #[arg(long)]
    pub(super) supersede: bool,
    /// Dry run: show the plan only
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Skip the confirmation
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Idempotency key of the call
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum FlagCommand {
    /// List flags
    List,
    /// Set a flag
    Set {
        /// deployments.enabled, deployments.kill_switch or alerts.remediation_stop
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
