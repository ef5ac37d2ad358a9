//! Schemas of names: in JSON a string, in the description of the API the list of its values. The values of states, kinds and
//! reasons are those of `domain`, so that the description has every one of them.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Schemas, each with its description and the values of one or more enums of `domain`, or values that only the API has.
macro_rules! names {
    ($(#[doc = $doc:literal] $schema:ident = $values:tt)*) => {$(
        #[doc = $doc]
        pub enum $schema {}

        impl PartialSchema for $schema {
            fn schema() -> RefOr<Schema> {
                let values: Vec<&str> = names!(@expand $values);
                ObjectBuilder::new().schema_type(Type::String).description(Some($doc.trim())).enum_values(Some(values)).into()
            }
        }

        impl ToSchema for $schema {}
    )*};
    (@expand { $($names:path),+ }) => {
        [$(<$names>::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>()),+].concat()
    };
    (@expand [ $($value:literal),+ ]) => { vec![$($value),+] };
}

names! {
    /// Reason for which an agent has to stop.
    AgentStopReason = ["device_deleted"]
    /// Role of an account.
    Role = { domain::access::Role }
    /// State of an enrollment token.
    EnrollTokenStatus = { domain::enrollment::TokenStatus }
    /// State of an API token.
    ApiTokenStatus = { domain::api_token::ApiTokenStatus }
    /// Connectivity of a device.
    DeviceStatus = { domain::device::Connectivity }
    /// State of the monitored app.
    AppStatus = { domain::device::AppStatus }
    /// Identity of a device: whether two devices report as this one.
    IdentityStatus = { domain::device::IdentityStatus }
    /// Kind of an event of a device.
    DeviceEventKind = { domain::event::EventKind }
    /// State of a command.
    CommandState = { domain::command::CommandState }
    /// Reason for holding a command.
    HoldReason = { domain::command::HoldReason }
    /// Path of a command to its device.
    CommandPath = { domain::command::Path }
    /// Outcome of a command.
    CommandOutcome = { domain::command::CommandOutcome }
    /// Status in a device's report about a command.
    ActionReport = ["received", "success", "failed", "skipped", "timeout"]
    /// Reason for sending a device no command.
    CommandRefusal = { domain::command::RefusalReason }
    /// State of a deployment.
    DeploymentState = { domain::deployment::DeploymentState }
    /// Phase of a deployment.
    DeploymentPhase = { domain::deployment::Phase }
    /// Reason of a deployment's pause.
    PauseReason = { domain::deployment::PauseReason }
    /// Rule for devices that an older open deployment of the package has.
    ConflictRule = { domain::deployment::ConflictRule }
    /// Rule for devices that do not meet the requirements of a deployment.
    OnUnmet = { domain::deployment::OnUnmet }
    /// Kind of a deployment's target.
    TargetType = ["fleet", "selection"]
    /// Reason for starting no installation in any deployment.
    BlockReason = { domain::deployment::BlockReason }
    /// State of the task of a device.
    TaskState = { domain::deployment::TaskState }
    /// Reason of a task's state.
    TaskReason = { domain::deployment::TaskReason, domain::deployment::ErrorCode }
    /// Stage of an installation.
    TaskStage = { domain::deployment::Stage }
    /// State in a device's task report.
    TaskReport = ["accepted", "downloading", "verifying", "installing", "succeeded", "failed", "skipped"]
    /// Error of an attempt.
    TaskError = { domain::deployment::ErrorCode }
    /// Kind of an event of a deployment.
    DeploymentEventKind = { domain::deployment::DeploymentEventKind }
    /// Name of a feature flag.
    FlagName = { domain::flag::Flag }
    /// Event in a device's report about an update.
    UpdateEvent = { domain::rollout::UpdateEvent }
    /// State of an agent build.
    AgentBuildState = { domain::rollout::BuildState }
    /// Reason for the automatic halt of a build.
    HaltReason = { domain::rollout::HaltReason }
    /// State of a node.
    NodeState = { domain::cluster::NodeState }
    /// Reason of a shard move.
    ShardMoveReason = ["free", "released", "left", "expired"]
    /// Bulk action on devices.
    BulkAction = [
        "set_tags", "add_tags", "remove_tags", "set_groups", "add_groups", "remove_groups", "set_monitored_app", "revoke", "delete", "restore"
    ]
    /// Outcome of a bulk action for one device.
    BulkOutcomeKind = ["changed", "unchanged", "refused"]
    /// Reason for refusing a device.
    BulkRefusal = ["not_found", "deleted", "too_late", "alias_in_use", "invalid_value"]
    /// Field that a table changes.
    TableField = ["alias", "tags", "groups"]
    /// Shell of a script.
    Shell = ["bash", "powershell", "cmd"]
    /// State of the agent's APK at a node.
    AgentApkState = ["ready", "unusable", "missing"]
    /// Rule of alerts.
    AlertRuleName = { domain::alert::Rule }
    /// Severity of an alert.
    AlertSeverity = { domain::alert::Severity }
    /// State of an alert.
    AlertState = { domain::alert::AlertState }
    /// Kind of what an alert is about.
    AlertSubjectKind = { domain::alert::SubjectKind }
    /// Reason for which an alert was resolved.
    AlertResolveCause = { domain::alert::ResolveCause }
    /// Kind of a change of an alert.
    AlertStepKind = { domain::alert::TransitionKind }
    /// Cause for which a change of an alert is not notified.
    AlertSuppression = { domain::notification::Suppression }
    /// What people have been notified of.
    AlertNotified = { domain::notification::Notified }
    /// State of a delivery.
    AlertDeliveryState = ["queued", "delivered", "dead"]
    /// Outcome of an acknowledgement.
    AcknowledgeOutcome = ["acknowledged", "already_acknowledged", "resolved", "not_found"]
    /// Kind of a scope of settings.
    AlertScopeKind = ["global", "group", "tag", "device"]
    /// Kind of a channel.
    AlertChannelKind = { domain::notification::ChannelKind }
    /// Command that mends an alert.
    AlertRemedy = { domain::alert::Remedy }
    /// Kind of the period of a report.
    ReportPeriod = { domain::report::PeriodKind }
    /// Measure of a report.
    ReportMeasureName = { domain::report::Measure }
    /// Weekday.
    Weekday = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    /// Kind of an actor of the audit trail.
    ActorKind = ["person", "token", "system", "device"]
    /// State of a day of heartbeats.
    PartitionState = { domain::partition::PartitionState }
    /// Step of the life of a day of heartbeats.
    PartitionAction = { domain::partition::Action }
    /// Kind of work on partitions.
    PartitionWorkKind = { domain::storage::WorkKind }
    /// State of work on partitions.
    PartitionWorkState = { domain::storage::WorkState }
    /// What a reconciliation compares.
    ReconciliationCheck = { domain::reconciliation::Check }
    /// How a row differs from what it is derived from.
    DriftKind = { domain::reconciliation::DriftKind }
    /// What is known of when the disk is full.
    StorageForecastKind = ["too_little_data", "unknown_disk", "not_growing", "distant", "full_at"]
    /// Kind of use of an APK.
    ApkUseKind = ["deployment", "rollback", "agent_build"]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(schema: RefOr<Schema>) -> Vec<String> {
        let text = serde_json::to_value(schema).unwrap();
        text["enum"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_schema_has_the_values_of_every_enum_behind_it_once() {
        assert_eq!(values(DeviceStatus::schema()), ["online", "offline", "never_seen"]);
        let reasons = values(TaskReason::schema());
        let mut once = reasons.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), reasons.len(), "{reasons:?}");
        assert!(["rate", "sdk_too_old"].iter().all(|known| reasons.iter().any(|reason| reason == known)), "{reasons:?}");
    }

    #[test]
    fn forecasts_have_their_names() {
        assert_eq!(values(StorageForecastKind::schema()), domain::storage::Forecast::NAMES);
    }

    #[test]
    fn what_devices_report_is_what_is_read() {
        let reported = |schema, known: Vec<&str>| assert_eq!(values(schema), known);
        let outcomes = domain::command::CommandOutcome::ALL.iter().map(|outcome| outcome.as_str());
        reported(ActionReport::schema(), ["received"].into_iter().chain(outcomes).collect());
        let stages = domain::deployment::Stage::ALL.iter().map(|stage| stage.as_str());
        reported(TaskReport::schema(), stages.chain(["succeeded", "failed", "skipped"]).collect());
    }
}
