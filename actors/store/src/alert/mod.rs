//! Alerts: records and their history, settings of rules, silences and maintenance windows.

mod facts;
mod groups;
mod page;
mod record;
mod remediation;
mod setting;
mod silence;

pub use facts::{JudgedDeployment, NodeHealth, ReportErrors, TaskTotals};
pub use groups::AlertGroup;
pub use page::{AlertNotice, AlertQuery, AlertTransition};
pub(crate) use record::key;
pub use record::{AlertChange, ChangedAlert, OpenAlert};
pub use remediation::{RemediationCandidate, RemediationCommand, RemediationUse, StoredRemediation};
