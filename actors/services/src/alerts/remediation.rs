//! Remediation: which alerts are mended by commands, for whom, and within which limits.

use domain::access::{Permission, Principal};
use domain::alert::{RemediationPlan, Remedy, Rule};
use domain::audit::{AuditAction, Target};
use domain::text::{LABEL_MAX_CHARS, bounded};
use domain::{Invalid, ServiceError, Timestamp, name};
use serde_json::{Value, json};
use store::{AuditEntry, StoredRemediation};

use super::AlertService;

/// Most plans of all rules.
const PLANS_MAX: usize = 500;

/// Remediation of a rule, for all devices or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemediationView {
    /// The plan.
    pub plan: RemediationPlan,
    /// Group; `None`: all devices that have no plan of a group of theirs.
    pub group: Option<String>,
    /// Name of the allowed command that `exec` runs.
    pub exec: Option<String>,
    /// Remediations in a row that did not help.
    pub failures_in_a_row: u32,
    /// When it turned itself off.
    pub turned_off_at: Option<Timestamp>,
    /// Who changed it last, and when; `None`: nobody has set it, and it is off.
    pub changed: Option<(String, Timestamp)>,
}

/// Remediation of a rule as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemediationRequest {
    /// The plan.
    pub plan: RemediationPlan,
    /// Group; `None`: all devices.
    pub group: Option<String>,
    /// Name of the allowed command that `exec` runs.
    pub exec: Option<String>,
}

impl RemediationRequest {
    fn checked(self) -> Result<Self, Invalid> {
        let plan = self.plan.checked()?;
        if let Some(group) = &self.group {
            bounded("group", group, LABEL_MAX_CHARS)?;
            if group.trim().is_empty() {
                return Err(Invalid::new("group", "empty; leave it out for all devices"));
            }
        }
        let runs = plan.rule.remedies().contains(&Remedy::Exec);
        match &self.exec {
            Some(_) if !runs => Err(Invalid::new("exec", format!("{} is not mended by a command of that kind", plan.rule.as_str()))),
            None if runs && plan.enabled => Err(Invalid::new("exec", "missing: the name of an allowed command")),
            _ => Ok(Self { plan, ..self }),
        }
    }
}

fn view(stored: StoredRemediation) -> RemediationView {
    let StoredRemediation { plan, group, exec, failures_in_a_row, turned_off_at, changed_by, changed_at } = stored;
    RemediationView { plan, group, exec, failures_in_a_row, turned_off_at, changed: Some((changed_by, changed_at)) }
}

fn audited(plan: &RemediationPlan, group: Option<&str>, exec: Option<&str>) -> Value {
    let RemediationPlan { rule, enabled, attempts_max, backoff_seconds, at_once_max, per_hour_max, failures_max, allow_reboot } = plan;
    json!({
        "rule": rule.as_str(), "group": group, "enabled": enabled, "attempts_max": attempts_max, "backoff_seconds": backoff_seconds,
        "at_once_max": at_once_max, "per_hour_max": per_hour_max, "failures_max": failures_max, "allow_reboot": allow_reboot, "exec": exec,
    })
}

fn target(rule: Rule) -> Target {
    Target::Other { kind: "alert_remediation", id: Some(rule.as_str().to_owned()), name: Some(rule.spec().label.to_owned()) }
}

fn same_group(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => name::same(a, b),
        (None, None) => true,
        _ => false,
    }
}

