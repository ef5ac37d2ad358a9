//! What a device does with the commands that reach it, whatever way they come:
//! judges them, runs each once, and keeps what it has to say.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rand::RngExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::agent::Command;
use wire::command::ActionResult;

use super::Ending;
use super::agent::Agent;
use super::answers::{Answer, Answers, RECEIVED};
use super::behaviour::Behaviour;
use super::deploy::LastWord;
use super::journal::Remembered;
use crate::agent_command::{self, DeviceKey, Keys, Refusal, Seen, Verdict};
use crate::clock::now;
use crate::identity::Identity;
use crate::model::MONITORED_PACKAGE;
use crate::push::{PushData, command_of};

/// The way a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// A frame of its socket.
    Socket,
    /// The answer to a heartbeat.
    Heartbeat,
    /// A push message.
    Push,
}

impl Path {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Heartbeat => "heartbeat",
            Self::Push => "push",
        }
    }
}

/// What a device knows of commands.
pub(super) struct Commands {
    /// `None` when what it was given as its key is none: it believes nobody then.
    keys: Option<Keys>,
    seen: Seen,
    pub(super) answers: Answers,
    /// Push messages that have arrived.
    pub(super) inbox: Option<mpsc::Receiver<PushData>>,
}

impl Commands {
    pub(super) fn new(
        identity: &Identity,
        remembered: Remembered,
        inbox: Option<mpsc::Receiver<PushData>>,
        next_id: &mut u64,
        starts_at: Instant,
    ) -> Self {
        let next = identity.next_device_key.as_deref().and_then(DeviceKey::from_hex);
        let keys = DeviceKey::from_hex(&identity.device_key).map(|current| Keys { current, next });
        let (mut seen, mut answers) = (Seen::default(), Answers::default());
        let now = now();
        for (request_id, (expires_at, _)) in &remembered.seen {
            // Those beyond the limit were never taken.
            let _ = seen.remember(request_id, *expires_at, now);
        }
        for (result, rotates_to) in remembered.results.into_values() {
            let rotates_to = rotates_to.as_deref().and_then(DeviceKey::from_hex);
            answers.push(Answer { id: *next_id, result, not_before: starts_at, in_flight_since: None, lose: false, rotates_to });
            *next_id += 1;
        }
        Self { keys, seen, answers, inbox }
    }

    fn judge(&mut self, device_id: &str, command: &Command, at: DateTime<Utc>) -> Verdict {
        match &self.keys {
            Some(_) if self.answers.len() >= Answers::LIMIT => Verdict::Refused(Refusal::MemoryFull),
            Some(keys) => agent_command::judge(keys, device_id, command, at, &mut self.seen),
            None => Verdict::Refused(Refusal::BadSignature),
        }
    }

    /// The next push message; never, without a source of them.
    pub(super) async fn pushed(&mut self) -> PushData {
        if let Some(inbox) = &mut self.inbox
            && let Some(data) = inbox.recv().await
        {
            return data;
        }
        self.inbox = None;
        std::future::pending().await
    }
}

/// Parameters of `rotate_key`.
#[derive(Deserialize)]
struct RotateKey {
    device_key: String,
}

/// Parameters of the actions on an app, as far as a simulated device has a use for them.
#[derive(Deserialize)]
struct OfApp {
    package: String,
}

/// How it went.
#[derive(Default)]
struct Outcome {
    outcome: &'static str,
    code: Option<&'static str>,
    rotates_to: Option<DeviceKey>,
}

impl Agent {
    /// A push message has arrived.
    pub(super) fn pushed(&mut self, data: &PushData) {
        self.commanded(&[command_of(data)], Path::Push);
    }

    /// Commands have arrived; with them, if the fleet is told so, what somebody in
    /// between would slip in.
    pub(super) fn commanded(&mut self, commands: &[Command], path: Path) {
        for command in commands {
            let tampered = match &self.fleet.hostile {
                Some(hostile) => hostile.tamper(command, &mut self.rng),
                None => Vec::new(),
            };
            let (before, after) = tampered.split_at(tampered.len() / 2);
            for command in before.iter().chain([command]).chain(after) {
                self.take(command, path);
            }
        }
    }

