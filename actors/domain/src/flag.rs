//! Features that are on or off for the whole cluster.

use crate::deployment::BlockReason;
use crate::{Invalid, Timestamp};

/// Feature flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
pub enum Flag {
    /// Enables deployments. Off by default.
    #[strum(serialize = "deployments.enabled")]
    DeploymentsEnabled,
    /// Stops all deployments.
    #[strum(serialize = "deployments.kill_switch")]
    DeploymentsKillSwitch,
    /// Stops commands that mend alerts.
    #[strum(serialize = "alerts.remediation_stop")]
    RemediationStop,
}

named!(pub Flag);

impl Flag {
    /// Parses a name.
    ///
    /// # Errors
    /// Names every flag that there is.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        crate::names::parse("name", name)
    }

    /// Description.
    pub fn description(self) -> &'static str {
        match self {
            Self::DeploymentsEnabled => "Deployments are enabled",
            Self::DeploymentsKillSwitch => "Emergency stop: no deployment starts installs, whatever its state",
            Self::RemediationStop => "Emergency stop: no command is sent to mend an alert, whatever is turned on for its rule",
        }
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
                // Not about deployments, or of a later build.
                Ok(Flag::RemediationStop) | Err(_) => {}
            }
        }
        flags
    }

    /// Reason for blocking deployments, if they are blocked.
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
    /// Account that changed the flag last.
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