impl AlertService {
    /// What mends the alerts of each rule that commands can mend: the plan for all devices, then those of groups.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn remediation(&self, principal: &Principal) -> Result<Vec<RemediationView>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let mut stored: Vec<RemediationView> = self.store.remediation_plans(PLANS_MAX as i64).await?.into_iter().map(view).collect();
        for rule in Rule::ALL.into_iter().filter(|rule| !rule.remedies().is_empty()) {
            if !stored.iter().any(|one| one.plan.rule == rule && one.group.is_none()) {
                let plan = RemediationPlan::default_of(rule);
                stored.push(RemediationView { plan, group: None, exec: None, failures_in_a_row: 0, turned_off_at: None, changed: None });
            }
        }
        stored.sort_by(|a, b| (a.plan.rule, &a.group).cmp(&(b.plan.rule, &b.group)));
        Ok(stored)
    }

    /// Whoever has commands sent must be allowed to send them.
    fn authorize_remediation(principal: &Principal) -> Result<(), ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        Ok(principal.require(Permission::SendCommands)?)
    }

    /// Sets the remediation of a rule for all devices or a group, in place of what was set; its failures count anew.
    ///
    /// # Errors
    /// Forbidden, a value is out of its limits, no command mends the rule's alerts, or there are too many plans.
    pub async fn set_remediation(&self, principal: &Principal, request: RemediationRequest) -> Result<RemediationView, ServiceError> {
        Self::authorize_remediation(principal)?;
        let RemediationRequest { plan, group, exec } = request.checked()?;
        if let Some(exec) = &exec {
            principal.require(Permission::SendSensitiveCommands)?;
            self.store.exec_command(exec).await?.ok_or_else(|| Invalid::new("exec", "not an allowed command"))?;
        }
        let stored = self.store.remediation_plans(PLANS_MAX as i64).await?;
        let before = stored.iter().find(|one| one.plan.rule == plan.rule && same_group(one.group.as_deref(), group.as_deref()));
        if before.is_none() && stored.len() >= PLANS_MAX {
            return Err(ServiceError::WrongState("the limit of 500 remediations is reached; remove one first"));
        }
        let (by, now) = (principal.username(), self.clock.now());
        let mut entry = AuditEntry::new(principal, AuditAction::RemediationSet, target(plan.rule)).after(audited(
            &plan,
            group.as_deref(),
            exec.as_deref(),
        ));
        if let Some(before) = before {
            entry = entry.before(audited(&before.plan, before.group.as_deref(), before.exec.as_deref()));
        }
        self.store.put_remediation_plan(&plan, group.as_deref(), exec.as_deref(), by, &entry, now).await?;
        tracing::info!(event = "alert_remediation.set", rule = plan.rule.as_str(), enabled = plan.enabled, by);
        Ok(RemediationView { plan, group, exec, failures_in_a_row: 0, turned_off_at: None, changed: Some((by.to_owned(), now)) })
    }

    /// Removes what is set of the remediation of a rule for all devices or a group.
    ///
    /// # Errors
    /// Forbidden, or nothing is set.
    pub async fn remove_remediation(&self, principal: &Principal, rule: Rule, group: Option<&str>) -> Result<(), ServiceError> {
        Self::authorize_remediation(principal)?;
        let stored = self.store.remediation_plans(PLANS_MAX as i64).await?;
        let before = stored.iter().find(|one| one.plan.rule == rule && same_group(one.group.as_deref(), group));
        let before = before.ok_or(ServiceError::NotFound("remediation of the rule"))?;
        let entry = AuditEntry::new(principal, AuditAction::RemediationRemoved, target(rule)).before(audited(
            &before.plan,
            before.group.as_deref(),
            before.exec.as_deref(),
        ));
        match self.store.delete_remediation_plan(rule, group, &entry, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("remediation of the rule")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_cannot_be_meant_is_refused() {
        let request = |rule, group: Option<&str>, exec: Option<&str>| RemediationRequest {
            plan: RemediationPlan { enabled: true, ..RemediationPlan::default_of(rule) },
            group: group.map(str::to_owned),
            exec: exec.map(str::to_owned),
        };
        let refused = |request: RemediationRequest| request.checked().unwrap_err().field;
        assert_eq!(refused(request(Rule::DiskLow, None, None)), "rule");
        assert_eq!(refused(request(Rule::AppDown, Some(" "), None)), "group");
        assert_eq!(refused(request(Rule::AppDown, None, Some("clean"))), "exec");
        assert_eq!(refused(request(Rule::StorageLow, None, None)), "exec");
        let mut many = request(Rule::AppDown, None, None);
        many.plan.attempts_max = 99;
        assert_eq!(refused(many), "attempts_max");
        assert!(request(Rule::AppDown, Some("north"), None).checked().is_ok());
        assert!(request(Rule::StorageLow, None, Some("clean")).checked().is_ok());
    }
}
