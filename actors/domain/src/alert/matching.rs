//! Matching of many alerts: names of groups and tags are folded once, and not for each pair.

use std::cell::OnceCell;

use super::{MatchedAlert, Matcher, Subject};
use crate::name::CanonicalName;

/// Names in their canonical form, any of which is wanted; none: whatever there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedNames(Vec<CanonicalName>);

impl FoldedNames {
    /// The forms of these names.
    pub fn of(names: &[String]) -> Self {
        Self(names.iter().map(|name| CanonicalName::of(name)).collect())
    }

    /// Whether none is wanted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the wanted names is among those given.
    pub fn any_of(&self, given: &Self) -> bool {
        self.0.iter().any(|name| given.0.contains(name))
    }
}

/// Alert whose labels are folded when they are first compared.
#[derive(Debug)]
pub struct FoldedAlert<'a> {
    alert: MatchedAlert<'a>,
    groups: OnceCell<FoldedNames>,
    tags: OnceCell<FoldedNames>,
}

impl<'a> FoldedAlert<'a> {
    /// The alert.
    pub fn of(alert: MatchedAlert<'a>) -> Self {
        Self { alert, groups: OnceCell::new(), tags: OnceCell::new() }
    }

    /// The alert as it was given.
    pub fn alert(&self) -> &MatchedAlert<'a> {
        &self.alert
    }

    /// Groups of its subject.
    pub fn groups(&self) -> &FoldedNames {
        self.groups.get_or_init(|| FoldedNames::of(&self.alert.labels.groups))
    }

    fn tags(&self) -> &FoldedNames {
        self.tags.get_or_init(|| FoldedNames::of(&self.alert.labels.tags))
    }
}

/// Matcher with folded names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedMatcher {
    matcher: Matcher,
    groups: FoldedNames,
    tags: FoldedNames,
}

impl FoldedMatcher {
    /// The matcher.
    pub fn of(matcher: &Matcher) -> Self {
        Self { groups: FoldedNames::of(&matcher.groups), tags: FoldedNames::of(&matcher.tags), matcher: matcher.clone() }
    }

    /// Whether the alert meets every criterion, as [`Matcher::matches`] tells.
    pub fn matches(&self, folded: &FoldedAlert<'_>) -> bool {
        let (Matcher { rules, severities, devices, nodes, .. }, MatchedAlert { key, severity, .. }) = (&self.matcher, folded.alert());
        (rules.is_empty() || rules.contains(&key.rule))
            && (severities.is_empty() || severities.contains(severity))
            && (devices.is_empty() || key.subject.device().is_some_and(|id| devices.contains(&id)))
            && (nodes.is_empty() || matches!(&key.subject, Subject::Node(node) if nodes.contains(node)))
            && (self.groups.is_empty() || self.groups.any_of(folded.groups()))
            && (self.tags.is_empty() || self.tags.any_of(folded.tags()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DeviceId;
    use crate::alert::{AlertKey, Rule, Severity, SubjectLabels};

    fn names() -> impl Strategy<Value = Vec<String>> {
        let name = prop::sample::select(vec!["north", "North ", "NORTH", "süd", "SÜD", "su\u{308}d", "west"]);
        prop::collection::vec(name.prop_map(str::to_owned), 0..3)
    }

    proptest! {
        /// A folded matcher tells the same as the matcher.
        #[test]
        fn folding_changes_no_answer(
            wanted in (names(), names()), given in (names(), names()), rules in 0..3_usize, severities in 0..2_usize, devices in 0..3_u128,
        ) {
            let id = |number| DeviceId(uuid::Uuid::from_u128(number));
            let matcher = Matcher {
                rules: [vec![], vec![Rule::AppDown], vec![Rule::LowBattery]][rules].clone(),
                severities: [vec![], vec![Severity::Warning]][severities].clone(),
                groups: wanted.0,
                tags: wanted.1,
                devices: (1..=devices).map(id).collect(),
                nodes: vec![],
            };
            for (subject, severity) in [(Subject::Device(id(1)), Severity::Warning), (Subject::Device(id(2)), Severity::Info), (Subject::Node("a".into()), Severity::Warning)] {
                let key = AlertKey { rule: Rule::AppDown, subject };
                let labels = SubjectLabels { name: String::new(), groups: given.0.clone(), tags: given.1.clone() };
                let alert = MatchedAlert { key: &key, severity, labels: &labels };
                prop_assert_eq!(FoldedMatcher::of(&matcher).matches(&FoldedAlert::of(alert)), matcher.matches(&alert));
            }
        }
    }
}
