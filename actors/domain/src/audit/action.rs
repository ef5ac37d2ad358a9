//! The table of audited actions, by the subject that the audit page filters by.

/// Kind of thing that actions are about; the audit page filters by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSubject {
    /// Prefix of the names of its actions, and of no others.
    pub prefix: &'static str,
    /// Title on pages.
    pub title: &'static str,
}

macro_rules! audit_actions {
    ($($subject:ident($prefix:literal, $title:literal) { $($variant:ident = $name:literal,)* })*) => {
        /// Audited action: a subject and a participle. It is stored by its name; earlier builds may have stored others.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AuditAction {
            $($(#[doc = concat!("`", $name, "`.")] $variant,)*)*
        }

        impl AuditAction {
            /// Every action.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// Name in the audit trail.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$variant => $name,)*)*
                }
            }
        }

        impl AuditSubject {
            /// Every subject.
            pub const ALL: &'static [Self] = &[$(Self { prefix: $prefix, title: $title },)*];
        }
    };
}

audit_actions! {
    Account("account.", "Accounts and sign-ins") {
        AccountAdded = "account.added",
        AccountRoleChanged = "account.role_changed",
        AccountDisabled = "account.disabled",
        AccountEnabled = "account.enabled",
        PasswordReset = "account.password_reset",
        PasswordChanged = "account.password_changed",
        PasswordLinkSent = "account.password_link_sent",
        AccountEmailChanged = "account.email_changed",
        SignedIn = "account.signed_in",
        SignedOut = "account.signed_out",
        SignInEnded = "account.sign_in_ended",
        SignInsEnded = "account.sign_ins_ended",
        AccountLocked = "account.locked",
        SignInFailed = "account.sign_in_failed",
    }
    ApiToken("api_token.", "API tokens") {
        ApiTokenMade = "api_token.made",
        ApiTokenRevoked = "api_token.revoked",
    }
    EnrollToken("enroll_token", "Enrollment tokens") {
        EnrollTokenMade = "enroll_token.made",
        EnrollTokenRevoked = "enroll_token.revoked",
        EnrollTokensMade = "enroll_tokens.made",
        EnrollScriptMade = "enroll_tokens.script_made",
        EnrollCodeMade = "enroll_token.code_made",
    }
    Device("device", "Devices") {
        DeviceEnrolled = "device.enrolled",
        DeviceRegistrationRetried = "device.registration_retried",
        DeviceConflictDismissed = "device.conflict_dismissed",
        DeviceReplaced = "device.replaced",
        DeviceEdited = "device.edited",
        DeviceRevoked = "device.revoked",
        DeviceDeleted = "device.deleted",
        DeviceRestored = "device.restored",
        DevicesEdited = "devices.edited",
        DevicesRevoked = "devices.revoked",
        DevicesDeleted = "devices.deleted",
        DevicesRestored = "devices.restored",
        DevicesImported = "devices.imported",
        DevicesPurged = "devices.purged",
        DevicesExported = "devices.exported",
        DeviceHeartbeatsExported = "device.heartbeats_exported",
    }
    Command("command", "Commands") {
        CommandSent = "command.sent",
        CommandCanceled = "command.canceled",
        CommandSucceeded = "command.succeeded",
        CommandFailed = "command.failed",
        CommandExpired = "command.expired",
        CommandsExpired = "commands.expired",
        CommandsPurged = "commands.purged",
        CommandBatchSent = "command_batch.sent",
        CommandBatchCanceled = "command_batch.canceled",
        CommandBatchExported = "command_batch.exported",
    }
    ExecCommand("exec_command.", "Allowed commands") {
        ExecCommandAllowed = "exec_command.allowed",
        ExecCommandRemoved = "exec_command.removed",
    }
    Deployment("deployment.", "Deployments") {
        DeploymentCreated = "deployment.created",
        DeploymentPaused = "deployment.paused",
        DeploymentResumed = "deployment.resumed",
        DeploymentCanceled = "deployment.canceled",
        DeploymentGateOpened = "deployment.gate_opened",
        DeploymentFinished = "deployment.finished",
        DeploymentExported = "deployment.exported",
    }
    Flag("flag.", "Feature flags") {
        FlagSet = "flag.set",
    }
    Apk("apk.", "APKs") {
        ApkUploaded = "apk.uploaded",
        ApkDeleted = "apk.deleted",
        ApkLinkMade = "apk.link_made",
        ApkUploadRemoved = "apk.upload_removed",
    }
    Package("package.", "Managed packages") {
        PackageAllowed = "package.allowed",
        PackageChanged = "package.changed",
        PackageRemoved = "package.removed",
    }
    AgentBuild("agent_build.", "Agent builds") {
        AgentBuildAdded = "agent_build.added",
        AgentBuildPromoted = "agent_build.promoted",
        AgentBuildRolloutChanged = "agent_build.rollout_changed",
        AgentBuildRolledBack = "agent_build.rolled_back",
        AgentBuildNudged = "agent_build.nudged",
        AgentBuildHalted = "agent_build.halted",
    }
    Filter("filter.", "Saved filters") {
        FilterSaved = "filter.saved",
        FilterChanged = "filter.changed",
        FilterRemoved = "filter.removed",
    }
    Alert("alert", "Alerts") {
        AlertsAcknowledged = "alerts.acknowledged",
        AlertsExported = "alerts.exported",
        AlertRuleSet = "alert_rule.set",
        AlertRuleReset = "alert_rule.reset",
        SilenceMade = "alert_silence.made",
        SilenceEnded = "alert_silence.ended",
        AlertWindowMade = "alert_window.made",
        AlertWindowRemoved = "alert_window.removed",
        AlertChannelMade = "alert_channel.made",
        AlertChannelChanged = "alert_channel.changed",
        AlertChannelRemoved = "alert_channel.removed",
        AlertChannelTested = "alert_channel.tested",
        AlertDeliveryResent = "alert_channel.delivery_resent",
        AlertRouteMade = "alert_route.made",
        AlertRouteChanged = "alert_route.changed",
        AlertRouteRemoved = "alert_route.removed",
        RemediationSet = "alert_remediation.set",
        RemediationRemoved = "alert_remediation.removed",
        RemediationTurnedOff = "alert_remediation.turned_off",
    }
    EventSubscription("event_subscription.", "Event subscriptions") {
        EventSubscriptionMade = "event_subscription.made",
        EventSubscriptionRemoved = "event_subscription.removed",
    }
    Partition("partition", "Storage") {
        PartitionsRun = "partitions.run",
        PartitionArchived = "partition.archived",
        PartitionVerified = "partition.verified",
        PartitionRestored = "partition.restored",
        PartitionForgotten = "partition.forgotten",
    }
    ReportSchedule("report_schedule.", "Report schedules") {
        ReportScheduleMade = "report_schedule.made",
        ReportScheduleRemoved = "report_schedule.removed",
    }
    Node("node.", "Nodes") {
        NodeDrained = "node.drained",
        NodeResumed = "node.resumed",
        KeysReplaced = "node.keys_replaced",
    }
    Backup("backup.", "Backups") {
        BackupCreated = "backup.created",
        BackupRestored = "backup.restored",
    }
    Access("access.", "Refused requests") {
        AccessRefused = "access.refused",
    }
    Trail("audit.", "Audit trail") {
        TrailExported = "audit.exported",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_action_has_one_subject_and_every_subject_an_action() {
        let names: BTreeSet<_> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(names.len(), AuditAction::ALL.len(), "a name is used twice");
        for name in &names {
            let subjects = AuditSubject::ALL.iter().filter(|subject| name.starts_with(subject.prefix));
            assert_eq!(subjects.count(), 1, "{name}");
        }
        for subject in AuditSubject::ALL {
            assert!(names.iter().any(|name| name.starts_with(subject.prefix)), "{}", subject.title);
        }
    }

    /// The table of docs/operate.md abbreviates: "`node.drained`, `.resumed`".
    #[test]
    fn the_document_lists_every_action_and_no_other() {
        let document = include_str!("../../../../docs/operate.md");
        let (_, section) = document.split_once("\n## Audit trail\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut listed = BTreeSet::new();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let mut subject = "";
            for name in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                let participle = match name.split_once('.') {
                    Some(("", participle)) => participle,
                    Some((full, participle)) => {
                        subject = full;
                        participle
                    }
                    None => panic!("{name}"),
                };
                assert!(listed.insert(format!("{subject}.{participle}")), "{name} is listed twice");
            }
        }
        let known: BTreeSet<_> = AuditAction::ALL.iter().map(|action| action.as_str().to_owned()).collect();
        assert_eq!(listed, known);
    }
}
