//! The table of the rules of alerts: what each is about, and its thresholds, declared once. How a rule judges is in [`crate::alert`].

mod set;

pub use set::RuleSet;

/// Severity, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

named!(pub Severity, parse -> Result);

impl Severity {
    /// Title on pages and in messages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }
}

/// Kind of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SubjectKind {
    /// A device.
    Device,
    /// A deployment.
    Deployment,
    /// A node.
    Node,
    /// The cluster as a whole, or a named part of it.
    System,
}

named!(pub SubjectKind, parse -> Option);

/// Most thresholds of one rule.
pub const THRESHOLDS_MAX: usize = 3;

/// Unit of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ThresholdUnit {
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Days.
    Days,
    /// Percent.
    Percent,
    /// MiB.
    Mebibytes,
    /// Milliseconds.
    Milliseconds,
    /// A number of things.
    Count,
}

named!(pub ThresholdUnit, parse -> Option);

/// Threshold of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdSpec {
    /// Name in the API and the database, with its unit last.
    pub name: &'static str,
    /// Label on forms.
    pub label: &'static str,
    /// Unit.
    pub unit: ThresholdUnit,
    /// Default.
    pub default: i64,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
}

/// Declaration of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleSpec {
    /// The rule.
    pub rule: Rule,
    /// Title on pages and in messages.
    pub label: &'static str,
    /// What it means that it fires.
    pub meaning: &'static str,
    /// Kind of its subjects.
    pub subject: SubjectKind,
    /// Severity, unless it is set otherwise.
    pub severity: Severity,
    /// Whether it is on, unless it is set otherwise.
    pub enabled: bool,
    /// Thresholds.
    pub thresholds: &'static [ThresholdSpec],
    /// Plural noun of a message about several: "143 *devices offline*".
    pub plural: &'static str,
}

macro_rules! rules {
    ($( {
        $Rule:ident $subject:ident $severity:ident $enabled:literal $label:literal $plural:literal $meaning:literal
        [$( { $name:literal $threshold:literal $unit:ident $default:literal $min:literal $max:literal } )*]
    } )*) => {
        /// Rule by which an alert is raised and resolved.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
        #[strum(serialize_all = "snake_case")]
        pub enum Rule {
            $(#[doc = $meaning] $Rule,)*
        }

        named!(pub Rule, parse -> Result);

        impl Rule {
            /// Declaration of the rule.
            pub const fn spec(self) -> &'static RuleSpec {
                match self {
                    $(Self::$Rule => &RuleSpec {
                        rule: Self::$Rule,
                        label: $label,
                        meaning: $meaning,
                        subject: SubjectKind::$subject,
                        severity: Severity::$severity,
                        enabled: $enabled,
                        thresholds: &[$(ThresholdSpec {
                            name: $name,
                            label: $threshold,
                            unit: ThresholdUnit::$unit,
                            default: $default,
                            min: $min,
                            max: $max,
                        }),*],
                        plural: $plural,
                    },)*
                }
            }
        }
    };
}

