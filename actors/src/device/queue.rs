//! The open commands of one device: held by its actor, which asks [`Dispatch`] what to do and does it.

use std::collections::VecDeque;

use chrono::TimeDelta;
use domain::action::ActionKind;
use domain::command::{Channels, CommandState, Dispatch, DispatchAction, DispatchEvent, Path, Report};
use domain::device::LastStatus;
use domain::shard::ShardLease;
use domain::{CommandId, DeviceId, Timestamp};
use link::messages::{PendingCommand, SignedCommand, SocketPush, SocketRef};
use prometheus::IntGauge;
use push::{PushMessage, PushOutcome};
use ractor::ActorRef;
use store::{CommandReport, Reporter};

use super::precondition::Precondition;
use super::{DeviceContext, DeviceMsg, DeviceSupervisor};
use crate::messages::signed_command;

/// Commands whose end is remembered, so that one that was read before is not driven again.
const FINISHED_MAX: usize = 32;
/// Delay before the precondition of a command is checked again; it is checked at each heartbeat as well.
const HELD_FOR: TimeDelta = TimeDelta::seconds(5);
/// Commands in one answer to a heartbeat.
const ANSWERED_MAX: usize = 20;

struct Open {
    command: PendingCommand,
    precondition: Option<Precondition>,
    dispatch: Dispatch,
}

/// The open commands of one device.
#[derive(Default)]
pub(crate) struct CommandQueue {
    /// Counts those of all devices.
    gauge: Option<IntGauge>,
    open: Vec<Open>,
    finished: VecDeque<CommandId>,
    /// The earliest time at which the actor is woken for them.
    watching: Option<Timestamp>,
}

/// State of a device actor that its commands depend on.
pub(crate) struct Driver<'a> {
    pub(crate) me: &'a ActorRef<DeviceMsg>,
    pub(crate) supervisor: &'a dyn DeviceSupervisor,
    pub(crate) device: DeviceId,
    pub(crate) lease: ShardLease,
    pub(crate) key_version: i32,
    pub(crate) socket: Option<SocketRef>,
    pub(crate) fcm_token: Option<&'a str>,
    pub(crate) last: Option<&'a LastStatus>,
    /// Whether nothing is sent, until somebody has decided about an identity conflict.
    pub(crate) held: bool,
    pub(crate) context: &'a DeviceContext,
    pub(crate) now: Timestamp,
}

impl Driver<'_> {
    pub(crate) fn channels(&self) -> Channels {
        Channels { socket: self.socket.is_some(), push: self.fcm_token.is_some_and(|token| self.context.push.reaches(token)) }
    }

    fn signed(&self, command: &PendingCommand) -> SignedCommand {
        signed_command(&self.context.master_key, self.key_version, self.device, command, self.now)
    }

    fn note(&self, id: CommandId, report: Report) {
        let by = Reporter::Owner(self.lease);
        self.context.commands.note(CommandReport { id, by, report, at: self.now });
    }

    /// Sends a command over the socket or to the push service.
    fn give(&self, path: Path, command: &PendingCommand) {
        let mut signed = self.signed(command);
        if !self.context.legacy_push {
            signed.legacy_hmac.clear();
        }
        match (path, self.socket, self.fcm_token) {
            (Path::Socket, Some(socket), _) => self.context.sockets.push(socket, SocketPush::Command(Box::new(signed))),
            (Path::Push, _, Some(token)) => {
                let collapses = ActionKind::parse("action", &command.action).is_ok_and(ActionKind::collapses);
                let message = PushMessage {
                    device_id: self.device,
                    token: token.into(),
                    data: signed.push_data(),
                    ttl_s: (command.expires_at - self.now).num_seconds().clamp(0, i64::from(u32::MAX)) as u32,
                    collapse_key: collapses.then_some("sync"),
                };
                let (me, id, token) = (self.me.clone(), command.id, Box::from(token));
                // A device that stopped in the meantime is looked at by its next owner.
                self.context.push.submit(message, move |outcome| drop(me.cast(DeviceMsg::Pushed(id, token, outcome))));
            }
            _ => {}
        }
    }
}

impl Drop for CommandQueue {
    fn drop(&mut self) {
        self.count(-(self.open.len() as i64));
    }
}

impl CommandQueue {
    pub(crate) fn new(gauge: IntGauge) -> Self {
        Self { gauge: Some(gauge), open: Vec::new(), finished: VecDeque::new(), watching: None }
    }

