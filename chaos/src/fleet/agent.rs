//! One device: when its heartbeats are due, what waits on it, and what it makes
//! of the server's answers. How they travel is in `over_http` and `over_socket`.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::commands::Commands;
use super::deploy::{DeployProfile, Deploys, Packages};
use super::journal::Remembered;
use super::queue::{Entry, Kind, Queue};
use super::record::{Exchange, Recorder};
use super::{Ending, Fleet};
use crate::backoff::Backoff;
use crate::clock::now;
use crate::duration::Interval;
use crate::http::Http;
use crate::identity::{Granted, Identity, Trouble, ask_for_session};
use crate::model::{self, Profile, State, Transport};
use crate::push::push_token;

/// Used until the server has said how often to come.
const UNTOLD_INTERVAL: Duration = Duration::from_secs(300);
/// This many 401 in a row make a device forget who it is.
const REFUSALS_LIMIT: u32 = 5;

/// A simulated device.
pub(super) struct Agent {
    pub(super) fleet: Arc<Fleet>,
    pub(super) queue: Queue,
    pub(super) identity: Identity,
    pub(super) profile: Profile,
    pub(super) state: State,
    pub(super) rng: SmallRng,
    pub(super) commands: Commands,
    pub(super) deploys: Deploys,
    /// Which of the servers it talks to next.
    server: usize,
    /// Which one its open socket leads to.
    pub(super) linked_to: Option<usize>,
    session: Option<Granted>,
    /// 401 in a row.
    refusals: u32,
    next_id: u64,
    next_due: Instant,
    interval: Duration,
    stepped_at: Instant,
    backoff: Backoff,
    blocked_until: Option<Instant>,
    /// Acknowledged, to be repeated after the next heartbeat.
    late_repeat: Option<Entry>,
    /// Heartbeats to send one by one because a list of them was refused.
    pub(super) alone: usize,
    /// To be told with the next heartbeat.
    new_push_token: Option<String>,
}

impl Agent {
    /// A device that wakes up at `starts_at`.
    pub(super) fn new(
        fleet: Arc<Fleet>,
        index: usize,
        identity: Identity,
        session: Option<Granted>,
        starts_at: Instant,
        remembered: Remembered,
        installed: Packages,
    ) -> Self {
        let settings = &fleet.settings;
        let (profile, mut rng) = crate::identity::profile_of(settings.seed, identity.number, settings.clock_off_share);
        let state = State::draw(&profile, &mut rng);
        let (next_due, interval) = match settings.interval {
            Interval::Server => (starts_at, UNTOLD_INTERVAL),
            Interval::Every(every) => {
                (first_due(starts_at, fleet.clock.wall_at(starts_at).timestamp_micros(), identity.number, every), every)
            }
        };
        let next_update = settings
            .deploy
            .update_interval
            .map(|every| first_due(starts_at, fleet.clock.wall_at(starts_at).timestamp_micros(), identity.number, every));
        let mut next_id = 1;
        let inbox = fleet.push.as_ref().map(|push| push.subscribe(&push_token(&identity.alias)));
        Self {
            commands: Commands::new(&identity, remembered, inbox, &mut next_id, starts_at),
            deploys: Deploys::new(installed, next_update),
            new_push_token: settings.push.then(|| push_token(&identity.alias)),
            queue: Queue::new(settings.queue_limit),
            server: index % fleet.servers.len(),
            linked_to: None,
            backoff: Backoff::new(settings.retry_min, settings.retry_max),
            identity,
            profile,
            state,
            rng,
            session,
            refusals: 0,
            next_id,
            next_due,
            interval,
            stepped_at: starts_at,
            blocked_until: None,
            late_repeat: None,
            alone: 0,
            fleet,
        }
    }

    pub(super) fn device_id(&self) -> &str {
        &self.identity.device_id
    }

    pub(super) fn http(&self) -> Arc<Http> {
        Arc::clone(&self.fleet.servers[self.server])
    }

