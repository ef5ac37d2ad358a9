//! The commands that `exec` may run on devices: administrators allow them by name.

use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::action::{AllowedExecCommand, ExecCommand};

use super::CommandService;

/// Most commands that can be allowed.
const ALLOWED_MAX: i64 = 200;

impl CommandService {
    /// Every allowed command, by name.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn exec_commands(&self, principal: &Principal) -> Result<Vec<AllowedExecCommand>, ServiceError> {
        principal.require(Permission::ViewCommands)?;
        Ok(self.store.exec_commands().await?)
    }

    /// Allows a command, or changes what a name stands for. Commands that were made before keep what it stood for then.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or there are too many already.
    pub async fn allow_exec(&self, principal: &Principal, command: ExecCommand) -> Result<(), ServiceError> {
        principal.require(Permission::ManageExec)?;
        let command = command.checked()?;
        match self.store.put_exec_command(&command, principal, self.clock.now(), ALLOWED_MAX).await? {
            true => Ok(()),
            false => Err(ServiceError::WrongState("the limit of 200 allowed commands is reached; remove one first")),
        }
    }

    /// Allows a command no longer.
    ///
    /// # Errors
    /// Forbidden, or there is no such command.
    pub async fn disallow_exec(&self, principal: &Principal, name: &str) -> Result<(), ServiceError> {
        principal.require(Permission::ManageExec)?;
        match self.store.delete_exec_command(name, principal, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("allowed command")),
        }
    }
}