    fn take(&mut self, command: &Command, path: Path) {
        self.fleet.stats.commands.add(1);
        let behaviour = self.fleet.settings.commands.of(self.fleet.settings.seed, &command.request_id);
        if behaviour == Behaviour::DeafSocket && path == Path::Socket {
            return self.note(Instant::now(), |recorder, exchange| recorder.command(exchange, path.name(), "not_heard", command));
        }
        // The true time, as an agent has it that goes by the `server_time` of answers
        // and not by its own clock.
        let at = now();
        let verdict = self.commands.judge(&self.identity.device_id, command, at);
        self.note(Instant::now(), |recorder, exchange| recorder.command(exchange, path.name(), verdict.name(), command));
        match verdict {
            Verdict::Run => self.obey(command, behaviour),
            // Its answer, if one is owed, is on its way anyhow.
            Verdict::Refused(Refusal::SeenBefore) => self.fleet.stats.duplicate_commands.add(1),
            Verdict::Refused(Refusal::MemoryFull) => self.fleet.stats.error("command_left_for_later"),
            Verdict::Refused(_) => self.fleet.stats.bad_commands.add(1),
        }
    }

    /// Runs a command that may run, once and for all.
    fn obey(&mut self, command: &Command, behaviour: Behaviour) {
        let (device_id, expires_at) = (self.device_id().to_owned(), agent_command::expiry(command).unwrap_or_default());
        // First: should this process be killed now, it is not run again.
        if self.fleet.journal.seen(&device_id, &command.request_id, &command.action, expires_at).is_err() {
            return self.fleet.stats.error("journal_not_written");
        }
        let Outcome { outcome, code, rotates_to } = match behaviour {
            Behaviour::Refuse => Outcome { outcome: "skipped", code: Some("refused"), rotates_to: None },
            _ => {
                self.fleet.stats.commands_executed.add(1);
                self.note(Instant::now(), |recorder, exchange| recorder.executed(exchange, command));
                match behaviour {
                    Behaviour::Fail => Outcome { outcome: "failed", code: Some("simulated"), rotates_to: None },
                    // What takes a while ends with a word of its own.
                    _ if self.begin(command) => return,
                    _ => self.execute(command),
                }
            }
        };
        let at = Instant::now();
        if matches!(behaviour, Behaviour::Late | Behaviour::NeverAnswer) {
            self.say_received(command);
        }
        if behaviour == Behaviour::NeverAnswer {
            return self.journal_done(&command.request_id);
        }
        let result = ActionResult {
            outcome: outcome.into(),
            code: code.map(str::to_owned),
            finished_at: Some(now().to_rfc3339_opts(SecondsFormat::Micros, true)),
            device_id: Some(device_id.clone()),
            ..result_of(command)
        };
        if self.fleet.journal.result(&device_id, &result, rotates_to.as_ref().map(DeviceKey::text)).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
        let not_before = if behaviour == Behaviour::Late { at + self.fleet.settings.answer_late } else { at };
        self.say(result, not_before, behaviour == Behaviour::LoseAnswer, rotates_to);
    }

    /// Says that a command is there, long before its last word.
    pub(super) fn say_received(&mut self, command: &Command) {
        self.say(ActionResult { outcome: RECEIVED.into(), ..result_of(command) }, Instant::now(), false, None);
    }

    /// Says how a command went that took a while: outcome, code and a text for people.
    pub(super) fn conclude(&mut self, command: &Command, (outcome, code, message): LastWord) {
        let result = ActionResult {
            outcome: outcome.into(),
            code: code.map(str::to_owned),
            message: message.map(|text| text.chars().take(1_000).collect()),
            finished_at: Some(now().to_rfc3339_opts(SecondsFormat::Micros, true)),
            device_id: Some(self.device_id().to_owned()),
            ..result_of(command)
        };
        if self.fleet.journal.result(self.device_id(), &result, None).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
        self.say(result, Instant::now(), false, None);
    }

    /// Does what the action says, as far as a simulated device has anything to do.
    fn execute(&mut self, command: &Command) -> Outcome {
        match command.action.as_str() {
            "rotate_key" => return self.rotate_key(&command.params),
            "launch_app" | "restart_app" | "clear_app_data" if !self.has_app(&command.params) => {
                return Outcome { outcome: "failed", code: Some("not_installed"), rotates_to: None };
            }
            "ping" if self.rng.random_bool(self.fleet.settings.ping_heartbeat_share) => self.make_ping_response(&command.request_id),
            _ => {}
        }
        Outcome { outcome: "success", ..Outcome::default() }
    }

