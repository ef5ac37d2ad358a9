//! The command line of `nexmdm ctl`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::agent_build_args::AgentBuildCommand;
use super::alert_args::AlertCommand;
use super::apk_args::{ApkCommand, PackageCommand};
use super::command_args::{BatchCommand, CommandCommand, ExecCommand};
use super::deployment_args::{DeploymentCommand, FlagCommand};
use super::filter_args::Filter;
use super::reports::ReportCommand;
use super::storage::PartitionCommand;

/// Arguments of `nexmdm ctl`.
#[derive(Args)]
pub(crate) struct CtlArgs {
    /// URL of any node, e.g. https://mdm.example.org [default: the server of the last login]
    #[arg(long, global = true, env = "NEXMDM_SERVER", value_name = "URL")]
    pub(super) server: Option<String>,
    /// CA certificate (PEM) of a server with a certificate that is not publicly trusted
    #[arg(long, global = true, env = "NEXMDM_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// API token [default: the session of `ctl login`]
    #[arg(long, global = true, env = "NEXMDM_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Output format
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    #[command(subcommand)]
    pub(super) command: CtlCommand,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Table
    Table,
    /// The API's JSON response
    Json,
}

#[derive(Subcommand)]
pub(super) enum CtlCommand {
    /// Sign in and store the session in a file that only you can read
    Login {
        /// User name; prompted for if absent
        #[arg(long, short)]
        username: Option<String>,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Sign out and delete the stored session
    Logout,
    /// Show the current user, role and scopes
    Whoami,
    /// Fleet statistics
    Stats,
    /// Devices
    Devices {
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// Commands to single devices, and their outcome
    Commands {
        #[command(subcommand)]
        command: CommandCommand,
    },
    /// Command batches to many devices
    Batches {
        #[command(subcommand)]
        command: BatchCommand,
    },
    /// Deployments of APKs to devices
    Deployments {
        #[command(subcommand)]
        command: DeploymentCommand,
    },
    /// Cluster-wide feature flags
    Flags {
        #[command(subcommand)]
        command: FlagCommand,
    },
    /// Allowed commands of the action exec
    ExecCommands {
        #[command(subcommand)]
        command: ExecCommand,
    },
    /// Uploaded APKs
    Apks {
        #[command(subcommand)]
        command: ApkCommand,
    },
    /// Managed packages and their allowed signers
    Packages {
        #[command(subcommand)]
        command: PackageCommand,
    },
    /// Agent builds and their rollout
    AgentBuilds {
        #[command(subcommand)]
        command: AgentBuildCommand,
    },
    /// Enrollment tokens
    Tokens {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// User accounts
    Users {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// API tokens for scripts
    ApiTokens {
        #[command(subcommand)]
        command: ApiTokenCommand,
    },
    /// Alerts, their rules, silences, channels and routes
    Alerts {
        #[command(subcommand)]
        command: AlertCommand,
    },
    /// Reports of the fleet
    Reports {
        #[command(subcommand)]
        command: ReportCommand,
    },
    /// Audit trail
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Nodes and shards
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// What history takes: sizes, growth, and when the disk is full
    Storage,
    /// Days of heartbeats and their archives
    Partitions {
        #[command(subcommand)]
        command: PartitionCommand,
    },
    /// Print a shell completion script, e.g. `source <(nexmdm ctl completion bash)`
    Completion {
        /// Shell
        shell: Shell,
    },
}

#[derive(Subcommand)]
pub(super) enum DeviceCommand {
    /// List devices
    List {
        #[command(flatten)]
        filter: Filter,
        /// Sort key: alias, last_seen_at, battery_pct or enrolled_at; a leading - sorts descending
        #[arg(long, allow_hyphen_values = true)]
        sort: Option<String>,
        /// Deleted devices that can be restored
        #[arg(long)]
        deleted: bool,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a device with its live state
    Show {
        /// Id or alias
        device: String,
    },
    /// List events of a device, newest first
    Events {
        /// Id or alias
        device: String,
        /// Maximum number of rows
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Change alias, tags or groups
    Edit {
        /// Id or alias
        device: String,
        /// New alias
        #[arg(long)]
        alias: Option<String>,
        /// Tag to add; repeatable
        #[arg(long, value_name = "TAG")]
        add_tag: Vec<String>,
        /// Tag to remove; repeatable
        #[arg(long, value_name = "TAG")]
        remove_tag: Vec<String>,
        /// Group to add; repeatable
        #[arg(long, value_name = "GROUP")]
        add_group: Vec<String>,
        /// Group to remove; repeatable
        #[arg(long, value_name = "GROUP")]
        remove_group: Vec<String>,
    },
    /// Dismiss the identity conflict of devices: each is one device; held commands are sent
    DismissConflict {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Put a device in the place of an earlier enrollment of the same hardware, which is deleted
    Replace {
        /// Id or alias of the device that remains
        device: String,
        /// Id or alias of the device that is replaced
        #[arg(long, value_name = "DEVICE")]
        older: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Revoke all credentials of devices; the devices have to enroll again
    Revoke {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Delete devices; they can be restored within 7 days
    Delete {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Restore deleted devices
    Restore {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Export devices as CSV
    Export {
        #[command(flatten)]
        filter: Filter,
        /// Output file [default: standard output]
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Export the heartbeats of a device as CSV, from the archive where they are no longer in the database
    Heartbeats {
        /// Alias or id of the device
        device: String,
        /// First time, e.g. 2026-08-01T00:00:00Z [default: 24 hours before the last]
        #[arg(long)]
        from: Option<String>,
        /// Last time [default: now]
        #[arg(long)]
        to: Option<String>,
        /// Output file [default: standard output]
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Import aliases, tags and groups from CSV; a dry run unless --apply is given
    Import {
        /// CSV file
        file: PathBuf,
        /// Apply the changes
        #[arg(long)]
        apply: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// List enrollment tokens, newest first
    List {
        /// unused, used, expired or revoked
        #[arg(long)]
        status: Option<String>,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Create single-use tokens; their secrets are shown once
    Create {
        /// Number of tokens, 1..500
        #[arg(long, default_value_t = 1)]
        count: i64,
        /// Seconds until the tokens expire
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
        /// Alias of the device; only with a count of 1
        #[arg(long)]
        alias: Option<String>,
        /// Alias pattern; n in braces is replaced by the number, from 1
        #[arg(long, value_name = "PATTERN")]
        alias_pattern: Option<String>,
        /// Tag of the devices; repeatable
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Group of the devices; repeatable
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Create the script that enrolls devices with these tokens over USB
    Script {
        /// Token secrets from `create`; one per device
        #[arg(required = true)]
        tokens: Vec<String>,
        /// Shell
        #[arg(long, default_value = "bash", value_parser = ["bash", "powershell", "cmd"])]
        shell: String,
        /// Do not install the agent: it is already installed
        #[arg(long)]
        no_install: bool,
        /// Server URL for devices [default: --server]
        #[arg(long, value_name = "URL")]
        server_url: Option<String>,
        /// Output file [default: standard output]
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Revoke a token
    Revoke {
        /// Token id
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// List accounts
    List,
    /// Add an account; prints a generated password unless one is given on standard input
    Add {
        /// User name
        username: String,
        /// admin, operator or viewer
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        /// Address of mail; without a password an invitation is sent to it, if there is a mail server
        #[arg(long)]
        email: Option<String>,
    },
    /// Set the e-mail address of an account; empty: none
    Email {
        /// User name
        username: String,
        /// Address
        email: String,
    },
    /// Send an account a link by which its password is set
    Invite {
        /// User name
        username: String,
    },
    /// Disable an account and end its sessions
    Disable {
        /// User name
        username: String,
    },
    /// Enable an account
    Enable {
        /// User name
        username: String,
    },
    /// Change the role of an account
    Role {
        /// User name
        username: String,
        /// admin, operator or viewer
        role: String,
    },
    /// Reset the password and end all sessions of the account
    ResetPassword {
        /// User name
        username: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum ApiTokenCommand {
    /// List API tokens
    List,
    /// Create an API token; its secret is shown once
    Create {
        /// Name of the token
        name: String,
        /// Scope; repeatable: devices:read, devices:write, enrollment:read, enrollment:write,
        /// cluster:read, cluster:manage, users:manage, tokens:manage, commands:read, commands:send, commands:sensitive, exec:manage,
        /// audit:read, deployments:read, deployments:write, apks:upload, packages:manage, agent_builds:manage,
        /// flags:manage, alerts:read, alerts:write, alert_channels:manage
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// Days until the token expires
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        expires_in_days: i64,
    },
    /// Revoke an API token
    Revoke {
        /// Token id
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum ClusterCommand {
    /// List nodes and their shards
    Show,
    /// List periodic work of the cluster and of each node: last run, failures
    Reconcilers,
    /// List the pools of each node: in use, waiting, refused
    Pools,
    /// List the database connections of each node: in use, waiting, waits
    Connections,
    /// Drain a node: move its devices to other nodes
    Drain {
        /// Name of the node
        node: String,
    },
    /// Resume a node: it accepts shards again
    Resume {
        /// Name of the node
        node: String,
    },
}

/// Subcommands for the audit trail.
#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// List entries, newest first
    List {
        /// Actor: name or id
        #[arg(long)]
        actor: Option<String>,
        /// Action or its prefix: device.edited, device.
        #[arg(long)]
        action: Option<String>,
        /// Target: name or id
        #[arg(long)]
        target: Option<String>,
        /// Request id
        #[arg(long)]
        request_id: Option<String>,
        /// Text in names or changed values
        #[arg(long)]
        text: Option<String>,
        /// Start time, e.g. 2026-11-21T15:36:17Z
        #[arg(long)]
        from: Option<String>,
        /// End time
        #[arg(long)]
        to: Option<String>,
        /// Also search the archives of entries that left the database; each page reads as much of them as one request may
        #[arg(long)]
        archived: bool,
        /// Maximum number of entries; 0: all
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show sequence number and hash of the newest entry, to record them in a tamper-proof place
    Head,
}
