//! Settings of rules by scope; the most specific one wins.

use std::fmt;

use crate::invalid::{Invalid, in_range};
use crate::{DeviceId, name};

use super::{Rule, Severity, SubjectKind, THRESHOLDS_MAX};

/// Most settings of one rule.
pub const SETTINGS_MAX: usize = 1_000;

/// Devices that a setting is for, the least specific first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThresholdScope {
    /// Nobody set it: the default of the rule.
    Default,
    /// All of them.
    Global,
    /// Devices of a group.
    Group(String),
    /// Devices with a tag.
    Tag(String),
    /// One device.
    Device(DeviceId),
}

impl ThresholdScope {
    /// Kind and value, as they are stored.
    pub fn parts(&self) -> (&'static str, String) {
        match self {
            Self::Default => ("default", String::new()),
            Self::Global => ("global", String::new()),
            Self::Group(group) => ("group", group.clone()),
            Self::Tag(tag) => ("tag", tag.clone()),
            Self::Device(id) => ("device", id.to_string()),
        }
    }

    /// Parses a stored scope.
    pub fn parse(kind: &str, value: &str) -> Option<Self> {
        Some(match kind {
            "global" => Self::Global,
            "group" => Self::Group(value.to_owned()),
            "tag" => Self::Tag(value.to_owned()),
            "device" => Self::Device(value.parse().ok()?),
            _ => return None,
        })
    }

    /// Whether it holds for a device with these labels.
    fn holds_for(&self, device: Option<&ScopedDevice<'_>>) -> bool {
        match (self, device) {
            (Self::Default | Self::Global, _) => true,
            (_, None) => false,
            (Self::Group(group), Some(device)) => device.groups.iter().any(|other| name::same(group, other)),
            (Self::Tag(tag), Some(device)) => device.tags.iter().any(|other| name::same(tag, other)),
            (Self::Device(id), Some(device)) => *id == device.id,
        }
    }
}

/// "default", "all devices", "group north", "tag vip", "this device".
impl fmt::Display for ThresholdScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Global => f.write_str("all devices"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Device(_) => f.write_str("this device"),
        }
    }
}

/// A device as scopes see it.
#[derive(Debug, Clone, Copy)]
pub struct ScopedDevice<'a> {
    /// Id.
    pub id: DeviceId,
    /// Groups.
    pub groups: &'a [String],
    /// Tags.
    pub tags: &'a [String],
}

/// Setting of a rule for a scope; what it leaves out comes from the next less specific one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSetting {
    /// Rule.
    pub rule: Rule,
    /// Scope.
    pub scope: ThresholdScope,
    /// Whether the rule is on.
    pub enabled: Option<bool>,
    /// Severity.
    pub severity: Option<Severity>,
    /// Thresholds by name.
    pub values: Vec<(String, i64)>,
}

impl RuleSetting {
    /// Checks the setting by itself: the scope, names and ranges. Whether the thresholds agree with each other is for [`check_all`].
    ///
    /// # Errors
    /// Names the threshold and its limits.
    pub fn checked(self) -> Result<Self, Invalid> {
        let spec = self.rule.spec();
        if spec.subject != SubjectKind::Device && !matches!(self.scope, ThresholdScope::Global) {
            return Err(Invalid::new("scope", format!("{} is about no device: it has one setting, for all", self.rule.as_str())));
        }
        if matches!(self.scope, ThresholdScope::Default) {
            return Err(Invalid::new("scope", "the default cannot be changed; set it for all devices"));
        }
        for (at, (name, value)) in self.values.iter().enumerate() {
            let field = format!("thresholds.{name}");
            let Some(threshold) = spec.thresholds.iter().find(|threshold| threshold.name == name) else {
                let names: Vec<_> = spec.thresholds.iter().map(|threshold| threshold.name).collect();
                let known = if names.is_empty() { "the rule has none".to_owned() } else { format!("not one of {}", names.join(", ")) };
                return Err(Invalid::new(field, known));
            };
            in_range(&field, *value, threshold.min, threshold.max)?;
            if self.values[..at].iter().any(|(other, _)| other == name) {
                return Err(Invalid::new(field, "given twice"));
            }
        }
        Ok(self)
    }
}

/// Thresholds of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    rule: Rule,
    values: [i64; THRESHOLDS_MAX],
}

impl Thresholds {
    /// Defaults of a rule.
    pub fn of(rule: Rule) -> Self {
        let mut values = [0; THRESHOLDS_MAX];
        for (value, threshold) in values.iter_mut().zip(rule.spec().thresholds) {
            *value = threshold.default;
        }
        Self { rule, values }
    }

