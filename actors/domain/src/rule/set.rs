//! Sets of rules, as small as a number.

use super::Rule;

/// Set of rules: those of which an alert of a device is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RuleSet(u64);

fn bit(rule: Rule) -> u64 {
    1 << rule as u8
}

impl RuleSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of rules.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether `rule` is among them.
    pub fn contains(self, rule: Rule) -> bool {
        self.0 & bit(rule) != 0
    }

    /// Adds or removes a rule. Returns whether that changed anything.
    pub fn set(&mut self, rule: Rule, open: bool) -> bool {
        let before = self.0;
        if open {
            self.0 |= bit(rule);
        } else {
            self.0 &= !bit(rule);
        }
        self.0 != before
    }

    /// The rules, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.into_iter().filter(move |rule| self.contains(*rule))
    }

    /// Names of the rules.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|rule| rule.as_str().to_owned()).collect()
    }

    /// The rules of these names. Those of a later build are left out.
    pub fn named<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        names.into_iter().filter_map(|name| name.as_ref().parse().ok()).collect()
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        Self(rules.into_iter().fold(0, |bits, rule| bits | bit(rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_place_of_its_own() {
        assert!(Rule::ALL.len() <= 64);
        let mut set = RuleSet::EMPTY;
        for (at, rule) in Rule::ALL.into_iter().enumerate() {
            assert!(set.set(rule, true) && !set.set(rule, true), "{rule:?}");
            assert_eq!(set.len(), at + 1);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), Rule::ALL.to_vec());
        assert!(set.set(Rule::LowBattery, false) && !set.contains(Rule::LowBattery) && set.contains(Rule::AppDown));
    }

    #[test]
    fn a_set_is_read_by_its_names_and_rules_of_a_later_build_are_left_out() {
        let set: RuleSet = [Rule::AppDown, Rule::DeviceOffline].into_iter().collect();
        assert_eq!(set.names(), ["device_offline", "app_down"]);
        assert_eq!(RuleSet::named(set.names()), set);
        assert_eq!(RuleSet::named(["app_down", "rule_of_a_later_build"]).names(), ["app_down"]);
        assert!(RuleSet::named([""; 0]).is_empty());
    }
}
