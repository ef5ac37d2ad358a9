//! Results of commands: stored once, before they are acknowledged.

use actors::messages::DeviceCredentials;
use domain::command::{CommandOutcome, Report, ResultPayload};
use domain::{CommandId, DeviceId, ServiceError};
use link::messages::DeviceRequest;
use store::{CommandReport, CommandReportOutcome, Reporter};
use tracing::Instrument;

use super::AgentService;

/// Report of a device about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// The command.
    pub id: CommandId,
    /// Receipt or outcome.
    pub report: Report,
    /// Message, code, output and time of completion.
    pub payload: ResultPayload,
}

/// Format in which a device answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFormat {
    /// That of this server.
    Current,
    /// That of the earlier server, whose agents also check push messages its way.
    Legacy,
}

impl AgentService {
    /// Stores the result of a command; returns after the commit. A repeated result changes nothing.
    ///
    /// # Errors
    /// A text is too long, the credentials no longer hold, the device is deleted, it has no such command, it said something else before, or
    /// the database is unavailable.
    pub async fn record_result(
        &self,
        credentials: DeviceCredentials,
        result: CommandResult,
        format: ResultFormat,
    ) -> Result<(), ServiceError> {
        result.payload.checked()?;
        let device = credentials.device_id;
        self.check(credentials).await?;
        self.note_format(device, format).await;
        let CommandResult { id, report, payload } = result;
        let reported = CommandReport { id, by: Reporter::Device(device, payload), report, at: self.clock.now() };
        match self.commands.report(reported).await? {
            CommandReportOutcome::Changed { after, .. } => {
                // Of a result this is so once: the alert about failures counts it once.
                let succeeded = after.ending.map(|ending| ending == CommandOutcome::Success);
                self.notify_owner(device, id, !after.state.is_open(), succeeded);
                Ok(())
            }
            CommandReportOutcome::Nothing(state) => {
                // The owner may not have heard of it the first time.
                self.notify_owner(device, id, !state.is_open(), None);
                Ok(())
            }
            CommandReportOutcome::Conflict(_) => {
                // A device that lost its memory says otherwise; an owner that has not heard of the end would ask it again and again.
                self.notify_owner(device, id, true, None);
                Err(ServiceError::WrongState("another outcome of this command is already recorded"))
            }
            CommandReportOutcome::OtherAction => Err(ServiceError::WrongState("the command has another action than the result names")),
            CommandReportOutcome::Unknown => Err(ServiceError::NotFound("command of this device")),
            CommandReportOutcome::NotOwner => Err(ServiceError::Internal),
        }
    }

    /// Notes whether the device needs legacy push. Its result counts all the same when this fails.
    async fn note_format(&self, device: DeviceId, format: ResultFormat) {
        let legacy_at = match format {
            ResultFormat::Legacy => Some(self.clock.now()),
            ResultFormat::Current if self.current_format.contains_key(&device) => return,
            ResultFormat::Current => None,
        };
        match self.store.note_result_format(device, legacy_at).await {
            Ok(()) if legacy_at.is_none() => self.current_format.insert(device, ()),
            Ok(()) => self.current_format.invalidate(&device),
            Err(cause) => tracing::warn!(event = "push.format_not_noted", device_id = %device, %cause),
        }
    }

    fn notify_owner(&self, device: DeviceId, id: CommandId, finished: bool, succeeded: Option<bool>) {
        let router = self.router.clone();
        // An owner that does not hear of it sends the command once more; the device knows it.
        let told = async move { router.request(device, DeviceRequest::CommandUpdated { id, finished, succeeded }).await };
        tokio::spawn(told.in_current_span());
    }
}
