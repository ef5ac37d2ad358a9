//! Features that are on or off for the whole cluster, for display.

use clock::Clock;
use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::flag::{Flag, FlagSetting};
use store::Store;

/// A flag as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagState {
    /// The flag.
    pub flag: Flag,
    /// On or off.
    pub enabled: bool,
    /// Account that changed the flag last, and when.
    pub set: Option<FlagSetting>,
}

/// Flags, for display.
pub struct FlagService {
    clock: Clock,
    store: Store,
}

impl FlagService {
    pub(crate) fn new(clock: Clock, store: Store) -> Self {
        Self { clock, store }
    }

    /// Every flag as it is.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn all(&self, principal: &Principal) -> Result<Vec<FlagState>, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let rows = self.store.flag_rows().await?;
        let state = |flag: Flag| {
            let set = rows.iter().find(|row| row.name == flag.as_str()).cloned();
            FlagState { flag, enabled: set.as_ref().is_some_and(|row| row.enabled), set }
        };
        Ok(Flag::ALL.map(state).to_vec())
    }

    /// Whether a person may set any flag, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_changes(&self, principal: &Principal) -> Result<(), ServiceError> {
        if principal.may(Permission::ManageDeployments) || principal.may(Permission::ManageAlerts) {
            return Ok(());
        }
        Ok(principal.require(Permission::ManageFlags)?)
    }

    /// Turns a flag on or off; in force everywhere once this is answered. The switch that stops every deployment may be
    /// thrown by whoever deploys, the one that stops remediation by whoever looks after alerts; only who may set flags puts them back.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn set(&self, principal: &Principal, flag: Flag, enabled: bool) -> Result<FlagState, ServiceError> {
        match (flag, enabled) {
            (Flag::DeploymentsKillSwitch, true) => principal.require(Permission::ManageDeployments)?,
            (Flag::RemediationStop, true) => principal.require(Permission::ManageAlerts)?,
            _ => principal.require(Permission::ManageFlags)?,
        }
        self.store.set_flag(flag, enabled, principal, self.clock.now()).await?;
        tracing::info!(event = "flag.set", flag = flag.as_str(), enabled);
        let set = self.store.flag_rows().await?.into_iter().find(|row| row.name == flag.as_str());
        Ok(FlagState { flag, enabled: set.as_ref().is_some_and(|row| row.enabled), set })
    }
}
