//! State of a simulated device: heartbeat schedule, queues, and reactions to responses of the server. The transports are
//! in `over_http` and `over_socket`.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::commands::Commands;
use super::installations::{DeployProfile, Installations, Packages};
use super::journal::RestoredCommands;
use super::queue::{Entry, Kind, Queue};
use super::record::{Exchange, Recorder};
use super::{EndReason, Fleet};
use crate::backoff::Backoff;
use crate::clock::now;
use crate::duration::Interval;
use crate::http::Http;
use crate::identity::{Identity, RequestFailure, SessionToken, request_session};
use crate::model::{self, Profile, State, Transport};
use crate::push::push_token;

/// Heartbeat interval until the server has set one.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);
/// Consecutive 401 responses after which a device drops its identity.
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
    pub(super) installations: Installations,
    /// Index of the server for the next request.
    server: usize,
    /// Index of the server that the open socket is connected to.
    pub(super) socket_server: Option<usize>,
    session: Option<SessionToken>,
    /// Consecutive 401 responses.
    refusals: u32,
    next_id: u64,
    next_due: Instant,
    interval: Duration,
    stepped_at: Instant,
    backoff: Backoff,
    blocked_until: Option<Instant>,
    /// Acknowledged heartbeat that is repeated after the next one.
    late_repeat: Option<Entry>,
    /// Number of heartbeats to send one by one, after a list of them was refused.
    pub(super) single_sends: usize,
    /// Whether every other heartbeat is that of a clone.
    cloned: bool,
    /// Push token to report with the next heartbeat.
    new_push_token: Option<String>,
}

impl Agent {
    /// A device whose first heartbeat is due from `starts_at` on.
    pub(super) fn new(
        fleet: Arc<Fleet>,
        index: usize,
        identity: Identity,
        session: Option<SessionToken>,
        starts_at: Instant,
        restored: RestoredCommands,
        installed: Packages,
    ) -> Self {
        let settings = &fleet.settings;
        let (profile, mut rng) = crate::identity::profile_of(settings.seed, identity.number, settings.clock_off_share);
        let state = State::draw(&profile, &mut rng);
        let cloned = settings.clone_share > 0.0 && rng.random_bool(settings.clone_share);
        let (next_due, interval) = match settings.interval {
            Interval::Server => (starts_at, DEFAULT_INTERVAL),
            Interval::Every(every) => {
                (first_due(starts_at, fleet.clock.wall_at(starts_at).timestamp_micros(), identity.number, every), every)
            }
        };
        let next_update = settings
            .deploy
            .update_interval
            .map(|every| first_due(starts_at, fleet.clock.wall_at(starts_at).timestamp_micros(), identity.number, every));
        let mut next_id = 1;
        let push_messages = fleet.push.as_ref().map(|push| push.subscribe(&push_token(&identity.alias)));
        Self {
            commands: Commands::new(&identity, restored, push_messages, &mut next_id, starts_at),
            installations: Installations::new(installed, next_update),
            new_push_token: settings.push.then(|| push_token(&identity.alias)),
            queue: Queue::new(settings.queue_limit),
            server: index % fleet.servers.len(),
            socket_server: None,
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
            single_sends: 0,
            cloned,
            fleet,
        }
    }

    pub(super) fn device_id(&self) -> &str {
        &self.identity.device_id
    }

    pub(super) fn http(&self) -> Arc<Http> {
        Arc::clone(&self.fleet.servers[self.server])
    }

    /// Bearer token: the session token while it is valid, else the device token.
    pub(super) fn bearer(&self) -> String {
        let session = self.session.as_ref().filter(|session| session.is_good_at(now()));
        session.map_or_else(|| self.identity.device_token.clone(), |session| session.token.clone())
    }

    pub(super) fn take_session(&mut self) -> Option<SessionToken> {
        self.session.take()
    }

    /// Whether the simulated network is up.
    pub(super) fn is_connected(&self) -> bool {
        self.state.transport != Transport::None
    }

    /// Whether the network is up and no back-off is in force.
    pub(super) fn may_send(&self, at: Instant) -> bool {
        self.is_connected() && self.blocked_until.is_none_or(|until| until <= at)
    }

    /// Next wake-up time; `has_heartbeats` tells whether heartbeats are queued.
    pub(super) fn next_wakeup(&self, at: Instant, has_heartbeats: bool) -> Instant {
        if !self.is_connected() {
            return self.next_due;
        }
        let allowed_at = self.blocked_until.unwrap_or(at);
        let results_at = self.commands.results.next_wakeup().map(|at| at.max(allowed_at));
        let heartbeats_at = has_heartbeats.then_some(allowed_at);
        let reports_at = self.installations.reports.ready().then_some(allowed_at);
        [results_at, heartbeats_at, self.installations.next_wakeup(), reports_at].into_iter().flatten().fold(self.next_due, Instant::min)
    }

