//! The words of `ctl commands`, `ctl batches` and `ctl exec-commands`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::action::ActionKind;
use domain::param::{ParamKind, ParamSpec};

use super::filter_args::Filter;

/// Names of all actions.
fn action_names() -> String {
    ActionKind::ALL.map(ActionKind::as_str).join(", ")
}

/// Every action with what it does, and its parameters with their limits.
fn action_help() -> String {
    let mut help = "One of".to_owned();
    for spec in ActionKind::ALL.map(ActionKind::spec) {
        let owner = if spec.device_owner { " Device owner only." } else { "" };
        help.push_str(&format!("\n  {}: {}{owner}", spec.name, spec.description));
        for param in spec.params {
            help.push_str(&format!("\n      {}: {}", param.name, param_help(param)));
        }
    }
    help
}

/// Label and limits of a parameter.
fn param_help(param: &ParamSpec) -> String {
    let limits = match param.kind {
        ParamKind::Choice(_) => param.expected(),
        _ => param.form_hint(),
    };
    let default = param.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let optional = if param.required || param.default.is_some() { "" } else { " (optional)" };
    let limits = if limits.is_empty() { limits } else { format!(", {limits}") };
    format!("{}{limits}{default}{optional}", param.form_label())
}

/// A command for one device.
#[derive(Args)]
pub(super) struct CommandArgs {
    #[arg(help = action_names(), long_help = action_help())]
    pub(super) action: String,
    /// Parameter, e.g. duration_s=10 or package=com.example.kiosk; repeatable
    #[arg(long = "param", short, value_name = "KEY=VALUE")]
    pub(super) params: Vec<String>,
    /// Name of a secret parameter to read from the first line of standard input, e.g. password
    #[arg(long, value_name = "KEY")]
    pub(super) param_stdin: Option<String>,
    /// Seconds until the command expires
    #[arg(long, value_name = "SECONDS")]
    pub(super) expires_in: Option<i64>,
    /// Skip the confirmation of disruptive actions
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Subcommand)]
pub(super) enum CommandCommand {
    /// Send a command to a device
    Send {
        /// Id or alias
        device: String,
        #[command(flatten)]
        command: CommandArgs,
        /// Wait for the outcome. Exit code 0 if the command succeeded
        #[arg(long)]
        wait: bool,
        /// Timeout of the wait, seconds; the command itself is not canceled
        #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
        wait_at_most: u64,
        /// Idempotency key of the call
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// List commands, newest first
    List {
        /// Only this device, by id or alias
        #[arg(long)]
        device: Option<String>,
        /// queued, sent, delivered, succeeded, failed, expired or canceled
        #[arg(long)]
        state: Option<String>,
        /// Only with this action
        #[arg(long)]
        action: Option<String>,
        /// Only requested by this account
        #[arg(long)]
        by: Option<String>,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a command and its outcome
    Show {
        /// Request id
        id: String,
    },
    /// Cancel a command
    Cancel {
        /// Request id
        id: String,
    },
}

/// A command for many devices.
#[derive(Args)]
pub(super) struct NewBatch {
    #[command(flatten)]
    pub(super) command: CommandArgs,
    /// Device, by id or alias; repeatable
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) devices: Vec<String>,
    /// All devices
    #[arg(long, conflicts_with = "devices")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Commands per second
    #[arg(long, value_name = "COMMANDS")]
    pub(super) rate: Option<i32>,
    /// Dry run: show the plan only
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Idempotency key of the call
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum BatchCommand {
    /// Send a command to many devices
    Create(Box<NewBatch>),
    /// List batches, newest first
    List {
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a batch and its progress
    Show {
        /// Batch id
        id: String,
        /// Show the progress until the batch has finished
        #[arg(long)]
        watch: bool,
    },
    /// List the commands of a batch
    Items {
        /// Batch id
        id: String,
        /// Only this state
        #[arg(long)]
        state: Option<String>,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Cancel the pending commands of a batch
    Cancel {
        /// Batch id
        id: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Export the commands of a batch as CSV
    Csv {
        /// Batch id
        id: String,
        /// Output file [default: standard output]
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(super) enum ExecCommand {
    /// List allowed commands
    List,
    /// Allow a command, or change its definition
    Set {
        /// Name of the command
        name: String,
        /// Description
        #[arg(long, default_value = "")]
        description: String,
        /// Absolute path of the program and its arguments, after --
        #[arg(required = true, last = true)]
        argv: Vec<String>,
    },
    /// Remove an allowed command
    Remove {
        /// Name of the command
        name: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}
