//! Alerts: which rules hold, and who is notified.
//!
//! ```text
//! device actors ---\                                   /-- coordinator: decides, one per cluster --> outbox
//!                   judge (domain) --> AlertWriter --> records
//! evaluators ------/                    (epochs)       \-- pages
//! deployments, system   what judges deployments, nodes and the system: reconcilers
//! remediation           sends commands that mend, as far as plans say so
//! health, outage        what a node sees of itself, and of the database
//! rules         the settings of all rules as this node knows them; whoever judges asks here
//! setup         what people have set up about notifications, as the coordinator last read it
//! coordinator   carries out `domain::notification::decide` on the owner of its shard
//! ```
//! The rows are the truth. Whoever judges remembers which of its alerts are open, and reads it again whenever it is not sure.

mod coordinator;
mod deployments;
mod health;
mod judged;
mod outage;
mod remediation;
mod retention;
mod rules;
mod setup;
mod system;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::alert::RuleSetting;
use domain::notification::NotificationSettings;
use domain::shard::{ShardId, shard_of_name};

pub(crate) use coordinator::{Coordinator, CoordinatorContext, CoordinatorMsg};
pub(crate) use deployments::{CountedTasks, DeploymentRules};
pub(crate) use health::HealthWatch;
pub(crate) use outage::Outages;
pub(crate) use remediation::Remediation;
pub(crate) use retention::reconciler as retention;
pub use rules::AlertRules;
pub(crate) use rules::{ALERT_RULES, reconciler as rules_reconciler};
pub(crate) use system::{ALERT_SYSTEM, AuditWatch, SystemRules};

/// Settings of alerts.
#[derive(Debug, Clone)]
pub struct AlertSettings {
    /// Limits and waits of notifications.
    pub notification: NotificationSettings,
    /// Configured thresholds: settings of the scope [`domain::alert::ThresholdScope::Default`].
    pub defaults: Vec<RuleSetting>,
    /// How long silence says nothing after a start, a failover or an outage: one interval of heartbeats, and grace.
    pub settle: TimeDelta,
    /// Folder whose disk is judged; `None`: none is.
    pub data_dir: Option<PathBuf>,
    /// Expiry of the node's certificates.
    pub certificates: CertificateExpiry,
    /// Most open commands of a device, which remediation keeps as people do.
    pub open_commands_max: i64,
    /// Retention of resolved alerts and of silences that ended.
    pub kept: TimeDelta,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            notification: NotificationSettings::default(),
            defaults: Vec::new(),
            settle: TimeDelta::minutes(6),
            data_dir: None,
            certificates: CertificateExpiry::default(),
            open_commands_max: 100,
            kept: TimeDelta::days(90),
        }
    }
}

/// When the first of a node's certificates expires; asked with each note of its health, since a certificate may be renewed meanwhile.
#[derive(Clone, Default)]
pub struct CertificateExpiry(Option<Arc<Ask>>);

type Ask = dyn Fn() -> Option<Timestamp> + Send + Sync;

impl CertificateExpiry {
    /// Expiry that is asked for in this way. It must not take long.
    pub fn new(ask: impl Fn() -> Option<Timestamp> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// The earliest; `None`: there is no certificate, or it is not known.
    pub fn earliest(&self) -> Option<Timestamp> {
        self.0.as_deref().and_then(|ask| ask())
    }
}

impl fmt::Debug for CertificateExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateExpiry").finish_non_exhaustive()
    }
}

/// The shard whose owner decides about notifications, and judges what is no device and no deployment.
pub fn alert_shard() -> ShardId {
    shard_of_name("alerts")
}