    /// Creates the heartbeats that are due.
    pub(super) fn create_due_heartbeats(&mut self, at: Instant) {
        if self.is_connected() {
            self.update_due(at);
        }
        while self.next_due <= at {
            let due = self.next_due;
            self.next_due = due + self.interval;
            self.create_heartbeat(due);
        }
    }

    fn create_heartbeat(&mut self, due: Instant) {
        let settings = &self.fleet.settings;
        let dt_s = due.saturating_duration_since(self.stepped_at).as_secs_f64() * settings.model_speed;
        self.stepped_at = due;
        self.state = model::step(&self.profile, &self.state, dt_s, &settings.rates, &mut self.rng);
        if settings.deploy.deploy_profile == DeployProfile::Instant {
            // A call would delay the device by minutes and distort measurements of the whole deployment.
            self.state.in_call = false;
        }
        if let Some(mb) = settings.deploy.storage_free_mb {
            self.state.storage_free_mb = f64::from(mb);
        }
        let device_time = self.fleet.clock.wall_at(due) + TimeDelta::seconds(self.profile.clock_offset_s);
        let mut heartbeat = self.heartbeat(device_time);
        heartbeat.fcm_token = self.new_push_token.take();
        if self.cloned && self.state.seq.is_multiple_of(2) {
            heartbeat.boot_id = heartbeat.boot_id.map(|boot| format!("clone of {boot}"));
        }
        // Only without a socket: an open one is kept.
        let roam_share = settings.roam_share;
        if self.socket_server.is_none() && roam_share > 0.0 && self.rng.random_bool(roam_share) {
            self.change_server();
        }
        // Serialization cannot fail: text, numbers and maps with text keys.
        let Ok(mut body) = serde_json::to_string(&heartbeat) else { return };
        let unusable_share = self.fleet.settings.unusable_share;
        if unusable_share > 0.0 && self.rng.random_bool(unusable_share) {
            body = model::with_unusable_reading(&body, &mut self.rng);
        }
        let kind = if self.is_connected() { Kind::Fresh } else { Kind::Held };
        self.push(Entry { id: 0, kind, intended: due, device_time, body: body.into(), in_flight_since: None });
        if self.is_connected()
            && let Some(repeat) = self.late_repeat.take()
        {
            self.push(repeat);
        }
    }

    /// Creates an unscheduled heartbeat in response to a ping; its latency is not measured.
    pub(super) fn create_ping_response(&mut self, request_id: &str) {
        let at = Instant::now();
        let device_time = self.fleet.clock.wall_at(at) + TimeDelta::seconds(self.profile.clock_offset_s);
        let mut heartbeat = self.heartbeat(device_time);
        (heartbeat.is_ping_response, heartbeat.ping_request_id) = (Some(true), Some(request_id.to_owned()));
        let Ok(body) = serde_json::to_string(&heartbeat) else { return };
        self.push(Entry { id: 0, kind: Kind::Held, intended: at, device_time, body: body.into(), in_flight_since: None });
    }

    /// A new id for a heartbeat, result or report.
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