    /// A token for a call beside the device's own: its session's while it is good.
    pub(super) fn bearer(&self) -> String {
        let session = self.session.as_ref().filter(|granted| granted.is_good_at(now()));
        session.map_or_else(|| self.identity.device_token.clone(), |granted| granted.token.clone())
    }

    pub(super) fn take_session(&mut self) -> Option<Granted> {
        self.session.take()
    }

    /// Whether the simulated device has a network at all.
    pub(super) fn is_connected(&self) -> bool {
        self.state.transport != Transport::None
    }

    /// Whether the device may talk to the server now.
    pub(super) fn may_talk(&self, at: Instant) -> bool {
        self.is_connected() && self.blocked_until.is_none_or(|until| until <= at)
    }

    /// When there is something to do next; `talk` is whether there is something
    /// to tell the server as soon as that is allowed.
    pub(super) fn wakes_at(&self, at: Instant, talk: bool) -> Instant {
        if !self.is_connected() {
            return self.next_due;
        }
        let allowed_at = self.blocked_until.unwrap_or(at);
        let answers_at = self.commands.answers.wakes_at().map(|at| at.max(allowed_at));
        let talks_at = talk.then_some(allowed_at);
        let reports_at = self.deploys.reports.ready().then_some(allowed_at);
        [answers_at, talks_at, self.deploys.wakes_at(), reports_at].into_iter().flatten().fold(self.next_due, Instant::min)
    }

    /// Makes the heartbeats whose time has come.
    pub(super) fn make_due(&mut self, at: Instant) {
        if self.is_connected() {
            self.update_due(at);
        }
        while self.next_due <= at {
            let due = self.next_due;
            self.next_due = due + self.interval;
            self.make(due);
        }
    }

    fn make(&mut self, due: Instant) {
        let settings = &self.fleet.settings;
        let dt_s = due.saturating_duration_since(self.stepped_at).as_secs_f64() * settings.model_speed;
        self.stepped_at = due;
        self.state = model::step(&self.profile, &self.state, dt_s, &settings.rates, &mut self.rng);
        if settings.deploy.deploy_profile == DeployProfile::Instant {
            // A call would hold the device back for minutes, and with it whoever measures how long all of them take.
            self.state.in_call = false;
        }
        if let Some(mb) = settings.deploy.storage_free_mb {
            self.state.storage_free_mb = f64::from(mb);
        }
        let device_time = self.fleet.clock.wall_at(due) + TimeDelta::seconds(self.profile.clock_offset_s);
        let mut heartbeat = self.heartbeat(device_time);
        heartbeat.fcm_token = self.new_push_token.take();
        // Without a socket only: one that is open is not left for nothing.
        let roam_share = settings.roam_share;
        if self.linked_to.is_none() && roam_share > 0.0 && self.rng.random_bool(roam_share) {
            self.change_server();
        }
        // A heartbeat is text, numbers and maps with text keys: it always serialises.
        let Ok(body) = serde_json::to_string(&heartbeat) else { return };
        let kind = if self.is_connected() { Kind::Fresh } else { Kind::Held };
        self.push(Entry { id: 0, kind, intended: due, device_time, body: body.into(), in_flight_since: None });
        if self.is_connected()
            && let Some(repeat) = self.late_repeat.take()
        {
            self.push(repeat);
        }
    }

    /// A heartbeat out of turn that answers a ping; its latency says nothing about turns.
    pub(super) fn make_ping_response(&mut self, request_id: &str) {
        let at = Instant::now();
        let device_time = self.fleet.clock.wall_at(at) + TimeDelta::seconds(self.profile.clock_offset_s);
        let mut heartbeat = self.heartbeat(device_time);
        (heartbeat.is_ping_response, heartbeat.ping_request_id) = (Some(true), Some(request_id.to_owned()));
        let Ok(body) = serde_json::to_string(&heartbeat) else { return };
        self.push(Entry { id: 0, kind: Kind::Held, intended: at, device_time, body: body.into(), in_flight_since: None });
    }

