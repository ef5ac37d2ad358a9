//! Features that are on or off for the whole cluster.

use crate::deployment::BlockReason;
use crate::{Invalid, Timestamp};

/// Feature flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Enables deployments. Off by default.
    DeploymentsEnabled,
    /// Stops all deployments.
    DeploymentsKillSwitch,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 2] = [Self::DeploymentsEnabled, Self::DeploymentsKillSwitch];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeploymentsEnabled => "deployments.enabled",
            Self::DeploymentsKillSwitch => "deployments.kill_switch",
        }
    }

    /// Description.
    pub fn description(self) -> &'static str {
        match self {
            Self::DeploymentsEnabled => "Deployments are enabled",
            Self::DeploymentsKillSwitch => "Emergency stop: no deployment starts installs, whatever its state",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// Names every flag that there is.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|flag| flag.as_str() == name);
        known.ok_or_else(|| Invalid::new("name", format!("not one of {}", Self::ALL.map(Self::as_str).join(", "))))
    }
}

/// Values of the flags; one that was never set is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Whether deployments are enabled.
    pub deployments_enabled: bool,
    /// Stops all deployments.
    pub kill_switch: bool,
}

impl Flags {
    /// Flags, given the names of those that are on.
    pub fn of<'a>(on: impl IntoIterator<Item = &'a str>) -> Self {
        let mut flags = Self::default();
        for name in on {
            match Flag::parse(name) {
                Ok(Flag::DeploymentsEnabled) => flags.deployments_enabled = true,
                Ok(Flag::DeploymentsKillSwitch) => flags.kill_switch = true,
                // Of a later build.
                Err(_) => {}
            }
        }
        flags
    }

    /// Why deployments are blocked, if they are.
    pub fn blocked(self) -> Option<BlockReason> {
        if self.kill_switch {
            return Some(BlockReason::KillSwitch);
        }
        (!self.deployments_enabled).then_some(BlockReason::FlagOff)
    }
}

/// Stored flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagSetting {
    /// Name.
    pub name: String,
    /// On or off.
    pub enabled: bool,
    /// Who changed the flag last.
    pub updated_by: String,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_go_on_only_when_enabled_and_not_killed() {
        assert_eq!(Flags::of([]).blocked(), Some(BlockReason::FlagOff));
        assert_eq!(Flags::of(["deployments.enabled"]).blocked(), None);
        assert_eq!(Flags::of(["deployments.enabled", "deployments.kill_switch", "of.later"]).blocked(), Some(BlockReason::KillSwitch));
        assert!(Flag::parse("deployments").unwrap_err().problem.contains("deployments.kill_switch"));
    }
}
