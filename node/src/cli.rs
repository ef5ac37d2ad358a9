//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::ctl::CtlArgs;

/// A node of the NexMDM device-management server.
///
/// Without a command it serves: devices enroll and report over HTTP and sockets,
/// people use the dashboard. Without DATABASE_URL it keeps a private PostgreSQL
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

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve devices and people (the default).
    Serve,
    /// Bring the database up to date, and end.
    Migrate,
    /// Accounts of people.
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
    /// The settings in force.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keys and certificates of the link between nodes.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Make a node hand its devices over to the others, and wait until it has; then it can be stopped.
    Drain {
        /// Name of the node. Without one, the node of these settings.
        name: Option<String>,
        /// Let it take its part again.
        #[arg(long)]
        cancel: bool,
        /// How long to wait, seconds.
        #[arg(long, default_value_t = 60)]
        wait_seconds: u64,
    },
    /// Run the fleet from a terminal or a script, over the API of any node.
    Ctl(Box<CtlArgs>),
    /// Run the private PostgreSQL alone, until Ctrl-C; prints its URL.
    Database,
}

/// What to do with accounts.
#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account; prints its password unless one is given on standard input.
    Add {
        /// Name to sign in with.
        username: String,
        /// admin, operator or viewer.
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set a new password and end every sign-in of the account.
    ResetPassword {
        /// Name of the account.
        username: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Disable an account; its sign-ins and API tokens end for good.
    Disable {
        /// Name of the account.
        username: String,
    },
    /// Let a disabled account sign in again.
    Enable {
        /// Name of the account.
        username: String,
    },
    /// Change what an account may do.
    Role {
        /// Name of the account.
        username: String,
        /// admin, operator or viewer.
        role: String,
    },
    /// List the accounts.
    List,
}

/// What to do with enrollment tokens.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make single-use tokens and print them, one a line.
    Create {
        /// How many, 1..500.
        #[arg(long, default_value_t = 1)]
        count: i64,
        /// Seconds until they expire.
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
        /// Alias that the device gets; only with a count of 1.
        #[arg(long)]
        alias: Option<String>,
        /// Alias with n in braces, which counts from 1.
        #[arg(long, value_name = "PATTERN")]
        alias_pattern: Option<String>,
        /// Tag that the devices get; may be given again.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Group that the devices get; may be given again.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
}

/// What to do with the audit trail.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that no entry was changed, removed or moved; the exit code says whether it is whole.
    Verify {
        /// A head that was noted elsewhere, by the log's audit.head or GET /v1/audit/head: it has to be in the chain.
        #[arg(long, value_name = "SEQ:HASH")]
        expect: Option<String>,
    },
}

/// What to do with keys and certificates.
#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make the keys that all nodes share, and say how a further node gets them.
    Init,
    /// Make a certificate for a node that should not hold the cluster key.
    Issue {
        /// Name of the node.
        #[arg(long)]
        name: String,
        /// Folder to write ca.pem, node.pem and node.key to.
        #[arg(long)]
        out: PathBuf,
    },
}

/// What to do with the settings.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check them; the exit code says whether they are good.
    Check,
    /// Print them, secrets hidden.
    Print,
}