    /// Whether the app that the parameters name is on the device; those that are not understood name none.
    fn has_app(&self, params: &str) -> bool {
        let package = serde_json::from_str::<OfApp>(params).map(|params| params.package).unwrap_or_default();
        self.deploys.has(&package) || (package == MONITORED_PACKAGE && self.profile.app.is_some())
    }

    /// Takes the new key beside the old one; the old one goes when the result is acknowledged.
    fn rotate_key(&mut self, params: &str) -> Outcome {
        let key = serde_json::from_str::<RotateKey>(params).ok().and_then(|params| DeviceKey::from_hex(&params.device_key));
        let (Some(key), Some(keys)) = (key, &mut self.commands.keys) else {
            return Outcome { outcome: "failed", code: Some("bad_params"), rotates_to: None };
        };
        keys.next = Some(key.clone());
        let keys = keys.clone();
        self.keep_keys(&keys);
        Outcome { outcome: "success", code: None, rotates_to: Some(key) }
    }

    fn keep_keys(&self, keys: &Keys) {
        if self.fleet.journal.keys(self.device_id(), keys, now()).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
    }

    fn say(&mut self, result: ActionResult, not_before: Instant, lose: bool, rotates_to: Option<DeviceKey>) {
        let id = self.take_id();
        self.commands.answers.push(Answer { id, result, not_before, in_flight_since: None, lose, rotates_to });
    }

    pub(super) fn journal_done(&self, request_id: &str) {
        if self.fleet.journal.done(self.device_id(), request_id).is_err() {
            self.fleet.stats.error("journal_not_written");
        }
    }

    /// The server has acknowledged an answer; false when this id is none of an answer.
    pub(super) fn answer_acknowledged(&mut self, id: u64, sent: Instant) -> bool {
        let Some(answer) = self.commands.answers.take(id) else { return false };
        self.note(answer.in_flight_since.unwrap_or(sent), |recorder, exchange| recorder.result(exchange, &answer.result, Some(200), None));
        self.answered_well();
        self.fleet.stats.results_acknowledged.add(u64::from(answer.is_final()));
        if let Some((key, keys)) = answer.rotates_to.zip(self.commands.keys.as_mut()) {
            keys.change_over(key);
            let keys = keys.clone();
            self.keep_keys(&keys);
        }
        if answer.result.outcome != RECEIVED {
            self.journal_done(&answer.result.request_id);
        }
        true
    }

    /// An answer was not taken: for now, or for good; `None` when this id is none of an answer.
    pub(super) fn answer_refused(
        &mut self,
        id: u64,
        status: u16,
        retry_after: Option<Duration>,
        sent: Instant,
    ) -> Option<Result<(), Ending>> {
        let answer = self.commands.answers.get(id)?.clone();
        let sent = answer.in_flight_since.unwrap_or(sent);
        self.note(sent, |recorder, exchange| recorder.result(exchange, &answer.result, Some(status), None));
        self.fleet.stats.error(&format!("result_{status}"));
        self.commands.answers.land(Some(id));
        match status {
            401 => return Some(self.unauthorized()),
            408 | 425 | 429 | 500..=599 => self.block(retry_after),
            _ => {
                self.commands.answers.take(id);
                if answer.is_final() {
                    self.fleet.stats.results_refused.add(1);
                    self.journal_done(&answer.result.request_id);
                }
            }
        }
        Some(Ok(()))
    }

    /// The acknowledgement of an answer is never read: it goes out again after a while.
    pub(super) fn answer_lost(&mut self, id: u64, sent: Instant) {
        let Some(answer) = self.commands.answers.get(id).cloned() else { return };
        self.fleet.stats.answers_lost.add(1);
        self.note(sent, |recorder, exchange| recorder.result(exchange, &answer.result, None, Some("answer_lost")));
        self.commands.answers.lose(id, Instant::now() + self.fleet.settings.retry_min);
    }

    /// Counts answers that are put on the wire now.
    pub(super) fn answering(&self) {
        self.fleet.stats.results_sent.add(1);
    }
}

/// What every word about a command has in common.
fn result_of(command: &Command) -> ActionResult {
    ActionResult { request_id: command.request_id.clone(), action: Some(command.action.clone()), ..ActionResult::default() }
}
