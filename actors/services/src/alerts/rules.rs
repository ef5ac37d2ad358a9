//! Rules: what holds, for which scope, and how often they fire.

use std::collections::HashMap;

use domain::access::{Permission, Principal};
use domain::alert::{
    ResolvedRule, Rule, RuleSetting, SETTINGS_MAX, ScopedDevice, Severity, SubjectKind, ThresholdScope, check_all, resolve,
};
use domain::audit::{AuditAction, Target};
use domain::text::{LABEL_MAX_CHARS, bounded};
use domain::{DeviceId, Invalid, ServiceError, name};
use serde_json::{Map, Value, json};
use store::AuditEntry;

use super::AlertService;

/// Days over which it is counted how often a rule fired.
pub const FIRED_DAYS: i64 = 30;
/// Most settings of all rules.
const ALL_SETTINGS_MAX: i64 = (SETTINGS_MAX * Rule::ALL.len()) as i64;

/// A rule as it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// The rule; its declaration is [`Rule::spec`].
    pub rule: Rule,
    /// What holds for all devices, unless a more specific setting differs.
    pub effective: ResolvedRule,
    /// Its settings, the least specific first.
    pub settings: Vec<RuleSetting>,
    /// How often it fired in the last [`FIRED_DAYS`] days.
    pub fired: u64,
    /// Alerts of it that are open.
    pub open: u64,
}

/// Setting of a rule for a scope; what it leaves out comes from the next less specific one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRequest {
    /// Scope.
    pub scope: ThresholdScope,
    /// Whether the rule is on.
    pub enabled: Option<bool>,
    /// Severity.
    pub severity: Option<Severity>,
    /// Thresholds by name.
    pub values: Vec<(String, i64)>,
}

impl RuleRequest {
    /// The setting, checked by itself.
    fn setting(self, rule: Rule) -> Result<RuleSetting, Invalid> {
        let Self { scope, enabled, severity, values } = self;
        if enabled.is_none() && severity.is_none() && values.is_empty() {
            return Err(Invalid::new("body", "sets nothing: give enabled, severity or thresholds"));
        }
        if let ThresholdScope::Group(value) | ThresholdScope::Tag(value) = &scope {
            bounded("scope.value", value, LABEL_MAX_CHARS)?;
            if value.trim().is_empty() {
                return Err(Invalid::new("scope.value", "empty"));
            }
        }
        RuleSetting { rule, scope, enabled, severity, values }.checked()
    }
}

/// Whether two scopes are the same, however their names are written.
fn same_scope(a: &ThresholdScope, b: &ThresholdScope) -> bool {
    match (a, b) {
        (ThresholdScope::Group(a), ThresholdScope::Group(b)) | (ThresholdScope::Tag(a), ThresholdScope::Tag(b)) => name::same(a, b),
        (a, b) => a == b,
    }
}

/// The settings of a rule once this one is in the place of the one of its scope.
pub(super) fn with(mut settings: Vec<RuleSetting>, setting: RuleSetting) -> Vec<RuleSetting> {
    settings.retain(|other| other.rule != setting.rule || !same_scope(&other.scope, &setting.scope));
    settings.push(setting);
    settings
}

/// A setting, for the record.
fn audited(setting: &RuleSetting) -> Value {
    let thresholds: Map<String, Value> = setting.values.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "scope": setting.scope.to_string(), "enabled": setting.enabled, "severity": setting.severity.map(Severity::as_str),
        "thresholds": thresholds,
    })
}

fn target(rule: Rule) -> Target {
    Target::Other { kind: "alert_rule", id: Some(rule.as_str().to_owned()), name: Some(rule.spec().label.to_owned()) }
}

impl AlertService {
    /// Every setting that holds: the configuration's, then those that people made.
    pub(super) async fn settings(&self) -> Result<Vec<RuleSetting>, ServiceError> {
        let book = self.rules.snapshot();
        let mut settings: Vec<RuleSetting> =
            book.settings().iter().filter(|setting| setting.scope == ThresholdScope::Default).cloned().collect();
        settings.extend(self.store.rule_settings(ALL_SETTINGS_MAX).await?);
        Ok(settings)
    }

