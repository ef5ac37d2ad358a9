//! The command line of `nexmdm ctl`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::agent_build_args::AgentBuildCommand;
use super::apk_args::{ApkCommand, PackageCommand};
use super::command_args::{BatchCommand, CommandCommand, ExecCommand};
use super::deployment_args::{DeploymentCommand, FlagCommand};

/// Arguments of `nexmdm ctl`.
#[derive(Args)]
pub(crate) struct CtlArgs {
    /// Any node, e.g. https://mdm.example.org [default: the one signed in to last]
    #[arg(long, global = true, env = "NEXMDM_SERVER", value_name = "URL")]
    pub(super) server: Option<String>,
    /// Certificate authority of a server whose certificate is not publicly trusted, PEM
    #[arg(long, global = true, env = "NEXMDM_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// An API token; without one, the sign-in of `ctl login`
    #[arg(long, global = true, env = "NEXMDM_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// How answers are shown
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    #[command(subcommand)]
    pub(super) command: CtlCommand,
}

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For scripts: what the API answered
    Json,
}

#[derive(Subcommand)]
pub(super) enum CtlCommand {
    /// Sign in, and remember it in a file that only you can read
    Login {
        /// Name of the account; asked for when absent
        #[arg(long, short)]
        username: Option<String>,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// End the sign-in that is remembered
    Logout,
    /// Who you are, and what you may do
    Whoami,
    /// Counts over the fleet
    Stats,
    /// Devices
    Devices {
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// Tell devices what to do, and see what became of it
    Commands {
        #[command(subcommand)]
        command: CommandCommand,
    },
    /// The same to many devices at once
    Batches {
        #[command(subcommand)]
        command: BatchCommand,
    },
    /// APKs on their way to devices
    Deployments {
        #[command(subcommand)]
        command: DeploymentCommand,
    },
    /// Features that are on or off for the whole cluster
    Flags {
        #[command(subcommand)]
        command: FlagCommand,
    },
    /// What the command exec may run on devices
    ExecCommands {
        #[command(subcommand)]
        command: ExecCommand,
    },
    /// APKs in the library
    Apks {
        #[command(subcommand)]
        command: ApkCommand,
    },
    /// Packages that may be deployed, and who may sign them
    Packages {
        #[command(subcommand)]
        command: PackageCommand,
    },
    /// Updates of the agent
    AgentBuilds {
        #[command(subcommand)]
        command: AgentBuildCommand,
    },
    /// Enrollment tokens
    Tokens {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Accounts of people
    Users {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// API tokens for scripts
    ApiTokens {
        #[command(subcommand)]
        command: ApiTokenCommand,
    },
    /// Who did what to what
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Nodes and shards
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// A completion script for a shell, e.g. `source <(nexmdm ctl completion bash)`
    Completion {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Args)]
pub(super) struct Filter {
    /// online, offline or never_seen
    #[arg(long)]
    pub(super) status: Option<String>,
    /// Only devices with this tag
    #[arg(long)]
    pub(super) tag: Option<String>,
    /// Only devices of this group
    #[arg(long)]
    pub(super) group: Option<String>,
    /// Part of alias, model or hardware id
    #[arg(long, short = 'q')]
    pub(super) text: Option<String>,
    /// Only devices whose battery is below this percentage
    #[arg(long, value_name = "PERCENT")]
    pub(super) battery_below: Option<i16>,
    /// Only devices whose agent has this version
    #[arg(long)]
    pub(super) app_version: Option<String>,
    /// Only devices of this model
    #[arg(long)]
    pub(super) model: Option<String>,
}

impl Filter {
    /// As the query of the API has it.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("status", &self.status),
            ("tag", &self.tag),
            ("group", &self.group),
            ("text", &self.text),
            ("app_version", &self.app_version),
            ("model", &self.model),
        ];
        let mut query: Vec<_> = texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        query.extend(self.battery_below.map(|percent| ("battery_below", percent.to_string())));
        query
    }
}

#[derive(Subcommand)]
pub(super) enum DeviceCommand {
    /// List devices
    List {
        #[command(flatten)]
        filter: Filter,
        /// alias, last_seen_at, battery_pct or enrolled_at; with - in front, the other way round
        #[arg(long, allow_hyphen_values = true)]
        sort: Option<String>,
        /// Those that were deleted and can still be restored
        #[arg(long)]
        deleted: bool,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One device with its live state
    Show {
        /// Id or alias
        device: String,
    },
    /// What happened to a device, newest first
    Events {
        /// Id or alias
        device: String,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Change alias, tags or groups
    Edit {
        /// Id or alias
        device: String,
        /// A new alias
        #[arg(long)]
        alias: Option<String>,
        /// Add a tag; may be given again
        #[arg(long, value_name = "TAG")]
        add_tag: Vec<String>,
        /// Take a tag away; may be given again
        #[arg(long, value_name = "TAG")]
        remove_tag: Vec<String>,
        /// Add to a group; may be given again
        #[arg(long, value_name = "GROUP")]
        add_group: Vec<String>,
        /// Take out of a group; may be given again
        #[arg(long, value_name = "GROUP")]
        remove_group: Vec<String>,
    },
    /// Make every credential of devices worthless; they have to enroll anew
    Revoke {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Delete devices; they can be restored within 7 days
    Delete {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Bring deleted devices back
    Restore {
        /// Ids or aliases
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Write devices as CSV
    Export {
        #[command(flatten)]
        filter: Filter,
        /// File to write; standard output when absent
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Read aliases, tags and groups from CSV: shows what would change, and changes it with --apply
    Import {
        /// File to read
        file: PathBuf,
        /// Change it
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
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Make single-use tokens; their secrets are shown this once
    Create {
        /// How many, 1..500
        #[arg(long, default_value_t = 1)]
        count: i64,
        /// Seconds until they expire
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
        /// Alias that the device gets; only with a count of 1
        #[arg(long)]
        alias: Option<String>,
        /// Alias with n in braces, which counts from 1
        #[arg(long, value_name = "PATTERN")]
        alias_pattern: Option<String>,
        /// Tag that the devices get; may be given again
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Group that the devices get; may be given again
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Write the script that enrolls devices with these tokens over USB
    Script {
        /// Tokens as `create` showed them; one enrolls one device, several a batch
        #[arg(required = true)]
        tokens: Vec<String>,
        /// For which shell
        #[arg(long, default_value = "bash", value_parser = ["bash", "powershell", "cmd"])]
        shell: String,
        /// The agent is on the devices already
        #[arg(long)]
        no_install: bool,
        /// How devices reach the server, when that is not as you do
        #[arg(long, value_name = "URL")]
        server_url: Option<String>,
        /// File to write; standard output when absent
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Take a token back
    Revoke {
        /// Its id
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// List accounts
    List,
    /// Add an account; prints its password unless one is given on standard input
    Add {
        /// Name to sign in with
        username: String,
        /// admin, operator or viewer
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Let an account sign in no more, and end its sign-ins
    Disable {
        /// Name of the account
        username: String,
    },
    /// Let it sign in again
    Enable {
        /// Name of the account
        username: String,
    },
    /// Change what an account may do
    Role {
        /// Name of the account
        username: String,
        /// admin, operator or viewer
        role: String,
    },
    /// Set a new password and end every sign-in of the account
    ResetPassword {
        /// Name of the account
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
    /// Make one; its secret is shown this once
    Create {
        /// What it is for
        name: String,
        /// What it may do; may be given again: devices:read, devices:write, enrollment:read, enrollment:write,
        /// cluster:read, cluster:manage, users:manage, tokens:manage, commands:read, commands:send, commands:sensitive, exec:manage,
        /// audit:read, deployments:read, deployments:write, apks:upload, packages:manage, agent_builds:manage,
        /// flags:manage
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// Days until it expires
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        expires_in_days: i64,
    },
    /// Take one back
    Revoke {
        /// Its id
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum ClusterCommand {
    /// Nodes, and what they own
    Show,
    /// Make a node hand its devices over
    Drain {
        /// Its name
        node: String,
    },
    /// Let a node take its part again
    Resume {
        /// Its name
        node: String,
    },
}

/// What to ask the audit trail.
#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// List entries, the newest first
    List {
        /// By whom: a name or an id
        #[arg(long)]
        actor: Option<String>,
        /// What was done, or how it begins: device.edited, device.
        #[arg(long)]
        action: Option<String>,
        /// To what: a name or an id
        #[arg(long)]
        target: Option<String>,
        /// With which request
        #[arg(long)]
        request_id: Option<String>,
        /// What stands in a name, in before or in after
        #[arg(long)]
        text: Option<String>,
        /// Not earlier than this, as in 2026-11-21T15:36:17Z
        #[arg(long)]
        from: Option<String>,
        /// Not later than this
        #[arg(long)]
        to: Option<String>,
        /// Most entries; 0 is all
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// The newest entry's place and hash, to note where nobody can change it
    Head,
}
