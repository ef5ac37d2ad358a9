//! Dispatch of an open command: the next step of its owner to deliver it.
//!
//! ```text
//! socket --- no receipt, or closed -------> push --- no receipt, refused -> the next heartbeat asks for it
//!    ^                                         |
//!    +------------ a socket opens -------------+
//! ```

use chrono::TimeDelta;

use super::{CommandState, Path};
use crate::Timestamp;

/// Timeouts of the paths of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchPolicy {
    /// Timeout of the receipt over a socket.
    pub socket_wait: TimeDelta,
    /// Timeout of the receipt after a push message was accepted.
    pub push_wait: TimeDelta,
    /// Timeout of the receipt after the answer to a heartbeat.
    pub heartbeat_wait: TimeDelta,
    /// Push messages for one command, at most.
    pub pushes_max: u32,
}

/// Channels to a device, beside its heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Channels {
    /// A socket of the device is open.
    pub socket: bool,
    /// The device has a push token, and push is configured.
    pub push: bool,
}

impl Channels {
    /// First path of a command.
    pub fn best(self) -> Path {
        if self.socket {
            Path::Socket
        } else if self.push {
            Path::Push
        } else {
            Path::Heartbeat
        }
    }
}

/// Dispatch state of an open command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch {
    /// Whether the device has received the command.
    pub delivered: bool,
    /// Earliest time of sending.
    pub release_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Path of the last attempt, and the timeout of its receipt.
    waiting: Option<(Path, Timestamp)>,
    /// Whether the present socket was tried without a receipt.
    socket_tried: bool,
    pushes: u32,
    push_not_before: Option<Timestamp>,
}

/// Event of an open command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchEvent {
    /// The command is new at this owner, or a timer has expired.
    Reconcile,
    /// The device opened a socket.
    SocketOpened,
    /// The device's socket is gone.
    SocketClosed,
    /// The push service refused the message for now; it may be retried after this time.
    PushDelayed(TimeDelta),
    /// The push service refused the message for good.
    PushRefused,
    /// A heartbeat of the device is being answered.
    HeartbeatAnswered,
    /// The device has received the command.
    Received,
}

/// Next step of the owner of an open command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchAction {
    /// Send the command on this path, and decide again at this time.
    Send(Path, Timestamp),
    /// Decide again at this time.
    WakeAt(Timestamp),
    /// The command has expired.
    Expire,
}