//  rule  subject  severity  on  label  plural  meaning
//      [threshold  label  unit  default  min  max]
rules! {
    { DeviceOffline Device Warning true "Device offline" "devices offline" "No heartbeat for longer than the limit."
        [{ "offline_after_seconds" "Offline after" Seconds 720 60 604800 }] }
    { LowBattery Device Warning true "Low battery" "devices with a low battery" "The battery is below the limit, and not yet charged again."
        [{ "raise_below_pct" "Raise below" Percent 15 1 99 } { "clear_at_pct" "Clear at" Percent 20 2 100 }] }
    { AppDown Device Critical true "Monitored app down" "devices with their app down" "The monitored app does not run, or was not in the foreground for too long, in several heartbeats in a row."
        [{ "heartbeats" "Heartbeats in a row" Count 2 1 10 }] }
    { StorageLow Device Warning true "Storage low" "devices with little storage" "Less free storage than the limit."
        [{ "raise_below_mb" "Raise below" Mebibytes 500 1 1048576 } { "clear_at_mb" "Clear at" Mebibytes 750 1 1048576 }] }
    { AgentOutdated Device Info false "Agent outdated" "devices with an outdated agent" "A newer build of the agent has been offered for longer than the limit."
        [{ "offered_for_hours" "Offered for" Hours 72 1 8760 }] }
    { ClockWrong Device Warning true "Clock wrong" "devices with a wrong clock" "The clock of the device is further off than the limit."
        [{ "off_by_seconds" "Off by" Seconds 300 10 604800 }] }
    { CommandFailures Device Warning true "Commands failing" "devices with failing commands" "Several commands in a row have failed."
        [{ "in_a_row" "Failures in a row" Count 3 1 100 }] }
    { NeverSeen Device Info true "Never seen" "devices never seen" "The device enrolled and has sent no heartbeat since."
        [{ "after_hours" "After enrollment" Hours 24 1 8760 }] }
    { DeploymentCanaryFailed Deployment Critical true "Canary failed" "deployments with a failed canary" "The canary of the deployment stayed below its success threshold."
        [] }
    { DeploymentFailureRate Deployment Critical true "Deployment failing" "failing deployments" "A larger share of the finished tasks has failed than the limit."
        [{ "failed_pct" "Failed" Percent 20 1 100 } { "finished_min" "At least finished" Count 10 1 100000 }] }
    { DeploymentReportErrors Deployment Warning true "Deployment report errors" "deployments with report errors" "Reports of devices about the deployment could not be used."
        [{ "errors_per_hour" "Errors an hour" Count 10 1 100000 }] }
    { DeploymentBacklog Deployment Warning true "Deployment stalled" "stalled deployments" "Tasks are waiting, and none has made progress for longer than the limit."
        [{ "without_progress_minutes" "Without progress" Minutes 60 5 10080 }] }
    { DeploymentPaused Deployment Warning true "Deployment paused" "paused deployments" "The deployment has been paused for longer than the limit."
        [{ "paused_for_minutes" "Paused for" Minutes 60 5 10080 }] }
    { NodeLost Node Critical true "Node lost" "nodes lost" "The lease of a node ran out, and the node has not come back."
        [{ "forget_after_hours" "Forget after" Hours 24 1 720 }] }
    { ClusterStarted System Info true "Cluster started" "cluster starts" "The cluster has started; devices are judged for liveness once they had time to report."
        [] }
    { FleetSilent System Critical true "Fleet silent" "fleets silent" "A large part of the devices fell silent at once, as when a network is down."
        [{ "silent_pct" "Silent" Percent 50 5 100 } { "silent_min" "At least silent" Count 20 2 1000000 }] }
    { DatabaseAway System Critical true "Database away" "database outages" "The database could not be used."
        [{ "away_for_seconds" "Away for" Seconds 15 1 3600 }] }
    { DatabaseSlow System Warning true "Database slow" "slow databases" "Statements take longer than the limit."
        [{ "raise_at_ms" "Raise at" Milliseconds 500 10 60000 } { "clear_below_ms" "Clear below" Milliseconds 250 5 60000 }] }
    { PoolSaturated System Warning true "Connections exhausted" "pools exhausted" "Every connection to the database has been in use for longer than the limit."
        [{ "for_seconds" "For" Seconds 60 5 3600 }] }
    { DiskLow System Critical true "Disk low" "disks low" "Less free disk space than the limit."
        [{ "raise_below_pct" "Raise below" Percent 10 1 99 } { "clear_at_pct" "Clear at" Percent 12 2 100 }] }
    { PushRefused System Critical true "Push credentials refused" "push services refusing" "FCM refuses the credentials: no device can be woken."
        [] }
    { PushQuota System Warning true "Push quota exhausted" "push quotas exhausted" "FCM answers that its quota is used up."
        [] }
    { AgentRolloutHalted System Critical true "Agent rollout halted" "agent rollouts halted" "The rollout of an agent build was halted because devices failed to update."
        [] }
    { ArchiveFailed System Critical true "Archive failed" "archives failing" "History could not be archived several times in a row."
        [{ "in_a_row" "Failures in a row" Count 3 1 100 }] }
    { DefaultPartitionNotEmpty System Warning true "Default partition not empty" "default partitions not empty" "Heartbeats lie outside every day's partition."
        [{ "rows_min" "Rows at least" Count 1 1 1000000 }] }
    { ReconciliationDrift System Warning true "Stored counts differ" "stored counts differing" "Reconciliation found rows that differ from what they are derived from."
        [{ "rows_min" "Rows at least" Count 1 1 1000000000 }] }
    { CertificateExpiring System Warning true "Certificate expiring" "certificates expiring" "A certificate expires within the limit."
        [{ "within_days" "Within" Days 21 1 365 }] }
    { BackupOld System Warning true "Backup old" "backups old" "The newest backup is older than the limit."
        [{ "older_than_hours" "Older than" Hours 26 1 8760 }] }
    { AuditChainBroken System Critical true "Audit chain broken" "audit chains broken" "An entry of the audit trail does not match its hash."
        [] }
}