    /// An id that no heartbeat and no answer of this device has.
    pub(super) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn push(&mut self, mut entry: Entry) {
        entry.id = self.take_id();
        if self.queue.push(entry).is_some_and(|dropped| dropped.kind != Kind::Repeat) {
            self.fleet.stats.dropped_on_device.add(1);
        }
    }

    /// Counts heartbeats that are put on the wire now.
    pub(super) fn sending<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>, at: Instant) {
        for entry in entries {
            self.fleet.stats.sent.add(1);
            if entry.kind == Kind::Fresh && entry.intended >= self.fleet.measured_from {
                self.fleet.stats.send_lag(at.saturating_duration_since(entry.intended));
            }
        }
    }

    /// The server has acknowledged a heartbeat that was sent at `sent`; `decided_by`
    /// is what the answer said about the owner.
    pub(super) fn acknowledged(&mut self, id: u64, sent: Instant, decided_by: Option<&str>) {
        self.answered_well();
        let Some(entry) = self.queue.take(id) else { return };
        let at = Instant::now();
        let repeat = entry.kind == Kind::Repeat;
        let stats = &self.fleet.stats;
        if repeat { &stats.repeats_acknowledged } else { &stats.acknowledged }.add(1);
        if !repeat && at >= self.fleet.measured_from {
            stats.acknowledged_in_time();
        }
        if entry.kind == Kind::Fresh && entry.intended >= self.fleet.measured_from {
            stats.latency(at.saturating_duration_since(entry.intended));
        }
        self.note(sent, |recorder, exchange| recorder.acknowledged(exchange, entry.device_time, repeat, decided_by));
        if !repeat {
            self.perhaps_repeat(entry);
        }
    }

    /// The server has answered well: trouble is over.
    pub(super) fn answered_well(&mut self) {
        self.refusals = 0;
        self.backoff.reset();
    }

    /// A try that was sent at `sent` came to nothing.
    pub(super) fn note_failure(&self, sent: Instant, status: Option<u16>, kind: &str) {
        self.fleet.stats.error(kind);
        self.note(sent, |recorder, exchange| recorder.failed(exchange, status, kind));
    }

    /// Writes to the record, if there is one.
    pub(super) fn note(&self, sent: Instant, write: impl FnOnce(&Recorder, Exchange<'_>) -> anyhow::Result<()>) {
        let Some(recorder) = &self.fleet.recorder else { return };
        // The wall clock first: a request is then never noted as sent later than it was.
        let answered_at = now();
        let took = TimeDelta::from_std(sent.elapsed()).unwrap_or(TimeDelta::zero());
        let server = &self.fleet.server_names[self.linked_to.unwrap_or(self.server)];
        let exchange = Exchange { device_id: &self.identity.device_id, server, sent_at: answered_at - took, answered_at };
        if write(recorder, exchange).is_err() {
            self.fleet.stats.error("record_not_written");
        }
    }

    fn perhaps_repeat(&mut self, entry: Entry) {
        let settings = &self.fleet.settings;
        let now_again = self.rng.random_bool(settings.duplicate_share);
        let later = self.rng.random_bool(settings.late_share);
        let repeat = Entry { kind: Kind::Repeat, in_flight_since: None, ..entry };
        if now_again {
            self.push(repeat);
        } else if later {
            self.late_repeat = Some(repeat);
        }
    }

    /// The server has said when it wants the next heartbeat.
    pub(super) fn told(&mut self, next_heartbeat_seconds: u32) {
        if self.fleet.settings.interval == Interval::Server {
            self.interval = Duration::from_secs(u64::from(next_heartbeat_seconds.clamp(1, 86_400)));
            self.next_due = Instant::now() + self.interval;
        }
    }

    /// The server will never take this heartbeat.
    pub(super) fn give_up(&mut self, id: u64) {
        if self.queue.take(id).is_some_and(|entry| entry.kind != Kind::Repeat) {
            self.fleet.stats.dropped_on_device.add(1);
        }
    }

    /// Stays away for a while after a failure.
    pub(super) fn block(&mut self, retry_after: Option<Duration>) {
        self.blocked_until = Some(Instant::now() + self.backoff.next(retry_after, &mut self.rng));
    }

    /// Stays away for exactly this long.
    pub(super) fn block_for(&mut self, wait: Duration) {
        self.blocked_until = Some(Instant::now() + wait);
    }

    /// A socket to its server is open.
    pub(super) fn linked(&mut self) {
        self.linked_to = Some(self.server);
    }

    /// Tries another node next time.
    pub(super) fn change_server(&mut self) {
        self.server = (self.server + 1) % self.fleet.servers.len();
    }

    /// Counts a failure and does what the agent's rules say: 401 may be an old
    /// session, 410 is the end, all else waits.
    pub(super) fn failed(&mut self, trouble: &Trouble, sent: Instant) -> Result<(), Ending> {
        self.note_failure(sent, trouble.status(), &trouble.kind());
        match trouble.status() {
            Some(401) => return self.unauthorized(),
            Some(410) => return Err(Ending::Deleted),
            Some(429 | 503) => {}
            _ => self.change_server(),
        }
        self.block(trouble.retry_after());
        Ok(())
    }

    /// One new session is tried at once; from the second 401 on it waits, and
    /// after the fifth it forgets who it is.
    pub(super) fn unauthorized(&mut self) -> Result<(), Ending> {
        self.session = None;
        self.refusals += 1;
        if self.refusals >= REFUSALS_LIMIT {
            return Err(Ending::Forgotten);
        }
        if self.refusals > 1 {
            self.block(None);
        }
        Ok(())
    }

    /// A good session token, asked for if need be; `None` when there is none now.
    pub(super) async fn session_token(&mut self) -> Result<Option<String>, Ending> {
        if let Some(granted) = self.session.as_ref().filter(|granted| granted.is_good_at(now())) {
            return Ok(Some(granted.token.clone()));
        }
        let sent = Instant::now();
        match Box::pin(ask_for_session(&self.http(), &self.identity.device_token, now())).await {
            Ok(granted) => {
                let token = granted.token.clone();
                self.session = Some(granted);
                Ok(Some(token))
            }
            Err(trouble) => {
                self.failed(&trouble, sent)?;
                if self.blocked_until.is_none_or(|until| until <= Instant::now()) {
                    self.block(None); // the session itself was refused: asking again at once is pointless
                }
                Ok(None)
            }
        }
    }
}

