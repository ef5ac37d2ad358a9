//! Book of rules: the settings of all of them, put together so that what holds for a subject is found soon.

use std::borrow::Cow;

use chrono::TimeDelta;

use crate::Timestamp;

use super::{
    Facts, Judging, RecordChange, ResolvedRule, Rule, RuleSetting, ScopedDevice, Severity, SubjectKind, ThresholdScope, evaluate, judge,
    resolve,
};

/// Settings of all rules, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleBook {
    settings: Vec<RuleSetting>,
    /// In the order of [`Rule::ALL`]: what holds where no scope of a group, tag or device does, and whether there are such scopes.
    rules: Vec<(ResolvedRule, bool)>,
}

impl RuleBook {
    /// Puts settings together: the configured ones, whose scope is [`ThresholdScope::Default`], and those that people made.
    pub fn new(settings: Vec<RuleSetting>) -> Self {
        let scoped = |rule: Rule| {
            let narrow = |scope: &ThresholdScope| !matches!(scope, ThresholdScope::Default | ThresholdScope::Global);
            settings.iter().any(|setting| setting.rule == rule && narrow(&setting.scope))
        };
        let rules = Rule::ALL.into_iter().map(|rule| (resolve(rule, &settings, None), scoped(rule))).collect();
        Self { settings, rules }
    }

    /// The settings, the configured ones first.
    pub fn settings(&self) -> &[RuleSetting] {
        &self.settings
    }

    /// The setting of a rule that holds for a device, or for a subject that is none.
    pub fn resolved(&self, rule: Rule, device: Option<&ScopedDevice<'_>>) -> Cow<'_, ResolvedRule> {
        match self.rules.get(rule as usize) {
            Some((resolved, scoped)) if !*scoped || device.is_none() => Cow::Borrowed(resolved),
            _ => Cow::Owned(resolve(rule, &self.settings, device)),
        }
    }

    /// Whether the rule may be on for some subject.
    fn may_fire(&self, rule: Rule) -> bool {
        self.rules.get(rule as usize).is_some_and(|(resolved, scoped)| resolved.enabled || *scoped)
    }
}

/// Circumstances of the judgements of a subject.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Present time.
    pub now: Timestamp,
    /// Since when whoever judges hears of the subject.
    pub judged_since: Timestamp,
    /// How long silence says nothing after that.
    pub settle: TimeDelta,
}

/// Open alert of a subject, as its judge remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRecord {
    /// Rule.
    pub rule: Rule,
    /// Id.
    pub id: crate::AlertId,
    /// Severity.
    pub severity: Severity,
}

/// What follows from the judgements of all rules about a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectJudgement {
    /// Changes of its records, at most one a rule.
    pub changes: Vec<(Rule, RecordChange)>,
    /// When to judge again although nothing is reported.
    pub next_deadline: Option<Timestamp>,
}