impl Rule {
    /// Whether the rule judges by silence, which a start, a failover or an outage also looks like.
    pub fn judges_liveness(self) -> bool {
        matches!(self, Self::DeviceOffline | Self::FleetSilent | Self::NeverSeen)
    }

    /// Whether notifications of this rule wait while `inhibitor` fires: its alerts would say the same thing a thousand times.
    pub fn is_inhibited_by(self, inhibitor: Self) -> bool {
        match inhibitor {
            Self::FleetSilent | Self::NodeLost | Self::ClusterStarted => matches!(self, Self::DeviceOffline | Self::NeverSeen),
            Self::DatabaseAway => {
                self.spec().subject == SubjectKind::Device
                    || matches!(
                        self,
                        Self::DatabaseSlow | Self::PoolSaturated | Self::FleetSilent | Self::ArchiveFailed | Self::DeploymentBacklog
                    )
            }
            _ => false,
        }
    }

    /// Rules that inhibit others.
    pub fn inhibitors() -> impl Iterator<Item = Self> {
        [Self::ClusterStarted, Self::FleetSilent, Self::NodeLost, Self::DatabaseAway].into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_whole_and_their_defaults_within_their_limits() {
        for rule in Rule::ALL {
            let spec = rule.spec();
            assert_eq!(spec.rule, rule);
            assert!(!spec.label.is_empty() && spec.meaning.ends_with('.') && !spec.plural.is_empty(), "{rule:?}");
            assert!(spec.thresholds.len() <= THRESHOLDS_MAX, "{rule:?}");
            for threshold in spec.thresholds {
                assert!((threshold.min..=threshold.max).contains(&threshold.default), "{rule:?} {}", threshold.name);
                assert_eq!(spec.thresholds.iter().filter(|other| other.name == threshold.name).count(), 1, "{rule:?} {}", threshold.name);
            }
            assert_eq!(Rule::parse("rule", rule.as_str()).unwrap(), rule);
        }
        assert_eq!(Rule::DeviceOffline.as_str(), "device_offline");
        assert_eq!(Rule::parse("rule", "device_asleep").unwrap_err().field, "rule");
    }

    #[test]
    fn the_customers_limits_are_the_defaults() {
        let default = |rule: Rule, at: usize| rule.spec().thresholds[at].default;
        assert_eq!(default(Rule::DeviceOffline, 0), 720);
        assert_eq!((default(Rule::LowBattery, 0), default(Rule::LowBattery, 1)), (15, 20));
        assert_eq!(default(Rule::AppDown, 0), 2);
    }

    #[test]
    fn inhibition_has_no_circle_and_no_rule_inhibits_itself() {
        for rule in Rule::ALL {
            let inhibits = Rule::ALL.iter().any(|other| other.is_inhibited_by(rule));
            assert_eq!(inhibits, Rule::inhibitors().any(|inhibitor| inhibitor == rule), "{rule:?}");
            assert!(!rule.is_inhibited_by(rule), "{rule:?}");
            for other in Rule::ALL {
                assert!(!(rule.is_inhibited_by(other) && other.is_inhibited_by(rule)), "{rule:?} {other:?}");
            }
        }
        assert!(Rule::DeviceOffline.is_inhibited_by(Rule::FleetSilent));
        assert!(!Rule::AppDown.is_inhibited_by(Rule::NodeLost));
    }

    /// Each rule has its row in the document, as it is declared here.
    #[test]
    fn the_document_lists_every_rule_as_it_is() {
        let document = include_str!("../../../../docs/alerts.md");
        let row = |rule: Rule| {
            let spec = rule.spec();
            let thresholds: Vec<_> = spec.thresholds.iter().map(|t| format!("`{}` {} ({}..{})", t.name, t.default, t.min, t.max)).collect();
            let off = if spec.enabled { "" } else { ", off" };
            let (subject, severity) = (spec.subject.as_str(), spec.severity.as_str());
            format!("| `{}` | {subject} | {severity}{off} | {} | {} |", rule.as_str(), thresholds.join(", "), spec.meaning)
        };
        let listed: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(listed, Rule::ALL.map(row).to_vec());
    }
}
