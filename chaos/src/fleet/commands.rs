//! Handling of commands on a device, whatever path they take: each is verified, run once, and its results are queued.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rand::RngExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::agent::Command;
use wire::command::ActionResult;

use super::EndReason;
use super::agent::Agent;
use super::behaviour::Behaviour;
use super::installations::FinalResult;
use super::journal::RestoredCommands;
use super::results::{PendingResult, RECEIVED, ResultQueue};
use crate::agent_command::{self, DeviceKey, Keys, Refusal, Seen, Verdict};
use crate::clock::now;
use crate::identity::Identity;
use crate::model::{self, MONITORED_PACKAGE};
use crate::push::{PushData, command_of};

/// Path by which a command arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Path {
    /// A socket frame.
    Socket,
    /// The response to a heartbeat.
    Heartbeat,
    /// A push message.
    Push,
}

impl Path {
    /// Name in the record.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }
}

/// Command state of a device.
pub(super) struct Commands {
    /// `None` when the device key is invalid; every command is then refused.
    keys: Option<Keys>,
    seen: Seen,
    pub(super) results: ResultQueue,
    /// Incoming push messages.
    pub(super) push_messages: Option<mpsc::Receiver<PushData>>,
}

impl Commands {
    pub(super) fn new(
        identity: &Identity,
        restored: RestoredCommands,
        push_messages: Option<mpsc::Receiver<PushData>>,
        next_id: &mut u64,
        starts_at: Instant,
    ) -> Self {
        let next = identity.next_device_key.as_deref().and_then(DeviceKey::from_hex);
        let keys = DeviceKey::from_hex(&identity.device_key).map(|current| Keys { current, next });
        let (mut seen, mut results) = (Seen::default(), ResultQueue::default());
        let now = now();
        for (request_id, (expires_at, _)) in &restored.seen {
            // Commands beyond the limit were never taken.
            let _ = seen.remember(request_id, *expires_at, now);
        }
        for (result, rotates_to) in restored.results.into_values() {
            let rotates_to = rotates_to.as_deref().and_then(DeviceKey::from_hex);
            results.push(PendingResult { id: *next_id, result, not_before: starts_at, in_flight_since: None, lose: false, rotates_to });
            *next_id += 1;
        }
        Self { keys, seen, results, push_messages }
    }

    fn judge(&mut self, device_id: &str, command: &Command, at: DateTime<Utc>) -> Verdict {
        match &self.keys {
            Some(_) if self.results.len() >= ResultQueue::LIMIT => Verdict::Refused(Refusal::MemoryFull),
            Some(keys) => agent_command::judge(keys, device_id, command, at, &mut self.seen),
            None => Verdict::Refused(Refusal::BadSignature),
        }
    }

    /// The next push message; pends forever without a push source.
    pub(super) async fn pushed(&mut self) -> PushData {
        if let Some(push_messages) = &mut self.push_messages
            && let Some(data) = push_messages.recv().await
        {
            return data;
        }
        self.push_messages = None;
        std::future::pending().await
    }
}

/// Parameters of `rotate_key`.
#[derive(Deserialize)]
struct RotateKeyParams {
    device_key: String,
}

/// Parameters of the actions on an app that a simulated device uses.
#[derive(Deserialize)]
struct AppParams {
    package: String,
}

/// Outcome of an execution.
#[derive(Default)]
struct Outcome {
    outcome: &'static str,
    code: Option<&'static str>,
    rotates_to: Option<DeviceKey>,
}

impl Agent {
    /// Handles a push message.
    pub(super) fn pushed(&mut self, data: &PushData) {
        self.receive_commands(&[command_of(data)], Path::Push);
    }

    /// Handles commands, with the forged ones that a hostile intermediary adds if one is configured.
    pub(super) fn receive_commands(&mut self, commands: &[Command], path: Path) {
        for command in commands {
            let tampered = match &self.fleet.hostile {
                Some(hostile) => hostile.tamper(command, &mut self.rng),
                None => Vec::new(),
            };
            let (before, after) = tampered.split_at(tampered.len() / 2);
            for command in before.iter().chain([command]).chain(after) {
                self.receive_command(command, path);
            }
        }
    }

