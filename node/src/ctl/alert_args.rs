//! Arguments of `nexmdm ctl alerts`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `ctl alerts ...`.
#[derive(Subcommand)]
pub(super) enum AlertCommand {
    /// List alerts, newest first
    List {
        #[command(flatten)]
        filter: AlertFilter,
        /// Maximum number of alerts; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Count open alerts by rule, severity and state
    Counts,
    /// Show an alert with its history and deliveries
    Show {
        /// Alert id
        id: String,
    },
    /// Acknowledge alerts
    Ack {
        /// Alert ids
        #[arg(required = true)]
        ids: Vec<String>,
        /// Note
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Export alerts as CSV
    Export {
        #[command(flatten)]
        filter: AlertFilter,
        /// Output file [default: standard output]
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Rules: what is judged, by which thresholds
    Rules {
        #[command(subcommand)]
        command: RuleCommand,
    },
    /// Remediation: which alerts are mended by commands
    Remediation {
        #[command(subcommand)]
        command: RemediationCommand,
    },
    /// Silences of notifications
    Silences {
        #[command(subcommand)]
        command: SilenceCommand,
    },
    /// Recurring maintenance windows of notifications
    Windows {
        #[command(subcommand)]
        command: WindowCommand,
    },
    /// Channels that notifications are sent to
    Channels {
        #[command(subcommand)]
        command: ChannelCommand,
    },
    /// Routes from alerts to channels
    Routes {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Subscriptions of channels to events of the audit trail
    Subscriptions {
        #[command(subcommand)]
        command: SubscriptionCommand,
    },
}

/// Conditions on alerts.
#[derive(Args)]
pub(super) struct AlertFilter {
    /// firing, acknowledged, resolved, or open for the first two
    #[arg(long)]
    pub(super) state: Option<String>,
    /// Rule, such as device_offline
    #[arg(long)]
    pub(super) rule: Option<String>,
    /// Least severity: info, warning or critical
    #[arg(long, value_name = "SEVERITY")]
    pub(super) min_severity: Option<String>,
    /// Device, by alias or id
    #[arg(long)]
    pub(super) device: Option<String>,
    /// Deployment id
    #[arg(long)]
    pub(super) deployment: Option<String>,
    /// Group that the device was in when the alert was raised
    #[arg(long)]
    pub(super) group: Option<String>,
    /// Tag that the device had when the alert was raised
    #[arg(long)]
    pub(super) tag: Option<String>,
    /// Not raised earlier, e.g. 2026-11-21T15:36:17Z
    #[arg(long)]
    pub(super) since: Option<String>,
    /// Not raised later
    #[arg(long)]
    pub(super) until: Option<String>,
}

/// `ctl alerts rules ...`.
#[derive(Subcommand)]
pub(super) enum RuleCommand {
    /// List rules with their thresholds
    List,
    /// Show a rule with its settings
    Show {
        /// Rule
        rule: String,
    },
    /// Show what holds for a device, and the scope that sets it
    Of {
        /// Device, by alias or id
        device: String,
    },
    /// Set a rule for a scope, in place of what was set for that scope
    Set {
        #[command(flatten)]
        setting: RuleSetting,
        /// Show what it would mean for the fleet right now, and change nothing
        #[arg(long)]
        preview: bool,
    },
    /// Remove what is set of a rule for a scope
    Reset {
        /// Rule
        rule: String,
        #[command(flatten)]
        scope: Scope,
    },
}

/// Scope of a setting.
#[derive(Args)]
#[group(multiple = false)]
pub(super) struct Scope {
    /// For devices of this group [default: all devices]
    #[arg(long)]
    pub(super) group: Option<String>,
    /// For devices with this tag
    #[arg(long)]
    pub(super) tag: Option<String>,
    /// For this device, by alias or id
    #[arg(long)]
    pub(super) device: Option<String>,
}

/// Setting of a rule.
#[derive(Args)]
pub(super) struct RuleSetting {
    /// Rule
    pub(super) rule: String,
    #[command(flatten)]
    pub(super) scope: Scope,
    /// Turn the rule on
    #[arg(long, conflicts_with = "off")]
    pub(super) on: bool,
    /// Turn the rule off
    #[arg(long)]
    pub(super) off: bool,
    /// Severity: info, warning or critical
    #[arg(long)]
    pub(super) severity: Option<String>,
    /// Threshold, e.g. raise_below_pct=10; repeatable
    #[arg(long = "threshold", short, value_name = "NAME=NUMBER")]
    pub(super) thresholds: Vec<String>,
}

/// Criteria of a silence or a maintenance window; each kind that is given has to be met, by any of its values.
#[derive(Args)]
pub(super) struct MatcherArgs {
    /// Rule; repeatable
    #[arg(long = "rule", value_name = "RULE")]
    pub(super) rules: Vec<String>,
    /// Severity; repeatable
    #[arg(long = "severity", value_name = "SEVERITY")]
    pub(super) severities: Vec<String>,
    /// Group of devices; repeatable
    #[arg(long = "group", value_name = "GROUP")]
    pub(super) groups: Vec<String>,
    /// Tag of devices; repeatable
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Device, by alias or id; repeatable
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) devices: Vec<String>,
    /// Name of a node; repeatable
    #[arg(long = "node", value_name = "NODE")]
    pub(super) nodes: Vec<String>,
    /// Reason, for whoever wonders
    #[arg(long)]
    pub(super) reason: String,
}

/// `ctl alerts silences ...`.
#[derive(Subcommand)]
pub(super) enum SilenceCommand {
    /// List silences
    List {
        /// Also those that ended within the last seven days
        #[arg(long)]
        ended: bool,
    },
    /// Create a silence, from now on
    Create {
        #[command(flatten)]
        matcher: MatcherArgs,
        /// Length, e.g. 30m, 2h, 3d
        #[arg(long = "for", value_name = "LENGTH", conflicts_with = "until", required_unless_present = "until")]
        length: Option<String>,
        /// End, e.g. 2026-11-21T15:36:17Z
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// End a silence now
    End {
        /// Silence id
        id: String,
    },
}

/// `ctl alerts windows ...`.
#[derive(Subcommand)]
pub(super) enum WindowCommand {
    /// List maintenance windows
    List,
    /// Create a maintenance window
    Create {
        #[command(flatten)]
        matcher: MatcherArgs,
        /// Hours and time zone, e.g. 22:00-05:00@Europe/Berlin
        #[arg(long, value_name = "WINDOW")]
        hours: String,
        /// Weekdays on which it opens, e.g. mon,tue [default: every day]
        #[arg(long, value_delimiter = ',')]
        weekdays: Vec<String>,
    },
    /// Delete a maintenance window
    Delete {
        /// Window id
        id: String,
    },
}

/// `ctl alerts channels ...`.
#[derive(Subcommand)]
pub(super) enum ChannelCommand {
    /// List channels
    List,
    /// List kinds of channels with their fields
    Kinds,
    /// Show a channel, without its secrets
    Show {
        /// Channel, by name or id
        channel: String,
    },
    /// Create a channel; prints its id
    Create {
        /// Name
        name: String,
        /// discord, email, webhook, slack, pagerduty or ntfy
        #[arg(long)]
        kind: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Change a channel; secrets that are not given stay
    Edit {
        /// Channel, by name or id
        channel: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// Turn it on
        #[arg(long, conflicts_with = "off")]
        on: bool,
        /// Turn it off
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        fields: Fields,
    },
    /// Delete a channel with its routes and what waits for it
    Delete {
        /// Channel, by name or id
        channel: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Send a test and show what the service answers; exit code 0 if it took the message
    Test {
        /// Channel, by name or id
        channel: String,
    },
    /// List what was sent over a channel, newest first
    Deliveries {
        /// Channel, by name or id
        channel: String,
        /// Only those that were given up
        #[arg(long)]
        dead: bool,
        /// Maximum number of deliveries
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Send a message again that was given up
    Resend {
        /// Channel, by name or id
        channel: String,
        /// Notification id
        notification: String,
    },
}

/// Fields of a channel.
#[derive(Args)]
pub(super) struct Fields {
    /// Field, e.g. to=ops@example.org; repeatable
    #[arg(long = "field", short, value_name = "NAME=VALUE")]
    pub(super) fields: Vec<String>,
    /// Field whose value is the first line of a file, e.g. url=webhook.txt, which other users of the machine do not see; repeatable
    #[arg(long = "field-file", value_name = "NAME=FILE")]
    pub(super) files: Vec<String>,
}

/// `ctl alerts routes ...`.
#[derive(Subcommand)]
pub(super) enum RouteCommand {
    /// List routes
    List,
    /// Create a route; prints its id
    Create {
        /// Channel that it leads to, by name or id
        channel: String,
        /// Least severity: info, warning or critical
        #[arg(long, value_name = "SEVERITY")]
        min_severity: Option<String>,
        /// Only alerts of this rule; repeatable
        #[arg(long = "rule", value_name = "RULE")]
        rules: Vec<String>,
        /// Only devices of this group; repeatable
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Only in these hours, e.g. 08:00-17:00@Europe/Berlin
        #[arg(long, value_name = "WINDOW")]
        hours: Option<String>,
        /// Level of escalation, 0..5: 0 is notified at once, the others when nobody acknowledges
        #[arg(long, default_value_t = 0)]
        level: u8,
        /// One message a day at this time instead of single ones, e.g. 08:00@Europe/Berlin
        #[arg(long, value_name = "TIME")]
        digest: Option<String>,
    },
    /// Delete a route
    Delete {
        /// Route id
        id: String,
    },
}

/// `ctl alerts subscriptions ...`.
#[derive(Subcommand)]
pub(super) enum SubscriptionCommand {
    /// List subscriptions
    List,
    /// Subscribe a channel, from now on; prints the id
    Create {
        /// Channel, by name or id
        channel: String,
        /// Action of the audit trail, such as device.enrolled, or several at once: 'device.*'; repeatable
        #[arg(long = "action", value_name = "ACTION", required = true)]
        actions: Vec<String>,
    },
    /// Delete a subscription
    Delete {
        /// Subscription id
        id: String,
    },
}

/// `ctl alerts remediation ...`.
#[derive(Subcommand)]
pub(super) enum RemediationCommand {
    /// List what mends the alerts of each rule
    List,
    /// Set what mends the alerts of a rule; what is left out has its default
    Set {
        /// app_down, device_offline, storage_low or agent_outdated
        rule: String,
        /// For devices of this group [default: all devices]
        #[arg(long)]
        group: Option<String>,
        /// Turn it on
        #[arg(long, conflicts_with = "off", required_unless_present = "off")]
        on: bool,
        /// Turn it off
        #[arg(long)]
        off: bool,
        /// Attempts at one alert
        #[arg(long, value_name = "NUMBER")]
        attempts: Option<u32>,
        /// Wait after the first attempt, seconds; doubled with each further one
        #[arg(long, value_name = "SECONDS")]
        backoff: Option<u32>,
        /// Devices at once
        #[arg(long, value_name = "NUMBER")]
        at_once: Option<u32>,
        /// Commands an hour
        #[arg(long, value_name = "NUMBER")]
        per_hour: Option<u32>,
        /// Failures in a row after which it turns itself off
        #[arg(long, value_name = "NUMBER")]
        failures: Option<u32>,
        /// A device may be restarted
        #[arg(long)]
        allow_reboot: bool,
        /// Allowed command to run, by its name
        #[arg(long, value_name = "NAME")]
        exec: Option<String>,
    },
    /// Remove what is set for a rule
    Remove {
        /// Rule
        rule: String,
        /// For devices of this group [default: all devices]
        #[arg(long)]
        group: Option<String>,
    },
}
