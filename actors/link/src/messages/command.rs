//! Commands on their way: to the owner of their device, and, signed, to the device.

use std::collections::BTreeMap;

use domain::command::CommandState;
use domain::{CommandId, DeviceId, Timestamp};
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

/// A command as a device gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCommand {
    /// The command.
    pub id: CommandId,
    /// Whom it is for.
    pub device_id: DeviceId,
    /// Name of the action.
    pub action: String,
    /// Time of sending, RFC 3339.
    pub ts: String,
    /// Expiry, RFC 3339.
    pub expires_at: String,
    /// JSON, the bytes that are signed; may hold secrets.
    pub params: String,
    /// Hex.
    pub signature: String,
    /// Hex, for agents in the field.
    pub legacy_hmac: String,
}

impl SignedCommand {
    /// As the data of a push message; without the legacy signature where that is empty.
    pub fn push_data(&self) -> BTreeMap<String, String> {
        let (id, device) = (self.id.to_string(), self.device_id.to_string());
        let fields: [(&str, &str); 9] = [
            ("request_id", &id),
            ("device_id", &device),
            ("action", &self.action),
            ("ts", &self.ts),
            ("expires_at", &self.expires_at),
            ("params", &self.params),
            ("signature", &self.signature),
            ("hmac", &self.legacy_hmac),
            ("v", "1"),
        ];
        let is_sent = |(name, value): &(&str, &str)| *name != "hmac" || !value.is_empty();
        fields.into_iter().filter(is_sent).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Omits the parameters, which may be secret.
impl std::fmt::Debug for SignedCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedCommand({}, {})", self.id, self.action)
    }
}
