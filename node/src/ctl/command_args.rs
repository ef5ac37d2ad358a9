//! The words of `ctl commands`, `ctl batches` and `ctl exec-commands`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::Filter;

/// What to tell a device.
#[derive(Args)]
pub(super) struct CommandArgs {
    /// ping, ring, wake, sync, launch_app, restart_app, set_monitored_app, wifi_connect, update, lock, reboot,
    /// clear_app_data, exec or rotate_key
    pub(super) action: String,
    /// A parameter, e.g. duration_s=10 or package=com.example.kiosk; may be given again
    #[arg(long = "param", short, value_name = "KEY=VALUE")]
    pub(super) params: Vec<String>,
    /// Read the value of a parameter that is secret from the first line of standard input, e.g. password
    #[arg(long, value_name = "KEY")]
    pub(super) param_stdin: Option<String>,
    /// Seconds until it is worthless
    #[arg(long, value_name = "SECONDS")]
    pub(super) expires_in: Option<i64>,
    /// Do not ask, where it may cost something on the device
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Subcommand)]
pub(super) enum CommandCommand {
    /// Tell one device to do something
    Send {
        /// Id or alias
        device: String,
        #[command(flatten)]
        order: CommandArgs,
        /// Wait for the outcome; the exit code says whether it succeeded
        #[arg(long)]
        wait: bool,
        /// Most seconds to wait; the command itself goes on
        #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
        wait_at_most: u64,
        /// Makes a repeated call the same one
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// List commands, newest first
    List {
        /// Only of this device, by id or alias
        #[arg(long)]
        device: Option<String>,
        /// queued, sent, delivered, succeeded, failed, expired or canceled
        #[arg(long)]
        state: Option<String>,
        /// Only with this action
        #[arg(long)]
        action: Option<String>,
        /// Only that this account asked for
        #[arg(long)]
        by: Option<String>,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One command, and what became of it
    Show {
        /// Its request id
        id: String,
    },
    /// Take a command back
    Cancel {
        /// Its request id
        id: String,
    },
}

/// What to tell which devices.
#[derive(Args)]
pub(super) struct NewBatch {
    #[command(flatten)]
    pub(super) order: CommandArgs,
    /// A device, by id or alias; may be given again
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) devices: Vec<String>,
    /// Every device
    #[arg(long, conflicts_with = "devices")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Commands that are sent in a second
    #[arg(long, value_name = "COMMANDS")]
    pub(super) rate: Option<i32>,
    /// Only say what it would come to
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Makes a repeated call the same one
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum BatchCommand {
    /// Tell many devices to do something
    Create(Box<NewBatch>),
    /// List batches, newest first
    List {
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// A batch, and how far it got
    Show {
        /// Its id
        id: String,
        /// Go on showing it until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Each device of a batch
    Items {
        /// Its id
        id: String,
        /// Only in this state
        #[arg(long)]
        state: Option<String>,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Take back what is open of a batch
    Cancel {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Write each device of a batch as CSV
    Csv {
        /// Its id
        id: String,
        /// File to write; standard output when absent
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(super) enum ExecCommand {
    /// List the commands that `exec` may run
    List,
    /// Allow a command, or change what a name stands for
    Set {
        /// What people call it by
        name: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// The program by its absolute path, and its arguments, after --
        #[arg(required = true, last = true)]
        argv: Vec<String>,
    },
    /// Allow a command no longer
    Remove {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
