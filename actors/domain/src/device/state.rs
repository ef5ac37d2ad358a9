//! Live state of a device, and its changes by events.
//!
//! ```text
//!            stored                 deadline passes
//! NeverSeen ---------> Online ------------------------> Offline
//!                        ^                                 |
//!                        +------------- stored ------------+
//! ```
//! Live state is what is durable: a heartbeat changes it once its row is
//! committed, never before.

use std::sync::Arc;

use super::{
    AppStatus, ConflictEvidence, Connectivity, DeviceEffect, DeviceEvent, DeviceIdentity, DevicePolicy, DeviceView, HeartbeatRuns,
    IdentityConflict, LastStatus, MonitoredApp, PersistedDevice,
};
use crate::Timestamp;
use crate::command::Channels;
use crate::rule::RuleSet;

/// Lifecycle of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Enrolled.
    Active,
    /// Deleted; its agent is refused.
    Deleted,
}

/// A device's live state.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceState {
    /// Identity and labels of the device.
    pub identity: Arc<DeviceIdentity>,
    /// Lifecycle.
    pub lifecycle: Lifecycle,
    /// Generation of the valid credentials; older ones are revoked.
    pub credential_generation: i32,
    /// The newest stored heartbeat.
    pub last: Option<Arc<LastStatus>>,
    /// When the last stored heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the device is online.
    pub connectivity: Connectivity,
    /// Monitored app.
    pub monitored: Option<MonitoredApp>,
    /// Whether a reboot was detected by the uptime and is not recorded yet.
    pub rebooted: bool,
    /// Whether it enrolled a while ago and never sent a heartbeat.
    pub ghost: bool,
    /// The newest identity conflict, recorded or about to be.
    pub conflict: Option<IdentityConflict>,
    /// What it was noticed by, until it is recorded.
    pub evidence: Option<Box<ConflictEvidence>>,
    /// Runs of its heartbeats since it was loaded.
    pub runs: HeartbeatRuns,
    /// Rules of its open alerts, as its owner has judged.
    pub open_alerts: RuleSet,
}

/// Admission of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Write the heartbeat; `late` when a newer one is the last status already.
    Write {
        /// A newer heartbeat is already stored.
        late: bool,
    },
    /// This heartbeat, or a newer one of its bucket, is stored already: acknowledge, write nothing.
    Repeat,
    /// The device is deleted.
    Deleted,
    /// The credentials are revoked.
    Revoked,
}

impl DeviceState {
    /// Live state from the stored one.
    pub fn restored(known: PersistedDevice, now: Timestamp, policy: &DevicePolicy) -> Self {
        let PersistedDevice { identity, monitored, credential_generation, deleted, last, last_seen_at, conflict } = known;
        let mut runs = HeartbeatRuns::default();
        if let Some(last) = &last {
            runs.observe(last);
        }
        let connectivity = policy.connectivity(last_seen_at, now);
        let ghost = connectivity == Connectivity::NeverSeen && identity.enrolled_at + policy.ghost_after <= now;
        Self {
            identity: Arc::new(identity),
            lifecycle: if deleted { Lifecycle::Deleted } else { Lifecycle::Active },
            credential_generation,
            last,
            last_seen_at,
            connectivity,
            monitored,
            rebooted: false,
            ghost,
            conflict,
            evidence: None,
            runs,
            open_alerts: RuleSet::EMPTY,
        }
    }

    /// View for lists and pages.
    pub fn view(&self, policy: &DevicePolicy) -> DeviceView {
        DeviceView {
            identity: Arc::clone(&self.identity),
            last: self.last.clone(),
            last_seen_at: self.last_seen_at,
            connectivity: self.connectivity,
            app_status: self.app_status(policy),
            channels: Channels::default(),
            conflict_at: self.open_conflict().map(|conflict| conflict.noticed_at),
            ghost: self.ghost,
            open_alerts: self.open_alerts,
        }
    }

    /// The identity conflict that somebody has to decide about.
    pub fn open_conflict(&self) -> Option<IdentityConflict> {
        self.conflict.filter(|conflict| !conflict.dismissed && conflict.generation == self.credential_generation)
    }

    /// Whether commands are held because of an identity conflict. One whose credentials were revoked holds them until they expire: it
    /// is not known which of the two devices a push message reaches.
    pub fn holds_commands(&self) -> bool {
        self.conflict.is_some_and(|conflict| !conflict.dismissed)
    }

    /// Takes a heartbeat as it arrives with valid credentials, stored or not. Whether it shows that two devices report as this one.
    /// A conflict is noticed once for each generation of the credentials, dismissed or not.
    pub fn observe(&mut self, status: &LastStatus) -> bool {
        if self.conflict.is_some_and(|conflict| conflict.generation == self.credential_generation) {
            return false;
        }
        let Some(evidence) = self.runs.observe(status) else { return false };
        self.conflict = Some(IdentityConflict { noticed_at: status.received_at, generation: self.credential_generation, dismissed: false });
        self.evidence = Some(Box::new(evidence));
        // The uptime of the other device.
        self.rebooted = false;
        true
    }

    /// Status of the monitored app.
    pub fn app_status(&self, policy: &DevicePolicy) -> AppStatus {
        self.last.as_ref().map_or(AppStatus::Unknown, |last| policy.app_status(&last.telemetry, self.monitored.as_ref()))
    }

    /// Whether credentials of `generation` may act for this device.
    pub fn credentials(&self, generation: i32) -> Result<(), Admission> {
        match self.lifecycle {
            Lifecycle::Deleted => Err(Admission::Deleted),
            Lifecycle::Active if generation == self.credential_generation => Ok(()),
            Lifecycle::Active => Err(Admission::Revoked),
        }
    }

