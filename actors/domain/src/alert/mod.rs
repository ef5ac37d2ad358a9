//! Alerts: rules and their thresholds, judgements, records, silences.
//!
//! ```text
//! facts + thresholds --evaluate--> verdict --judge--> record (firing -> acknowledged -> resolved)
//! ```
//! Who is notified of a record, and when, is decided in [`crate::notification`].

mod book;
mod evaluation;
mod facts;
mod matching;
mod record;
mod remediation;
mod rules;
mod silence;
mod subject;
mod threshold;

pub use crate::rule::{Rule, RuleSet, RuleSpec, Severity, SubjectKind, THRESHOLDS_MAX, ThresholdSpec, ThresholdUnit};
pub use book::{Circumstances, OpenRecord, RuleBook, SubjectJudgement, judge_subject};
pub use evaluation::{Evaluation, Judging, Verdict, evaluate};
pub use facts::{AuditHealth, DeploymentFacts, DeviceFacts, Facts, FleetCount, Lasting, NodeFacts, PushHealth, Streaks, SystemFacts};
pub use matching::{FoldedAlert, FoldedMatcher, FoldedNames};
pub use record::{
    Acknowledgement, AlertRecord, AlertState, FLAP_PERIOD, NOTE_MAX_CHARS, OPENINGS_MAX, Openings, REASON_MAX_CHARS, RecordChange,
    ResolveCause, TransitionKind, acknowledge, judge, note,
};
pub use remediation::{RemediationPlan, RemediationState, RemediationStep, RemediationWait, Remedy, remediate};
pub use silence::{AlertWindow, MatchedAlert, Matcher, SILENCE_MAX, SILENCE_REASON_MAX_CHARS, SILENCES_MAX, Silence};
pub use subject::{AlertGrouping, AlertKey, SUBJECT_NAME_MAX_CHARS, Subject, SubjectLabels};
pub use threshold::{ResolvedRule, RuleSetting, SETTINGS_MAX, ScopedDevice, ThresholdScope, Thresholds, check_all, resolve};