    fn receive_command(&mut self, command: &Command, path: Path) {
        self.fleet.stats.commands.add(1);
        let behaviour = self.fleet.settings.commands.of(self.fleet.settings.seed, &command.request_id);
        if behaviour == Behaviour::DeafSocket && path == Path::Socket {
            return self.record(Instant::now(), |recorder, exchange| recorder.command(exchange, path.name(), "not_heard", command));
        }
        // The true time, since an agent goes by the `server_time` of responses and not by its own clock.
        let at = now();
        let verdict = self.commands.judge(&self.identity.device_id, command, at);
        self.record(Instant::now(), |recorder, exchange| recorder.command(exchange, path.name(), verdict.name(), command));
        match verdict {
            Verdict::Run => self.run_command(command, behaviour),
            // Its result, if still unacknowledged, is queued already.
            Verdict::Refused(Refusal::SeenBefore) => self.fleet.stats.duplicate_commands.add(1),
            Verdict::Refused(Refusal::MemoryFull) => self.fleet.stats.error("command_left_for_later"),
            Verdict::Refused(_) => self.fleet.stats.bad_commands.add(1),
        }
    }

    /// Runs a verified command.
    fn run_command(&mut self, command: &Command, behaviour: Behaviour) {
        let (device_id, expires_at) = (self.device_id().to_owned(), agent_command::expiry(command).unwrap_or_default());
        // Written before the run, so that a killed process does not run it again.
        if self.fleet.journal.seen(&device_id, &command.request_id, &command.action, expires_at).is_err() {
            return self.fleet.stats.error("journal_not_written");
        }
        let Outcome { outcome, code, rotates_to } = match behaviour {
            Behaviour::Refuse => Outcome { outcome: "skipped", code: Some("refused"), rotates_to: None },
            _ => {
                self.fleet.stats.commands_executed.add(1);
                self.record(Instant::now(), |recorder, exchange| recorder.executed(exchange, command));
                match behaviour {
                    Behaviour::Fail => Outcome { outcome: "failed", code: Some("simulated"), rotates_to: None },
                    // A long-running command queues its own final result.
                    _ if self.begin(command) => return,
                    _ => self.execute(command),
                }
            }
        };
        let at = Instant::now();
        if matches!(behaviour, Behaviour::Late | Behaviour::NeverAnswer) {
            self.queue_received(command);
        }
        if behaviour == Behaviour::NeverAnswer {
            return self.journal_done(&command.request_id);
        }
        let result = ActionResult {
            outcome: outcome.into(),
            code: code.map(str::to_owned),
            finished_at: Some(now().to_rfc3339_opts(SecondsFormat::Micros, true)),
            device_id: Some(device_id.clone()),
            ..result_base(command)
        };
        if self.fleet.journal.result(&device_id, &result, rotates_to.as_ref().map(DeviceKey::text)).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
        let not_before = if behaviour == Behaviour::Late { at + self.fleet.settings.answer_late } else { at };
        self.queue_result(result, not_before, behaviour == Behaviour::LoseAnswer, rotates_to);
    }

    /// Queues the result `received`.
    pub(super) fn queue_received(&mut self, command: &Command) {
        self.queue_result(ActionResult { outcome: RECEIVED.into(), ..result_base(command) }, Instant::now(), false, None);
    }

    /// Queues the final result of a long-running command: outcome, code and message.
    pub(super) fn queue_final_result(&mut self, command: &Command, (outcome, code, message): FinalResult) {
        let result = ActionResult {
            outcome: outcome.into(),
            code: code.map(str::to_owned),
            message: message.map(|text| text.chars().take(1_000).collect()),
            finished_at: Some(now().to_rfc3339_opts(SecondsFormat::Micros, true)),
            device_id: Some(self.device_id().to_owned()),
            ..result_base(command)
        };
        if self.fleet.journal.result(self.device_id(), &result, None).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
        self.queue_result(result, Instant::now(), false, None);
    }

    /// Executes the action, as far as it has an effect on a simulated device.
    fn execute(&mut self, command: &Command) -> Outcome {
        match command.action.as_str() {
            "rotate_key" => return self.rotate_key(&command.params),
            "launch_app" | "restart_app" | "clear_app_data" if !self.has_app(&command.params) => {
                return Outcome { outcome: "failed", code: Some("not_installed"), rotates_to: None };
            }
            "launch_app" | "restart_app" => model::launch_app(&mut self.state),
            "ping" if self.rng.random_bool(self.fleet.settings.ping_heartbeat_share) => self.create_ping_response(&command.request_id),
            _ => {}
        }
        Outcome { outcome: "success", ..Outcome::default() }
    }