impl Dispatch {
    /// Dispatch of a command that its owner loads in this state.
    pub fn new(state: CommandState, release_at: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            delivered: state == CommandState::Delivered,
            release_at,
            expires_at,
            waiting: None,
            socket_tried: false,
            pushes: 0,
            push_not_before: None,
        }
    }

    /// Decides what to do after `event`.
    pub fn decide(&mut self, event: DispatchEvent, channels: Channels, policy: &DispatchPolicy, now: Timestamp) -> DispatchAction {
        match event {
            DispatchEvent::Reconcile | DispatchEvent::HeartbeatAnswered => {}
            DispatchEvent::SocketOpened => {
                self.socket_tried = false;
                self.waiting = self.waiting.filter(|(path, _)| *path != Path::Socket);
            }
            DispatchEvent::SocketClosed => self.waiting = self.waiting.filter(|(path, _)| *path != Path::Socket),
            DispatchEvent::PushDelayed(wait) => {
                self.push_not_before = Some(now + wait.max(TimeDelta::zero()));
                self.pushes = self.pushes.saturating_sub(1);
                self.waiting = self.waiting.filter(|(path, _)| *path != Path::Push);
            }
            DispatchEvent::PushRefused => {
                self.pushes = policy.pushes_max;
                self.waiting = self.waiting.filter(|(path, _)| *path != Path::Push);
            }
            DispatchEvent::Received => self.delivered = true,
        }
        if now >= self.expires_at {
            return DispatchAction::Expire;
        }
        if self.delivered {
            return DispatchAction::WakeAt(self.expires_at);
        }
        if now < self.release_at {
            return self.wake_at(self.release_at);
        }
        match self.waiting {
            // A device that is just being answered need not wait for a push message to arrive.
            Some((Path::Push, _)) if event == DispatchEvent::HeartbeatAnswered => {}
            // Nor for anything slower than a socket that is there from now on.
            Some((Path::Push | Path::Heartbeat, _)) if event == DispatchEvent::SocketOpened && channels.socket => {}
            Some((_, until)) if now < until => return self.wake_at(until),
            Some((Path::Socket, _)) => self.socket_tried = true,
            _ => {}
        }
        self.waiting = None;
        if event == DispatchEvent::HeartbeatAnswered {
            return self.send(Path::Heartbeat, now + policy.heartbeat_wait);
        }
        if channels.socket && !self.socket_tried {
            return self.send(Path::Socket, now + policy.socket_wait);
        }
        if channels.push && self.pushes < policy.pushes_max {
            match self.push_not_before {
                Some(not_before) if now < not_before => return self.wake_at(not_before),
                _ => {
                    self.pushes += 1;
                    return self.send(Path::Push, now + policy.push_wait);
                }
            }
        }
        // The next heartbeat of the device asks for it.
        DispatchAction::WakeAt(self.expires_at)
    }

    fn send(&mut self, path: Path, until: Timestamp) -> DispatchAction {
        self.waiting = Some((path, until));
        DispatchAction::Send(path, until.min(self.expires_at))
    }

    fn wake_at(&self, at: Timestamp) -> DispatchAction {
        DispatchAction::WakeAt(at.min(self.expires_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    const POLICY: DispatchPolicy = DispatchPolicy {
        socket_wait: TimeDelta::seconds(5),
        push_wait: TimeDelta::seconds(30),
        heartbeat_wait: TimeDelta::seconds(60),
        pushes_max: 2,
    };
    const BOTH: Channels = Channels { socket: true, push: true };
    const PUSH: Channels = Channels { socket: false, push: true };
    const NONE: Channels = Channels { socket: false, push: false };

    fn dispatch() -> Dispatch {
        Dispatch::new(CommandState::Queued, at(0), at(600))
    }

    #[test]
    fn paths_are_tried_best_first_and_each_in_vain_only_once() {
        let mut command = dispatch();
        let mut decide = |second, event, channels| command.decide(event, channels, &POLICY, at(second));
        assert_eq!(decide(0, DispatchEvent::Reconcile, BOTH), DispatchAction::Send(Path::Socket, at(5)));
        assert_eq!(decide(3, DispatchEvent::Reconcile, BOTH), DispatchAction::WakeAt(at(5)), "still time to answer");
        assert_eq!(decide(5, DispatchEvent::Reconcile, BOTH), DispatchAction::Send(Path::Push, at(35)));
        assert_eq!(decide(35, DispatchEvent::Reconcile, BOTH), DispatchAction::Send(Path::Push, at(65)));
        assert_eq!(decide(65, DispatchEvent::Reconcile, BOTH), DispatchAction::WakeAt(at(600)), "waits for a heartbeat");
        assert_eq!(decide(70, DispatchEvent::HeartbeatAnswered, BOTH), DispatchAction::Send(Path::Heartbeat, at(130)));
        assert_eq!(decide(71, DispatchEvent::HeartbeatAnswered, BOTH), DispatchAction::WakeAt(at(130)), "not in every answer");
        assert_eq!(decide(72, DispatchEvent::SocketOpened, BOTH), DispatchAction::Send(Path::Socket, at(77)), "a new socket");
        assert_eq!(decide(73, DispatchEvent::Received, BOTH), DispatchAction::WakeAt(at(600)));
        assert_eq!(decide(74, DispatchEvent::HeartbeatAnswered, BOTH), DispatchAction::WakeAt(at(600)), "the device has it");
        assert_eq!(decide(600, DispatchEvent::Reconcile, BOTH), DispatchAction::Expire);
    }

    #[test]
    fn a_lost_socket_is_not_waited_for() {
        let mut command = dispatch();
        command.decide(DispatchEvent::Reconcile, BOTH, &POLICY, at(0));
        assert_eq!(command.decide(DispatchEvent::SocketClosed, PUSH, &POLICY, at(1)), DispatchAction::Send(Path::Push, at(31)));
        assert_eq!(command.decide(DispatchEvent::HeartbeatAnswered, PUSH, &POLICY, at(2)), DispatchAction::Send(Path::Heartbeat, at(62)));
    }

    #[test]
    fn push_that_is_delayed_is_tried_again_then_and_one_that_is_refused_never() {
        let mut command = dispatch();
        command.decide(DispatchEvent::Reconcile, PUSH, &POLICY, at(0));
        let delayed = DispatchEvent::PushDelayed(TimeDelta::seconds(20));
        assert_eq!(command.decide(delayed, PUSH, &POLICY, at(1)), DispatchAction::WakeAt(at(21)));
        assert_eq!(command.decide(DispatchEvent::Reconcile, PUSH, &POLICY, at(21)), DispatchAction::Send(Path::Push, at(51)));
        assert_eq!(command.decide(DispatchEvent::PushRefused, PUSH, &POLICY, at(22)), DispatchAction::WakeAt(at(600)));
        assert_eq!(command.decide(DispatchEvent::Reconcile, NONE, &POLICY, at(23)), DispatchAction::WakeAt(at(600)));
    }

    #[test]
    fn a_command_of_a_batch_waits_for_its_turn() {
        let mut command = Dispatch::new(CommandState::Queued, at(100), at(600));
        assert_eq!(command.decide(DispatchEvent::HeartbeatAnswered, BOTH, &POLICY, at(50)), DispatchAction::WakeAt(at(100)));
        assert_eq!(command.decide(DispatchEvent::Reconcile, BOTH, &POLICY, at(100)), DispatchAction::Send(Path::Socket, at(105)));
    }

    fn any_event() -> impl Strategy<Value = DispatchEvent> {
        prop_oneof![
            Just(DispatchEvent::Reconcile),
            Just(DispatchEvent::SocketOpened),
            Just(DispatchEvent::SocketClosed),
            Just(DispatchEvent::PushDelayed(TimeDelta::seconds(7))),
            Just(DispatchEvent::PushRefused),
            Just(DispatchEvent::HeartbeatAnswered),
            Just(DispatchEvent::Received),
        ]
    }

    /// Nothing is sent before its turn, after its time, or once the device has it; and whatever happens,
    /// it is looked at again, later, and at the latest when its time is over.
    #[test]
    fn sending_keeps_to_its_time() {
        let sent = Cell::new(0);
        let expired = Cell::new(0);
        proptest!(|(release in 0i64..50, lasts in 1i64..100, events in proptest::collection::vec((any_event(), 0i64..40, any::<bool>(), any::<bool>()), 1..30))| {
            let mut command = Dispatch::new(CommandState::Queued, at(release), at(release + lasts));
            let (mut now, mut delivered, mut sockets, mut pushes, mut delays) = (0, false, 0, 0, 0);
            for (event, passed, socket, push) in events {
                now += passed;
                delivered |= event == DispatchEvent::Received;
                if matches!(event, DispatchEvent::SocketOpened | DispatchEvent::SocketClosed) { sockets = 0; }
                delays += u32::from(matches!(event, DispatchEvent::PushDelayed(_)));
                match command.decide(event, Channels { socket, push }, &POLICY, at(now)) {
                    DispatchAction::Send(path, again) => {
                        sent.set(sent.get() + 1);
                        prop_assert!(now >= release && now < release + lasts && !delivered);
                        prop_assert!(again > at(now) && again <= command.expires_at);
                        match path {
                            Path::Socket => { prop_assert!(socket); sockets += 1; }
                            Path::Push => { prop_assert!(push); pushes += 1; }
                            Path::Heartbeat => prop_assert_eq!(event, DispatchEvent::HeartbeatAnswered),
                        }
                    }
                    DispatchAction::WakeAt(again) => prop_assert!(again > at(now) && again <= command.expires_at),
                    DispatchAction::Expire => {
                        expired.set(expired.get() + 1);
                        prop_assert!(now >= release + lasts);
                    }
                }
                prop_assert!(sockets <= 1, "twice to one socket");
                prop_assert!(pushes <= POLICY.pushes_max + delays);
            }
        });
        assert!(sent.get() > 0, "nothing was sent");
        assert!(expired.get() > 0, "nothing expired");
    }
}
