//! Alerts: rules and their thresholds, judgements, records, silences.
//!
//! ```text
//! facts + thresholds --evaluate--> verdict --judge--> record (firing -> acknowledged -> resolved)
//! ```
//! Who is notified of a record, and when, is decided in [`crate::notification`].

mod evaluation;
mod facts;
mod rules;
mod subject;
mod table;
mod threshold;

pub use evaluation::{Evaluation, Judging, Verdict, evaluate};
pub use facts::{AuditHealth, DeploymentFacts, DeviceFacts, Facts, FleetCount, Lasting, NodeFacts, PushHealth, Streaks, SystemFacts};
pub use subject::{AlertKey, SUBJECT_NAME_MAX_CHARS, Severity, Subject, SubjectKind, SubjectLabels};
pub use table::{Rule, RuleSpec, THRESHOLDS_MAX, ThresholdSpec, ThresholdUnit};
pub use threshold::{ResolvedRule, RuleSetting, SETTINGS_MAX, ScopedDevice, ThresholdScope, Thresholds, check_all, resolve};