    /// Whether the app that the parameters name is installed; false for invalid parameters.
    fn has_app(&self, params: &str) -> bool {
        let package = serde_json::from_str::<AppParams>(params).map(|params| params.package).unwrap_or_default();
        self.installations.has(&package) || (package == MONITORED_PACKAGE && self.profile.app.is_some())
    }

    /// Accepts the new key beside the old one, which is dropped when the result is acknowledged.
    fn rotate_key(&mut self, params: &str) -> Outcome {
        let key = serde_json::from_str::<RotateKeyParams>(params).ok().and_then(|params| DeviceKey::from_hex(&params.device_key));
        let (Some(key), Some(keys)) = (key, &mut self.commands.keys) else {
            return Outcome { outcome: "failed", code: Some("bad_params"), rotates_to: None };
        };
        keys.next = Some(key.clone());
        let keys = keys.clone();
        self.store_keys(&keys);
        Outcome { outcome: "success", code: None, rotates_to: Some(key) }
    }

    fn store_keys(&self, keys: &Keys) {
        if self.fleet.journal.keys(self.device_id(), keys, now()).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
    }

    fn queue_result(&mut self, result: ActionResult, not_before: Instant, lose: bool, rotates_to: Option<DeviceKey>) {
        let id = self.take_id();
        self.commands.results.push(PendingResult { id, result, not_before, in_flight_since: None, lose, rotates_to });
    }

    pub(super) fn journal_done(&self, request_id: &str) {
        if self.fleet.journal.done(self.device_id(), request_id).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
    }

    /// Handles the acknowledgement of a result; false when the id does not belong to one.
    pub(super) fn result_acknowledged(&mut self, id: u64, sent: Instant) -> bool {
        let Some(pending) = self.commands.results.take(id) else { return false };
        self.record(pending.in_flight_since.unwrap_or(sent), |recorder, exchange| {
            recorder.result(exchange, &pending.result, Some(200), None)
        });
        self.reset_failures();
        self.fleet.stats.results_acknowledged.add(u64::from(pending.is_final()));
        if let Some((key, keys)) = pending.rotates_to.zip(self.commands.keys.as_mut()) {
            keys.change_over(key);
            let keys = keys.clone();
            self.store_keys(&keys);
        }
        if pending.result.outcome != RECEIVED {
            self.journal_done(&pending.result.request_id);
        }
        true
    }

    /// Handles the refusal of a result, temporary or final; `None` when the id does not belong to one.
    pub(super) fn result_refused(
        &mut self,
        id: u64,
        status: u16,
        retry_after: Option<Duration>,
        sent: Instant,
    ) -> Option<Result<(), EndReason>> {
        let pending = self.commands.results.get(id)?.clone();
        let sent = pending.in_flight_since.unwrap_or(sent);
        self.record(sent, |recorder, exchange| recorder.result(exchange, &pending.result, Some(status), None));
        self.fleet.stats.error(&format!("result_{status}"));
        self.commands.results.requeue(Some(id));
        match status {
            401 => return Some(self.unauthorized()),
            408 | 425 | 429 | 500..=599 => self.back_off(retry_after),
            _ => {
                self.commands.results.take(id);
                if pending.is_final() {
                    self.fleet.stats.results_refused.add(1);
                    self.journal_done(&pending.result.request_id);
                }
            }
        }
        Some(Ok(()))
    }

    /// Requeues a result whose acknowledgement is lost on purpose.
    pub(super) fn result_ack_lost(&mut self, id: u64, sent: Instant) {
        let Some(pending) = self.commands.results.get(id).cloned() else { return };
        self.fleet.stats.answers_lost.add(1);
        self.record(sent, |recorder, exchange| recorder.result(exchange, &pending.result, None, Some("answer_lost")));
        self.commands.results.requeue_later(id, Instant::now() + self.fleet.settings.retry_min);
    }

    /// Counts a result that is sent.
    pub(super) fn count_result_sent(&self) {
        self.fleet.stats.results_sent.add(1);
    }
}

/// Fields that every result of a command has in common.
fn result_base(command: &Command) -> ActionResult {
    ActionResult { request_id: command.request_id.clone(), action: Some(command.action.clone()), ..ActionResult::default() }
}
