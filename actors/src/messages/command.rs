//! A pending command on its way to the owner of its device.

use domain::command::CommandState;
use domain::{CommandId, Timestamp};
use store::OpenCommand;

/// What a device is to do, on the way to its owner.
#[derive(Clone, PartialEq)]
pub struct PendingCommand {
    /// The command.
    pub id: CommandId,
    /// Name of its action.
    pub action: String,
    /// JSON that the device is sent; may hold secrets.
    pub params: String,
    /// The device has it already.
    pub delivered: bool,
    /// When it is sent at the earliest.
    pub release_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// Its parameters may be secret.
impl std::fmt::Debug for PendingCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandOrder({}, {})", self.id, self.action)
    }
}

impl From<OpenCommand> for PendingCommand {
    fn from(open: OpenCommand) -> Self {
        let OpenCommand { id, device_id: _, action, params, state, created_at: _, release_at, expires_at } = open;
        Self { id, action, params, delivered: state == CommandState::Delivered, release_at, expires_at }
    }
}