    /// The same with another value; unknown names change nothing.
    #[must_use]
    pub fn with(mut self, name: &str, value: i64) -> Self {
        if let Some(at) = self.position(name) {
            self.values[at] = value;
        }
        self
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Value by name; 0 for a name that the rule does not have.
    pub fn get(&self, name: &str) -> i64 {
        self.position(name).map_or(0, |at| self.values[at])
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.rule.spec().thresholds.iter().position(|threshold| threshold.name == name)
    }

    /// Pairs that have to be in order: a condition that clears where it is raised would flap.
    fn checked(&self, of: &ThresholdScope) -> Result<(), Invalid> {
        let ordered: &[(&str, &str)] = match self.rule {
            Rule::LowBattery | Rule::DiskLow => &[("raise_below_pct", "clear_at_pct")],
            Rule::StorageLow => &[("raise_below_mb", "clear_at_mb")],
            Rule::DatabaseSlow => &[("clear_below_ms", "raise_at_ms")],
            _ => &[],
        };
        for (low, high) in ordered {
            let (below, above) = (self.get(low), self.get(high));
            if below > above {
                let problem = format!("{above} is less than {low}, which is {below} for {of}");
                return Err(Invalid::new(format!("thresholds.{high}"), problem));
            }
        }
        Ok(())
    }
}

/// Setting of a rule as it holds for a subject, and where each part of it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRule {
    /// Whether the rule is on.
    pub enabled: bool,
    /// Scope that says so.
    pub enabled_by: ThresholdScope,
    /// Severity.
    pub severity: Severity,
    /// Scope that sets it.
    pub severity_by: ThresholdScope,
    /// Thresholds.
    pub thresholds: Thresholds,
    /// Scope of each threshold, in the order of the rule's.
    pub thresholds_by: Vec<ThresholdScope>,
}

/// The setting of a rule that holds for a device, or for a subject that is none. Of two groups, or two tags, that both set a value, the first by
/// name wins.
pub fn resolve(rule: Rule, settings: &[RuleSetting], device: Option<&ScopedDevice<'_>>) -> ResolvedRule {
    let spec = rule.spec();
    let mut holding: Vec<&RuleSetting> =
        settings.iter().filter(|setting| setting.rule == rule && setting.scope.holds_for(device)).collect();
    // The winner last: more specific scopes, and among those of a kind the first by name.
    holding.sort_by(|a, b| {
        let kind = |scope: &ThresholdScope| match scope {
            ThresholdScope::Default => 0,
            ThresholdScope::Global => 1,
            ThresholdScope::Group(_) => 2,
            ThresholdScope::Tag(_) => 3,
            ThresholdScope::Device(_) => 4,
        };
        kind(&a.scope).cmp(&kind(&b.scope)).then_with(|| b.scope.cmp(&a.scope))
    });
    let mut resolved = ResolvedRule {
        enabled: spec.enabled,
        enabled_by: ThresholdScope::Default,
        severity: spec.severity,
        severity_by: ThresholdScope::Default,
        thresholds: Thresholds::of(rule),
        thresholds_by: vec![ThresholdScope::Default; spec.thresholds.len()],
    };
    for setting in holding {
        if let Some(enabled) = setting.enabled {
            (resolved.enabled, resolved.enabled_by) = (enabled, setting.scope.clone());
        }
        if let Some(severity) = setting.severity {
            (resolved.severity, resolved.severity_by) = (severity, setting.scope.clone());
        }
        for (at, threshold) in spec.thresholds.iter().enumerate() {
            if let Some((_, value)) = setting.values.iter().find(|(name, _)| name == threshold.name) {
                resolved.thresholds.values[at] = *value;
                resolved.thresholds_by[at] = setting.scope.clone();
            }
        }
    }
    resolved
}