/// Judges the rules about a subject. `open`: its open alerts; those of rules about other kinds are left alone.
pub fn judge_subject(
    book: &RuleBook,
    facts: Facts<'_>,
    device: Option<&ScopedDevice<'_>>,
    open: &[OpenRecord],
    at: Circumstances,
) -> SubjectJudgement {
    let kind = match facts {
        Facts::Device(_) => SubjectKind::Device,
        Facts::Deployment(_) => SubjectKind::Deployment,
        Facts::Node(_) => SubjectKind::Node,
        Facts::System(_) => SubjectKind::System,
    };
    let mut judgement = SubjectJudgement::default();
    for rule in Rule::ALL.into_iter().filter(|rule| rule.spec().subject == kind) {
        let before = open.iter().find(|record| record.rule == rule).map(|record| record.severity);
        if before.is_none() && !book.may_fire(rule) {
            continue;
        }
        let setting = book.resolved(rule, device);
        if before.is_none() && !setting.enabled {
            continue;
        }
        let judging = Judging {
            now: at.now,
            judged_since: at.judged_since,
            settle: at.settle,
            firing: before.is_some(),
            thresholds: &setting.thresholds,
        };
        let evaluation = evaluate(rule, facts, &judging);
        if setting.enabled {
            let earliest = |known: Option<Timestamp>, new: Timestamp| Some(known.map_or(new, |known| known.min(new)));
            judgement.next_deadline = evaluation.next_deadline.map_or(judgement.next_deadline, |at| earliest(judgement.next_deadline, at));
        }
        judgement.changes.extend(judge(before, setting.enabled, &evaluation.verdict, setting.severity).map(|change| (rule, change)));
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{DeviceFacts, ResolveCause, Streaks, SystemFacts, Thresholds};
    use crate::device::AppStatus;
    use crate::{AlertId, DeviceId};

    fn second(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn setting(rule: Rule, scope: ThresholdScope, name: &str, value: i64) -> RuleSetting {
        RuleSetting { rule, scope, enabled: None, severity: None, values: vec![(name.to_owned(), value)] }
    }

    fn seen(at: i64) -> DeviceFacts<'static> {
        DeviceFacts {
            enrolled_at: second(0),
            last_seen_at: Some(second(at)),
            last: None,
            app_status: AppStatus::Unknown,
            streaks: Streaks::default(),
            in_conflict: false,
            agent_offer: None,
        }
    }

    fn at(now: i64) -> Circumstances {
        Circumstances { now: second(now), judged_since: second(-10_000), settle: TimeDelta::seconds(360) }
    }

    fn record(rule: Rule) -> OpenRecord {
        OpenRecord { rule, id: AlertId(uuid::Uuid::from_u128(1)), severity: rule.spec().severity }
    }

    #[test]
    fn what_is_configured_is_the_default_and_people_override_it() {
        let configured = setting(Rule::DeviceOffline, ThresholdScope::Default, "offline_after_seconds", 600);
        let north = setting(Rule::DeviceOffline, ThresholdScope::Group("north".into()), "offline_after_seconds", 60);
        let book = RuleBook::new(vec![configured.clone(), north]);
        let groups = ["north".to_owned()];
        let device = |groups| ScopedDevice { id: DeviceId(uuid::Uuid::nil()), groups, tags: &[] };
        let limit = |groups| book.resolved(Rule::DeviceOffline, Some(&device(groups))).thresholds.get("offline_after_seconds");
        assert_eq!((limit(&[]), limit(&groups)), (600, 60));
        let resolved = book.resolved(Rule::DeviceOffline, None);
        assert_eq!(resolved.thresholds_by, [ThresholdScope::Default]);
        assert_eq!(book.resolved(Rule::LowBattery, Some(&device(&[]))).thresholds, Thresholds::of(Rule::LowBattery));
        assert_eq!(book.settings()[0], configured);
    }

    #[test]
    fn the_rules_about_a_subject_are_judged_together() {
        let book = RuleBook::new(vec![]);
        let judged = |facts: &DeviceFacts<'_>, open: &[OpenRecord], now| {
            let judged = judge_subject(&book, Facts::Device(facts), None, open, at(now));
            (
                judged.changes.into_iter().map(|(rule, change)| (rule, matches!(change, RecordChange::Open { .. }))).collect::<Vec<_>>(),
                judged.next_deadline,
            )
        };
        assert_eq!(judged(&seen(0), &[], 719), (vec![], Some(second(720))));
        assert_eq!(judged(&seen(0), &[], 720), (vec![(Rule::DeviceOffline, true)], None));
        assert_eq!(judged(&seen(0), &[record(Rule::DeviceOffline)], 800), (vec![], None), "once");
        assert_eq!(judged(&seen(790), &[record(Rule::DeviceOffline)], 800).0, [(Rule::DeviceOffline, false)]);
        let others = [record(Rule::DiskLow)];
        assert_eq!(judged(&seen(790), &others, 800).0, [], "alerts about other kinds are left alone");
        let ok = SystemFacts::default();
        assert_eq!(judge_subject(&book, Facts::System(&ok), None, &others, at(0)), SubjectJudgement::default(), "nothing is known");
    }

    #[test]
    fn a_rule_that_is_turned_off_clears_and_has_no_deadline() {
        let off = RuleSetting { enabled: Some(false), ..setting(Rule::DeviceOffline, ThresholdScope::Global, "offline_after_seconds", 60) };
        let book = RuleBook::new(vec![off]);
        let judged = judge_subject(&book, Facts::Device(&seen(0)), None, &[record(Rule::DeviceOffline)], at(720));
        assert_eq!(judged.changes, [(Rule::DeviceOffline, RecordChange::Resolve(ResolveCause::RuleOff))]);
        assert_eq!(judge_subject(&book, Facts::Device(&seen(0)), None, &[], at(0)), SubjectJudgement::default());
    }
}