    /// Every rule as it is set, in the order of the table.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn rules(&self, principal: &Principal) -> Result<Vec<RuleView>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let _permit = self.tables.read(principal).await?;
        let settings = self.settings().await?;
        let fired = self.raised.get(&self.store, FIRED_DAYS, self.clock.now()).await?;
        let mut open: HashMap<Rule, u64> = HashMap::new();
        for (rule, _, _, alerts) in self.store.open_alert_counts().await? {
            *open.entry(rule).or_default() += alerts;
        }
        let view = |rule: Rule| {
            let mut own: Vec<RuleSetting> =
                settings.iter().filter(|one| one.rule == rule && one.scope != ThresholdScope::Default).cloned().collect();
            own.sort_by(|a, b| a.scope.cmp(&b.scope));
            RuleView {
                rule,
                effective: resolve(rule, &settings, None),
                settings: own,
                fired: fired.get(&rule).copied().unwrap_or_default(),
                open: open.get(&rule).copied().unwrap_or_default(),
            }
        };
        Ok(Rule::ALL.into_iter().map(view).collect())
    }

    /// A rule as it is set.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn rule(&self, principal: &Principal, rule: Rule) -> Result<RuleView, ServiceError> {
        let found = self.rules(principal).await?.into_iter().find(|view| view.rule == rule);
        found.ok_or(ServiceError::NotFound("rule"))
    }

    /// What holds of each rule about devices for one of them, and the scope that sets it.
    ///
    /// # Errors
    /// Forbidden, or there is no such device.
    pub async fn rules_of_device(&self, principal: &Principal, id: DeviceId) -> Result<Vec<(Rule, ResolvedRule)>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let device = self.fleet.device(id).ok_or(ServiceError::NotFound("device"))?;
        let settings = self.settings().await?;
        let scoped = ScopedDevice { id, groups: &device.identity.groups, tags: &device.identity.tags };
        let about_devices = Rule::ALL.into_iter().filter(|rule| rule.spec().subject == SubjectKind::Device);
        Ok(about_devices.map(|rule| (rule, resolve(rule, &settings, Some(&scoped)))).collect())
    }

    /// A setting that could be stored, with all others of its rule.
    pub(super) async fn planned(&self, rule: Rule, request: RuleRequest) -> Result<(RuleSetting, Vec<RuleSetting>), ServiceError> {
        let setting = request.setting(rule)?;
        let after = with(self.settings().await?, setting.clone());
        let own: Vec<RuleSetting> = after.iter().filter(|one| one.rule == rule).cloned().collect();
        check_all(rule, &own)?;
        Ok((setting, after))
    }

    /// Sets a rule for a scope, in place of what was set for it. Every node follows within seconds.
    ///
    /// # Errors
    /// Forbidden, or the setting is nonsense: the field, the problem and the limit are named.
    pub async fn set_rule(&self, principal: &Principal, rule: Rule, request: RuleRequest) -> Result<RuleView, ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        if let ThresholdScope::Device(id) = request.scope {
            self.fleet.device(id).ok_or_else(|| Invalid::new("scope.value", "not an enrolled device"))?;
        }
        let before = self.settings().await?;
        let (setting, _) = self.planned(rule, request).await?;
        let mut entry = AuditEntry::new(principal, AuditAction::AlertRuleSet, target(rule)).after(audited(&setting));
        if let Some(before) = before.iter().find(|one| one.rule == rule && same_scope(&one.scope, &setting.scope)) {
            entry = entry.before(audited(before));
        }
        self.store.put_rule_setting(&setting, principal.username(), &entry, self.clock.now()).await?;
        tracing::info!(event = "alert_rule.set", rule = rule.as_str(), scope = %setting.scope, by = principal.username());
        self.rule(principal, rule).await
    }

    /// Removes what was set of a rule for a scope: what is less specific holds again.
    ///
    /// # Errors
    /// Forbidden, nothing is set for the scope, or the others do not agree without it.
    pub async fn reset_rule(&self, principal: &Principal, rule: Rule, scope: &ThresholdScope) -> Result<RuleView, ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        let settings = self.settings().await?;
        let is_it = |one: &RuleSetting| one.rule == rule && same_scope(&one.scope, scope) && one.scope != ThresholdScope::Default;
        let before = settings.iter().find(|one| is_it(one)).ok_or(ServiceError::NotFound("setting of the rule"))?;
        let left: Vec<RuleSetting> = settings.iter().filter(|one| one.rule == rule && !is_it(one)).cloned().collect();
        check_all(rule, &left)?;
        let entry = AuditEntry::new(principal, AuditAction::AlertRuleReset, target(rule)).before(audited(before));
        match self.store.delete_rule_setting(rule, scope, &entry, self.clock.now()).await? {
            true => self.rule(principal, rule).await,
            false => Err(ServiceError::NotFound("setting of the rule")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scope: ThresholdScope, values: &[(&str, i64)]) -> RuleRequest {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        RuleRequest { scope, enabled: None, severity: None, values }
    }

    #[test]
    fn a_setting_takes_the_place_of_the_one_of_its_scope_however_it_is_written() {
        let group = |name: &str| ThresholdScope::Group(name.into());
        let setting = |scope: ThresholdScope, value| request(scope, &[("raise_below_pct", value)]).setting(Rule::LowBattery).unwrap();
        let settings =
            vec![setting(ThresholdScope::Global, 10), setting(group("North"), 12), setting(ThresholdScope::Tag("north".into()), 13)];
        let after = with(settings, setting(group("north"), 14));
        assert_eq!(after.len(), 3);
        assert_eq!(after[2], setting(group("north"), 14));
    }

    #[test]
    fn a_setting_that_says_nothing_or_of_no_name_is_refused() {
        let refused = |request: RuleRequest| request.setting(Rule::LowBattery).unwrap_err().field;
        assert_eq!(refused(request(ThresholdScope::Global, &[])), "body");
        assert_eq!(refused(request(ThresholdScope::Group(" ".into()), &[("raise_below_pct", 10)])), "scope.value");
        assert_eq!(refused(request(ThresholdScope::Tag("x".repeat(LABEL_MAX_CHARS + 1)), &[("raise_below_pct", 10)])), "scope.value");
        assert_eq!(refused(request(ThresholdScope::Global, &[("raise_below_pct", 0)])), "thresholds.raise_below_pct");
    }
}