/// Checks that the settings of a rule agree with each other wherever one of them adds to another. Overlapping groups and tags may still meet at a
/// device with thresholds that are out of order; there the rule raises by the first and clears by whichever is further ([`resolve`] names both).
///
/// # Errors
/// Names the threshold that is out of order, or the limit on the number of settings.
pub fn check_all(rule: Rule, settings: &[RuleSetting]) -> Result<(), Invalid> {
    let count = settings.iter().filter(|setting| setting.rule == rule).count();
    if count > SETTINGS_MAX {
        return Err(Invalid::new("scope", format!("{count} settings are more than the {SETTINGS_MAX} allowed for one rule")));
    }
    let with = |base: Thresholds, setting: &RuleSetting| setting.values.iter().fold(base, |base, (name, value)| base.with(name, *value));
    let of = |scope: ThresholdScope| settings.iter().filter(move |setting| setting.rule == rule && setting.scope == scope);
    let configured = of(ThresholdScope::Default).fold(Thresholds::of(rule), with);
    let global = of(ThresholdScope::Global).fold(configured, with);
    global.checked(&ThresholdScope::Global)?;
    let mut made = settings.iter().filter(|setting| setting.rule == rule && setting.scope != ThresholdScope::Default);
    made.try_for_each(|setting| with(global, setting).checked(&setting.scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(scope: ThresholdScope, values: &[(&str, i64)]) -> RuleSetting {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        RuleSetting { rule: Rule::LowBattery, scope, enabled: None, severity: None, values }
    }

    fn group(name: &str) -> ThresholdScope {
        ThresholdScope::Group(name.into())
    }

    #[test]
    fn the_most_specific_setting_wins_and_is_named() {
        let id = DeviceId(uuid::Uuid::from_u128(1));
        let settings = [
            setting(ThresholdScope::Device(id), &[("raise_below_pct", 5)]),
            RuleSetting { severity: Some(Severity::Critical), ..setting(ThresholdScope::Tag("vip".into()), &[("raise_below_pct", 40)]) },
            setting(group("North"), &[("raise_below_pct", 30), ("clear_at_pct", 50)]),
            setting(group("south"), &[("clear_at_pct", 60)]),
            RuleSetting { enabled: Some(false), ..setting(ThresholdScope::Global, &[("clear_at_pct", 25)]) },
        ];
        let (north, both, vip) = (vec!["north".to_owned()], vec!["north".to_owned(), "south".to_owned()], vec!["vip".to_owned()]);
        let other = DeviceId(uuid::Uuid::from_u128(2));
        let resolved =
            |id, groups: &[String], tags: &[String]| resolve(Rule::LowBattery, &settings, Some(&ScopedDevice { id, groups, tags }));
        let values = |resolved: &ResolvedRule| (resolved.thresholds.get("raise_below_pct"), resolved.thresholds.get("clear_at_pct"));
        assert_eq!(values(&resolved(other, &[], &[])), (15, 25));
        assert_eq!(values(&resolved(other, &north, &[])), (30, 50), "names are compared as names");
        assert_eq!(values(&resolved(other, &both, &[])), (30, 50), "the first group by name");
        assert_eq!(values(&resolved(other, &both, &vip)), (40, 50));
        let own = resolved(id, &both, &vip);
        assert_eq!(values(&own), (5, 50));
        assert_eq!(own.thresholds_by, [ThresholdScope::Device(id), group("North")]);
        assert_eq!((own.severity, own.severity_by.to_string().as_str()), (Severity::Critical, "tag vip"));
        assert_eq!((own.enabled, own.enabled_by.to_string().as_str()), (false, "all devices"));
        let untouched = resolve(Rule::DeviceOffline, &settings, None);
        assert_eq!((untouched.thresholds, untouched.enabled_by), (Thresholds::of(Rule::DeviceOffline), ThresholdScope::Default));
    }

    #[test]
    fn nonsense_is_refused_by_field_problem_and_limit() {
        let refused = |setting: RuleSetting| setting.checked().unwrap_err().to_string();
        assert_eq!(refused(setting(ThresholdScope::Global, &[("raise_below_pct", 0)])), "thresholds.raise_below_pct: 0 is outside 1..99");
        assert_eq!(refused(setting(ThresholdScope::Global, &[("volts", 3)])), "thresholds.volts: not one of raise_below_pct, clear_at_pct");
        let twice = [("clear_at_pct", 30), ("clear_at_pct", 31)];
        assert_eq!(refused(setting(ThresholdScope::Global, &twice)), "thresholds.clear_at_pct: given twice");
        let of_a_group = RuleSetting { rule: Rule::DiskLow, ..setting(group("north"), &[]) };
        assert_eq!(refused(of_a_group), "scope: disk_low is about no device: it has one setting, for all");
        let none = RuleSetting { rule: Rule::AuditChainBroken, ..setting(ThresholdScope::Global, &[("x", 1)]) };
        assert_eq!(refused(none), "thresholds.x: the rule has none");
        assert!(setting(ThresholdScope::Default, &[]).checked().is_err());
        assert!(setting(group("north"), &[("clear_at_pct", 100)]).checked().is_ok());
    }

    #[test]
    fn what_clears_before_it_is_raised_is_refused_in_every_scope() {
        let all = |settings: &[RuleSetting]| check_all(Rule::LowBattery, settings).map_err(|refused| refused.to_string());
        assert_eq!(
            all(&[setting(ThresholdScope::Global, &[("raise_below_pct", 30)])]).unwrap_err(),
            "thresholds.clear_at_pct: 20 is less than raise_below_pct, which is 30 for all devices"
        );
        let global = setting(ThresholdScope::Global, &[("clear_at_pct", 60)]);
        assert!(all(&[global.clone(), setting(group("north"), &[("raise_below_pct", 60)])]).is_ok());
        assert!(all(&[global, setting(group("north"), &[("raise_below_pct", 61)])]).is_err());
        assert!(all(&vec![setting(group("x"), &[]); SETTINGS_MAX + 1]).is_err());
    }

    #[test]
    fn scopes_are_read_as_they_were_stored() {
        for scope in [
            ThresholdScope::Global,
            group("north"),
            ThresholdScope::Tag("vip".into()),
            ThresholdScope::Device(DeviceId(uuid::Uuid::from_u128(1))),
        ] {
            let (kind, value) = scope.parts();
            assert_eq!(ThresholdScope::parse(kind, &value), Some(scope));
        }
        assert_eq!(ThresholdScope::parse("device", "north"), None);
    }
}
