//! The command line.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Parser, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::backup_args::BackupCommand;
use crate::ctl::CtlArgs;

/// A node of the NexMDM device-management server.
///
/// Without a command it serves the agent API (HTTP and WebSocket), the admin API
/// and the dashboard. Without DATABASE_URL it keeps a private PostgreSQL
/// under its data folder.
#[derive(Parser)]
#[command(name = "nexmdm", version, after_help = "Settings: config/default.toml names every key; NEXMDM__SECTION__KEY overrides it.")]
pub(crate) struct Cli {
    /// File with settings that differ from the defaults (TOML).
    #[arg(long, short, global = true, env = "NEXMDM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Subcommands of the server.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server (the default).
    Serve,
    /// Apply database migrations and exit.
    Migrate,
    /// User accounts.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Enrollment tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// The audit trail.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Backups: database, keys, APKs and archives in one encrypted file.
    Backup {
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Effective configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keys and certificates of the link between nodes.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Drain a node: move its devices to the other nodes and wait until it owns none. The node can be stopped then.
    Drain {
        /// Name of the node [default: the node of this configuration].
        name: Option<String>,
        /// Resume the node: it accepts shards again.
        #[arg(long)]
        cancel: bool,
        /// Timeout, seconds.
        #[arg(long, default_value_t = 60)]
        wait_seconds: u64,
        /// Seconds to wait once it owns none, so that balancers stop sending to it before it is stopped.
        #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600))]
        settle_seconds: u64,
    },
    /// Ask the node of this configuration whether it is ready to serve. Exit code 0 if it is. For containers and scripts on its machine.
    Healthcheck {
        /// Only whether the process answers.
        #[arg(long)]
        live: bool,
        /// Timeout, milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
        timeout_ms: u64,
    },
    /// API client: manage the fleet from a terminal or a script.
    Ctl(Box<CtlArgs>),
    /// Daily partitions of heartbeats and their archives.
    Partitions {
        #[command(subcommand)]
        command: PartitionsCommand,
    },
    /// Examine this node's surroundings: database, clock, limits, disk, certificates, peers, push, mail, archives and backups. Changes and sends
    /// nothing. Exit code 0 if nothing failed, else 1.
    Doctor {
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Run only the private PostgreSQL until Ctrl-C; prints its URL.
    Database {
        /// Make a new database if the data folder has none.
        #[arg(long)]
        create: bool,
    },
}

/// Subcommands for accounts.
#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account; prints a generated password unless one is given on standard input.
    Add {
        /// User name.
        username: String,
        /// admin, operator or viewer.
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Reset the password and end all sessions of the account.
    ResetPassword {
        /// User name.
        username: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Disable an account; its sessions end and its API tokens are revoked.
    Disable {
        /// User name.
        username: String,
    },
    /// Enable a disabled account.
    Enable {
        /// User name.
        username: String,
    },
    /// Change the role of an account.
    Role {
        /// User name.
        username: String,
        /// admin, operator or viewer.
        role: String,
    },
    /// List the accounts.
    List,
}

/// Subcommands for enrollment tokens.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Create single-use tokens and print them, one per line.
    Create {
        /// Number of tokens, 1..500.
        #[arg(long, default_value_t = 1)]
        count: i64,
        /// Seconds until the tokens expire.
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
        /// Alias of the device; only with a count of 1.
        #[arg(long)]
        alias: Option<String>,
        /// Alias pattern; n in braces is replaced by the number, from 1.
        #[arg(long, value_name = "PATTERN")]
        alias_pattern: Option<String>,
        /// Tag of the devices; repeatable.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Group of the devices; repeatable.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
}

/// Subcommands for the audit trail.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify the hash chain: no entry was changed, removed or reordered. Exit code 0 if it is intact.
    Verify {
        /// A recorded head (log event audit.head or GET /v1/audit/head) that must be in the chain.
        #[arg(long, value_name = "SEQ:HASH")]
        expect: Option<String>,
    },
}

/// Subcommands for partitions.
#[derive(Subcommand)]
pub(crate) enum PartitionsCommand {
    /// List the days: state, rows, sizes, archive, and what is next.
    List {
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Do what is due: create, attach, analyze, archive, verify, drop. Exit code 0 if all of it is done.
    Run {
        /// Only show what is due.
        #[arg(long)]
        dry_run: bool,
        /// Plan and act as of noon (UTC) of this day; refused beside a live node.
        #[arg(long, value_name = "YYYY-MM-DD")]
        today: Option<NaiveDate>,
        /// With --today: also beside a live node.
        #[arg(long, requires = "today")]
        force: bool,
        /// Read without rests, whoever waits, instead of at the pace of [pace].
        #[arg(long)]
        full_speed: bool,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Archive a day that is over, and verify the archive; the partition stays.
    Archive {
        /// The day.
        #[arg(value_name = "YYYY-MM-DD")]
        day: NaiveDate,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Read archives back from the store and compare them with what is recorded. Exit code 0 if they match.
    Verify {
        /// The day [default: every day that has an archive].
        #[arg(value_name = "YYYY-MM-DD")]
        day: Option<NaiveDate>,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Bring a dropped day back from its archive, for history.restored_kept_days.
    Restore {
        /// The day.
        #[arg(value_name = "YYYY-MM-DD")]
        day: NaiveDate,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Drop the table of a restored day before its time; the archive is read back first.
    Forget {
        /// The day.
        #[arg(value_name = "YYYY-MM-DD")]
        day: NaiveDate,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the rows of a day's archive: CSV, or with --output json an object per line.
    Export {
        /// The day.
        #[arg(value_name = "YYYY-MM-DD")]
        day: NaiveDate,
        /// Only the rows of these devices [default: of all].
        #[arg(value_name = "DEVICE")]
        devices: Vec<Uuid>,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Output formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
}

/// Subcommands for keys and certificates.
#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Create the keys that all nodes share, and print how to add a node.
    Init,
    /// Issue a certificate for a node that does not hold the cluster key.
    Issue {
        /// Name of the node.
        #[arg(long)]
        name: String,
        /// Output folder for ca.pem, node.pem and node.key.
        #[arg(long)]
        out: PathBuf,
    },
    /// Make the keys of this configuration those of the cluster, after jwt_key or cluster_key were replaced; every node is stopped meanwhile.
    Rekey,
}

/// Subcommands for the configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Validate the configuration and name unsafe settings. Exit code 0 if it is valid.
    Check {
        /// Treat unsafe settings as errors.
        #[arg(long)]
        strict: bool,
    },
    /// Print the effective configuration with secrets hidden.
    Print,
}
