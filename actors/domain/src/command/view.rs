//! Commands and batches as lists and pages show them, and what is asked of lists.

use super::{CommandState, Progress};
use crate::text::{bounded, fit, fit_line, line, opaque};
use crate::{CommandBatchId, CommandId, DeviceId, Invalid, Timestamp};

/// Longest action and creator to look for, in characters.
const SOUGHT_MAX_CHARS: usize = 200;
/// Longest message of a result, in characters.
const MESSAGE_MAX_CHARS: usize = 1_000;
/// Longest code of a result, in characters.
const CODE_MAX_CHARS: usize = 100;

/// Stored command, for display.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandView {
    /// Id.
    pub id: CommandId,
    /// Device of the command.
    pub device_id: DeviceId,
    /// Present alias of the device.
    pub alias: String,
    /// Batch of the command.
    pub batch_id: Option<CommandBatchId>,
    /// Name of the action.
    pub action: String,
    /// Parameters without secrets, JSON.
    pub params: String,
    /// Progress.
    pub progress: Progress,
    /// Creator.
    pub created_by: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Earliest time of sending.
    pub release_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Account that canceled the command.
    pub canceled_by: Option<String>,
    /// Message of the device, for display.
    pub message: Option<String>,
    /// Code for programs.
    pub code: Option<String>,
    /// Output of the action, JSON.
    pub data: Option<String>,
    /// Completion, by the clock of the device.
    pub device_finished_at: Option<Timestamp>,
    /// Why it is not sent for now, while the server holds it.
    pub held: Option<HoldReason>,
}

/// Reason for holding a command that was not acknowledged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum HoldReason {
    /// Two devices report as this one; somebody has to decide about it first.
    IdentityConflict,
}

named!(pub HoldReason);

/// Filter of commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandQuery {
    /// Device.
    pub device: Option<DeviceId>,
    /// Batch.
    pub batch: Option<CommandBatchId>,
    /// Only commands without a batch.
    pub single: bool,
    /// State.
    pub state: Option<CommandState>,
    /// Action.
    pub action: Option<String>,
    /// Creator.
    pub created_by: Option<String>,
}

impl CommandQuery {
    /// Checks the lengths of what is looked for.
    ///
    /// # Errors
    /// Names the field.
    pub fn checked(&self) -> Result<(), Invalid> {
        for (field, sought) in [("action", &self.action), ("created_by", &self.created_by)] {
            sought.as_ref().map_or(Ok(()), |text| opaque(field, text, SOUGHT_MAX_CHARS))?;
        }
        Ok(())
    }
}

/// Cursor of a page of commands: the last one of the page before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandCursor {
    /// Time of creation.
    pub created_at: Timestamp,
    /// Id.
    pub id: CommandId,
}

/// Stored batch, for display.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchView {
    /// Id.
    pub id: CommandBatchId,
    /// Name of the action.
    pub action: String,
    /// Parameters without secrets, JSON.
    pub params: String,
    /// Requested target, JSON.
    pub target: String,
    /// Rate of sending, commands per second.
    pub rate_per_second: i32,
    /// Devices with a command.
    pub devices: i32,
    /// Devices without a command and why, JSON.
    pub refused: String,
    /// Number of refused devices.
    pub refused_count: i32,
    /// Creator.
    pub created_by: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Expiry of its commands.
    pub expires_at: Timestamp,
    /// Time of cancellation.
    pub canceled_at: Option<Timestamp>,
}

/// Payload of a device's result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultPayload {
    /// The action that it is the result of, where the device names it; the command's own is what is kept.
    pub action: Option<String>,
    /// Message for display.
    pub message: Option<String>,
    /// Code for programs.
    pub code: Option<String>,
    /// Output of the action, JSON.
    pub data: Option<String>,
    /// Completion, by the clock of the device.
    pub finished_at: Option<Timestamp>,
}

impl ResultPayload {
    /// Fits the texts to their limits, so that they do not cost the result. Names the fields that were changed.
    pub fn fit(&mut self) -> Vec<&'static str> {
        let message = self.message.as_mut().is_some_and(|text| fit(text, MESSAGE_MAX_CHARS)).then_some("message");
        let code = self.code.as_mut().is_some_and(|text| fit_line(text, CODE_MAX_CHARS)).then_some("code");
        message.into_iter().chain(code).collect()
    }

    /// Checks the lengths of what people read.
    ///
    /// # Errors
    /// Names the field.
    pub fn checked(&self) -> Result<(), Invalid> {
        self.message.as_ref().map_or(Ok(()), |text| bounded("message", text, MESSAGE_MAX_CHARS))?;
        self.code.as_ref().map_or(Ok(()), |text| line("code", text, CODE_MAX_CHARS))
    }
}

/// Reason for sending a device no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RefusalReason {
    /// There is no such device.
    NotFound,
    /// The device is deleted.
    Deleted,
    /// Too many commands are open for it.
    TooManyOpen,
}

named!(pub RefusalReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_result_have_limits_and_errors_name_them() {
        let field = |message: usize, code: usize| {
            let payload = ResultPayload { message: Some("x".repeat(message)), code: Some("x".repeat(code)), ..Default::default() };
            payload.checked().err().map(|invalid| invalid.field)
        };
        assert_eq!(field(1_000, 100), None);
        assert_eq!(field(1_001, 100).as_deref(), Some("message"));
        assert_eq!(field(1_000, 101).as_deref(), Some("code"));
        let mut long = ResultPayload { message: Some("x".repeat(1_001)), code: Some("a\0".into()), ..Default::default() };
        assert_eq!((long.fit(), long.code.as_deref()), (vec!["message", "code"], Some("a")));
        assert!(long.checked().is_ok() && long.fit().is_empty());
    }
}