    /// Decision about a heartbeat that came with credentials of `generation`.
    ///
    /// Only what is known to be committed makes a repeat; a repeat of one still
    /// being written goes to the store, which keeps it single. A newer heartbeat
    /// of a bucket replaces the row of the bucket.
    pub fn admit(&self, generation: i32, status: &LastStatus) -> Admission {
        if let Err(refused) = self.credentials(generation) {
            return refused;
        }
        match &self.last {
            Some(last) if last.clock_rejected && status.repeats(last) => Admission::Repeat,
            Some(last) if last.bucket_at == status.bucket_at && status.order() <= last.order() => Admission::Repeat,
            last => Admission::Write { late: last.as_ref().is_some_and(|last| last.bucket_at > status.bucket_at) },
        }
    }

    /// The heartbeat in the bucket that it counts in: that of its receipt where the clock of the device went back within a boot, by
    /// its sequence number. By that clock every heartbeat would be late until it has caught up, for days.
    pub fn dated(&self, status: Arc<LastStatus>) -> Arc<LastStatus> {
        match &self.last {
            Some(last) if status.sent_after(last) && status.bucket_at < last.bucket_at => status.dated_by_receipt(),
            _ => status,
        }
    }

    /// The liveness deadline to watch: of an online device, or of one that never was and is no ghost yet.
    pub fn deadline(&self, policy: &DevicePolicy) -> Option<Timestamp> {
        match self.connectivity {
            Connectivity::Online => self.last_seen_at.map(|seen| seen + policy.offline_after),
            Connectivity::NeverSeen if !self.ghost => Some(self.identity.enrolled_at + policy.ghost_after),
            Connectivity::NeverSeen | Connectivity::Offline => None,
        }
    }

    /// Applies an event and returns its effects.
    pub fn apply(&mut self, event: DeviceEvent, now: Timestamp, policy: &DevicePolicy) -> Vec<DeviceEffect> {
        match event {
            DeviceEvent::Stored(status) => {
                let seen = status.received_at;
                self.stored(status, seen, policy)
            }
            DeviceEvent::Refresh(known) => self.refresh(*known, now, policy),
            DeviceEvent::DeadlinePassed => self.deadline_passed(now, policy),
            DeviceEvent::CredentialsRevoked { generation } if generation > self.credential_generation => {
                self.credential_generation = generation;
                vec![DeviceEffect::Disconnect]
            }
            DeviceEvent::CredentialsRevoked { .. } => vec![],
            DeviceEvent::Deleted => {
                self.lifecycle = Lifecycle::Deleted;
                vec![DeviceEffect::Withdraw, DeviceEffect::Disconnect]
            }
        }
    }

    fn refresh(&mut self, known: PersistedDevice, now: Timestamp, policy: &DevicePolicy) -> Vec<DeviceEffect> {
        let mut effects = vec![];
        if known.credential_generation > self.credential_generation {
            self.credential_generation = known.credential_generation;
            effects.push(DeviceEffect::Disconnect);
        }
        let shown_before = (self.lifecycle == Lifecycle::Active, Arc::clone(&self.identity), self.monitored.clone());
        match (self.lifecycle, known.deleted) {
            (_, true) => {
                if self.lifecycle == Lifecycle::Active {
                    self.lifecycle = Lifecycle::Deleted;
                    effects.extend([DeviceEffect::Withdraw, DeviceEffect::Disconnect]);
                }
                return effects;
            }
            (Lifecycle::Active, false) => {}
            (Lifecycle::Deleted, false) => {
                self.lifecycle = Lifecycle::Active;
                self.connectivity = policy.connectivity(self.last_seen_at, now);
                effects.extend(self.deadline(policy).map(DeviceEffect::WatchUntil));
            }
        }
        if *self.identity != known.identity {
            self.identity = Arc::new(known.identity);
        }
        self.monitored = known.monitored;
        match (known.last, known.last_seen_at) {
            (Some(last), Some(seen)) if seen + policy.offline_after > now => effects.extend(self.stored(last, seen, policy)),
            _ if shown_before != (true, Arc::clone(&self.identity), self.monitored.clone()) => effects.push(DeviceEffect::Publish),
            _ => {}
        }
        effects
    }

    fn stored(&mut self, status: Arc<LastStatus>, seen: Timestamp, policy: &DevicePolicy) -> Vec<DeviceEffect> {
        if self.lifecycle == Lifecycle::Deleted {
            return vec![];
        }
        let was_watched = self.connectivity == Connectivity::Online;
        self.last_seen_at = self.last_seen_at.max(Some(seen));
        self.connectivity = Connectivity::Online;
        self.ghost = false;
        if self.last.as_ref().is_none_or(|last| status.order() > last.order()) {
            let uptime_s = |status: &LastStatus| status.telemetry.uptime_s;
            self.rebooted |= self.last.as_deref().and_then(uptime_s).zip(uptime_s(&status)).is_some_and(|(before, after)| after < before);
            self.last = Some(status);
        }
        let mut effects = vec![DeviceEffect::Publish];
        // While online, one watch is out already and finds the later deadline by itself.
        if !was_watched {
            effects.extend(self.deadline(policy).map(DeviceEffect::WatchUntil));
        }
        effects
    }

    fn deadline_passed(&mut self, now: Timestamp, policy: &DevicePolicy) -> Vec<DeviceEffect> {
        match self.deadline(policy) {
            Some(deadline) if self.lifecycle == Lifecycle::Active => {
                if deadline > now {
                    return vec![DeviceEffect::WatchUntil(deadline)];
                }
                match self.connectivity {
                    Connectivity::NeverSeen => self.ghost = true,
                    _ => self.connectivity = Connectivity::Offline,
                }
                vec![DeviceEffect::Publish]
            }
            _ => vec![],
        }
    }
}