    /// Counts heartbeats that are sent.
    pub(super) fn count_sent<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>, at: Instant) {
        for entry in entries {
            self.fleet.stats.sent.add(1);
            if entry.kind == Kind::Fresh && entry.intended >= self.fleet.measured_from {
                self.fleet.stats.send_lag(at.saturating_duration_since(entry.intended));
            }
        }
    }

    /// Handles the acknowledgement of a heartbeat that was sent at `sent`; `decided_by` names the owner that decided.
    pub(super) fn acknowledged(&mut self, id: u64, sent: Instant, decided_by: Option<&str>) {
        self.reset_failures();
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
        self.record(sent, |recorder, exchange| recorder.acknowledged(exchange, entry.device_time, repeat, decided_by));
        if !repeat {
            self.maybe_repeat(entry);
        }
    }

    /// Resets the failure counters after a success.
    pub(super) fn reset_failures(&mut self) {
        self.refusals = 0;
        self.backoff.reset();
    }

    /// Counts and records a failed attempt that was sent at `sent`.
    pub(super) fn record_failure(&self, sent: Instant, status: Option<u16>, kind: &str) {
        self.fleet.stats.error(kind);
        self.record(sent, |recorder, exchange| recorder.failed(exchange, status, kind));
    }

    /// Appends to the record, if there is one.
    pub(super) fn record(&self, sent: Instant, write: impl FnOnce(&Recorder, Exchange<'_>) -> anyhow::Result<()>) {
        let Some(recorder) = &self.fleet.recorder else { return };
        // The wall clock is read first, so that a request is never recorded as sent later than it was.
        let answered_at = now();
        let took = TimeDelta::from_std(sent.elapsed()).unwrap_or(TimeDelta::zero());
        let server = &self.fleet.server_names[self.socket_server.unwrap_or(self.server)];
        let exchange = Exchange { device_id: &self.identity.device_id, server, sent_at: answered_at - took, answered_at };
        if write(recorder, exchange).is_err() {
            self.fleet.stats.error("record_not_written");
        }
    }

    fn maybe_repeat(&mut self, entry: Entry) {
        let settings = &self.fleet.settings;
        let at_once = self.rng.random_bool(settings.duplicate_share);
        let later = self.rng.random_bool(settings.late_share);
        let repeat = Entry { kind: Kind::Repeat, in_flight_since: None, ..entry };
        if at_once {
            self.push(repeat);
        } else if later {
            self.late_repeat = Some(repeat);
        }
    }

    /// Sets the time of the next heartbeat as the server asked, if the interval is the server's.
    pub(super) fn set_next_heartbeat(&mut self, next_heartbeat_seconds: u32) {
        if self.fleet.settings.interval == Interval::Server {
            self.interval = Duration::from_secs(u64::from(next_heartbeat_seconds.clamp(1, 86_400)));
            self.next_due = Instant::now() + self.interval;
        }
    }

    /// Drops a heartbeat that the server refused for good.
    pub(super) fn drop_heartbeat(&mut self, id: u64) {
        if self.queue.take(id).is_some_and(|entry| entry.kind != Kind::Repeat) {
            self.fleet.stats.dropped_on_device.add(1);
        }
    }

    /// Backs off after a failure.
    pub(super) fn back_off(&mut self, retry_after: Option<Duration>) {
        self.blocked_until = Some(Instant::now() + self.backoff.next(retry_after, &mut self.rng));
    }

    /// Pauses for exactly this long.
    pub(super) fn pause_for(&mut self, wait: Duration) {
        self.blocked_until = Some(Instant::now() + wait);
    }

    /// Notes that a socket to the present server is open.
    pub(super) fn socket_opened(&mut self) {
        self.socket_server = Some(self.server);
    }

    /// Selects the next server.
    pub(super) fn change_server(&mut self) {
        self.server = (self.server + 1) % self.fleet.servers.len();
    }

    /// Counts a failure and reacts as the agent API requires: 401 may mean an expired session, 410 ends the device, anything
    /// else backs off.
    pub(super) fn failed(&mut self, failure: &RequestFailure, sent: Instant) -> Result<(), EndReason> {
        self.record_failure(sent, failure.status(), &failure.kind());
        match failure.status() {
            Some(401) => return self.unauthorized(),
            Some(410) => return Err(EndReason::Deleted),
            Some(429 | 503) => {}
            _ => self.change_server(),
        }
        self.back_off(failure.retry_after());
        Ok(())
    }

    /// Handles a 401: the first one drops the session, later ones also back off, and the fifth ends the device.
    pub(super) fn unauthorized(&mut self) -> Result<(), EndReason> {
        self.session = None;
        self.refusals += 1;
        if self.refusals >= REFUSALS_LIMIT {
            return Err(EndReason::Forgotten);
        }
        if self.refusals > 1 {
            self.back_off(None);
        }
        Ok(())
    }

    /// A valid session token, requested if necessary; `None` when the request failed.
    pub(super) async fn session_token(&mut self) -> Result<Option<String>, EndReason> {
        if let Some(session) = self.session.as_ref().filter(|session| session.is_good_at(now())) {
            return Ok(Some(session.token.clone()));
        }
        let sent = Instant::now();
        match Box::pin(request_session(&self.http(), &self.identity.device_token, now())).await {
            Ok(session) => {
                let token = session.token.clone();
                self.session = Some(session);
                Ok(Some(token))
            }
            Err(failure) => {
                self.failed(&failure, sent)?;
                if self.blocked_until.is_none_or(|until| until <= Instant::now()) {
                    self.back_off(None); // the session request itself was refused: an immediate retry is pointless
                }
                Ok(None)
            }
        }
    }
}

/// First time from `starts_at` on that lies at the device's phase of the interval by the wall clock. Phases are spread evenly
/// over the fleet and survive a restart.
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
    fn a_device_keeps_its_phase_over_restarts() {
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
    fn phases_are_spread_evenly() {
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
