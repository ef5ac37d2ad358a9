//! A pending command on its way to the owner of its device.

use domain::command::CommandState;
use domain::{CommandId, Timestamp};
use store::OpenCommand;

/// Command that has not finished, on the way to the owner of its device.
#[derive(Clone, PartialEq)]
pub struct PendingCommand {
    /// The command.
    pub id: CommandId,
    /// Name of the action.
    pub action: String,
    /// Parameters that are sent, JSON; may hold secrets.
    pub params: String,
    /// Whether the device has received it.
    pub delivered: bool,
    /// Earliest time of sending.
    pub release_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// Omits the parameters, which may be secret.
impl std::fmt::Debug for PendingCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingCommand({}, {})", self.id, self.action)
    }
}

impl From<OpenCommand> for PendingCommand {
    fn from(open: OpenCommand) -> Self {
        let OpenCommand { id, device_id: _, action, params, state, created_at: _, release_at, expires_at } = open;
        Self { id, action, params, delivered: state == CommandState::Delivered, release_at, expires_at }
    }
}