/// The first moment from `starts_at` on that is the device's own: the same part
/// of every interval by the wall clock, spread evenly over the fleet, so that a
/// restart keeps everybody's turn.
fn first_due(starts_at: Instant, starts_at_wall_us: i64, number: u64, every: Duration) -> Instant {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let every_us = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    let phase_us = ((number as f64 * GOLDEN).fract() * every_us as f64) as i64;
    let wait_us = (phase_us - starts_at_wall_us).rem_euclid(every_us);
    starts_at + Duration::from_micros(wait_us.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_its_turn_over_restarts() {
        let starts_at = Instant::now();
        let every = Duration::from_secs(10);
        let turn = |wall_us: i64, number| {
            (wall_us + first_due(starts_at, wall_us, number, every).duration_since(starts_at).as_micros() as i64) % 10_000_000
        };
        for number in 0..100 {
            assert_eq!(turn(1_795_275_377_123_456, number), turn(1_795_279_999_999_999, number));
        }
    }

    #[test]
    fn turns_are_spread_evenly() {
        let starts_at = Instant::now();
        let every = Duration::from_secs(10);
        let mut seconds = [0_u32; 10];
        for number in 0..2_000 {
            let wait = first_due(starts_at, 1_795_275_377_000_000, number, every) - starts_at;
            seconds[wait.as_secs() as usize] += 1;
        }
        assert!(seconds.iter().all(|n| (190..=210).contains(n)), "{seconds:?}");
    }
}