    fn count(&self, more: i64) {
        if let Some(gauge) = &self.gauge {
            gauge.add(more);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Adds pending commands, except known and finished ones.
    pub(crate) fn add(&mut self, commands: Vec<PendingCommand>) {
        for command in commands {
            if self.finished.contains(&command.id) || self.open.iter().any(|open| open.command.id == command.id) {
                continue;
            }
            let state = if command.delivered { CommandState::Delivered } else { CommandState::Queued };
            self.count(1);
            let precondition = Precondition::of(&command.action, &command.params);
            self.open.push(Open { dispatch: Dispatch::new(state, command.release_at, command.expires_at), precondition, command });
        }
    }

    /// Adds those of these open commands that are neither held nor over. Returns these, and all that were held before.
    pub(crate) fn compare(&mut self, open: Vec<PendingCommand>) -> (Vec<CommandId>, Vec<CommandId>) {
        let held: Vec<CommandId> = self.open.iter().map(|open| open.command.id).collect();
        let lacked: Vec<_> =
            open.into_iter().filter(|command| !held.contains(&command.id) && !self.finished.contains(&command.id)).collect();
        let missing = lacked.iter().map(|command| command.id).collect();
        self.add(lacked);
        (missing, held)
    }

    /// The device has this one.
    pub(crate) fn received(&mut self, id: CommandId) {
        if let Some(open) = self.open.iter_mut().find(|open| open.command.id == id) {
            open.dispatch.delivered = true;
        }
    }

    /// Nothing is left to do for this one.
    pub(crate) fn finish(&mut self, id: CommandId) {
        let before = self.open.len();
        self.open.retain(|open| open.command.id != id);
        self.count(self.open.len() as i64 - before as i64);
        self.finished.push_back(id);
        if self.finished.len() > FINISHED_MAX {
            self.finished.pop_front();
        }
    }

    /// Outcome of a push message.
    pub(crate) fn pushed(&mut self, id: CommandId, outcome: &PushOutcome, driver: &Driver<'_>) {
        let event = match outcome {
            PushOutcome::Accepted => return,
            PushOutcome::RetryAfter(wait) => {
                DispatchEvent::PushDelayed(TimeDelta::from_std(*wait).unwrap_or(TimeDelta::hours(1)).max(TimeDelta::seconds(1)))
            }
            PushOutcome::TokenGone | PushOutcome::Refused(_) | PushOutcome::Off => DispatchEvent::PushRefused,
        };
        self.drive_some(event, driver, |command| command.id == id);
    }

    /// Something happened that may matter to all of them.
    pub(crate) fn drive(&mut self, event: DispatchEvent, driver: &Driver<'_>) {
        self.drive_some(event, driver, |_| true);
    }

    /// Commands for the answer to a heartbeat.
    pub(crate) fn answer(&mut self, driver: &Driver<'_>) -> Vec<SignedCommand> {
        self.drive_some(DispatchEvent::HeartbeatAnswered, driver, |_| true)
    }

    fn drive_some(&mut self, event: DispatchEvent, driver: &Driver<'_>, of: impl Fn(&PendingCommand) -> bool) -> Vec<SignedCommand> {
        let (mut answered, mut expired, mut next) = (Vec::new(), Vec::new(), None::<Timestamp>);
        for open in self.open.iter_mut().filter(|open| of(&open.command)) {
            let event = if answered.len() < ANSWERED_MAX { event } else { DispatchEvent::Reconcile };
            if driver.held && driver.now < open.dispatch.expires_at {
                next = Some(next.map_or(open.dispatch.expires_at, |earliest| earliest.min(open.dispatch.expires_at)));
                continue;
            }
            let on_its_way = open.dispatch.delivered || driver.now >= open.dispatch.expires_at;
            if !on_its_way && open.precondition.as_ref().is_some_and(|precondition| precondition.unmet(driver.last, driver.now).is_some()) {
                let again = driver.now + HELD_FOR;
                next = Some(next.map_or(again, |earliest| earliest.min(again)));
                continue;
            }
            let again = match open.dispatch.decide(event, driver.channels(), &driver.context.dispatch, driver.now) {
                DispatchAction::Send(path, again) => {
                    match path {
                        Path::Heartbeat => answered.push(driver.signed(&open.command)),
                        _ => driver.give(path, &open.command),
                    }
                    driver.note(open.command.id, Report::Sent(path));
                    again
                }
                DispatchAction::WakeAt(again) => again,
                DispatchAction::Expire => {
                    driver.note(open.command.id, Report::Expired);
                    expired.push(open.command.id);
                    continue;
                }
            };
            next = Some(next.map_or(again, |earliest| earliest.min(again)));
        }
        expired.into_iter().for_each(|id| self.finish(id));
        self.watch(next, driver);
        answered
    }

    /// Has the actor woken at that time, unless it is woken before that anyway.
    fn watch(&mut self, at: Option<Timestamp>, driver: &Driver<'_>) {
        let pending = self.watching.filter(|pending| *pending > driver.now);
        let earliest = match (at, pending) {
            (Some(at), Some(pending)) if at < pending => Some(at),
            (Some(at), None) => Some(at),
            _ => None,
        };
        self.watching = earliest.or(pending);
        if let Some(at) = earliest {
            driver.supervisor.watch_until(driver.device, at);
        }
    }
}
