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

use chrono::TimeDelta;

use crate::command::Channels;
use crate::heartbeat::{Heartbeat, Telemetry};
use crate::{DeviceId, Timestamp};

/// Identity and labels of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceIdentity {
    /// Id.
    pub id: DeviceId,
    /// Alias.
    pub alias: String,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Groups, sorted.
    pub groups: Vec<String>,
    /// Hardware identity given at enrollment; never authenticates.
    pub hardware_id: Option<String>,
    /// Model given at enrollment.
    pub model: Option<String>,
    /// Manufacturer given at enrollment.
    pub manufacturer: Option<String>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
}

/// App that a device is there to run, and that is monitored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoredApp {
    /// Package name.
    pub package: String,
    /// Seconds out of the foreground after which it counts as down; `None` = as configured for all.
    pub stale_after_s: Option<i32>,
}

/// The newest stored heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct LastStatus {
    /// Start of its 10-second bucket.
    pub bucket_at: Timestamp,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Time by the clock of the device.
    pub device_time: Option<Timestamp>,
    /// Whether the clock of the device was too wrong to be used.
    pub clock_rejected: bool,
    /// Telemetry of the heartbeat.
    pub telemetry: Telemetry,
}

impl From<Heartbeat> for LastStatus {
    fn from(heartbeat: Heartbeat) -> Self {
        let Heartbeat { device_id: _, bucket_at, received_at, device_time, clock_rejected, telemetry } = heartbeat;
        Self { bucket_at, received_at, device_time, clock_rejected, telemetry }
    }
}

/// Connectivity of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Connectivity {
    /// Heartbeats within the offline limit.
    Online,
    /// Heartbeats before, but none within the limit.
    Offline,
    /// No heartbeat since enrollment.
    NeverSeen,
}

impl Connectivity {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// State of the monitored app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AppStatus {
    /// Runs and was in the foreground lately.
    Up,
    /// Does not run, or was not in the foreground for too long.
    Down,
    /// Not reported by the device.
    Unknown,
}

named!(pub AppStatus, parse -> Result);

/// Thresholds of the status of a device; from configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DevicePolicy {
    /// Silence after which a device counts as offline.
    pub offline_after: TimeDelta,
    /// Charge below which a battery counts as low.
    pub low_battery_pct: i16,
    /// Seconds out of the foreground after which the monitored app counts as down.
    pub app_stale_after_s: i32,
}

impl DevicePolicy {
    /// Connectivity at `now` of a device that was last seen at `last_seen_at`.
    pub fn connectivity(&self, last_seen_at: Option<Timestamp>, now: Timestamp) -> Connectivity {
        match last_seen_at {
            None => Connectivity::NeverSeen,
            Some(seen) if seen + self.offline_after > now => Connectivity::Online,
            Some(_) => Connectivity::Offline,
        }
    }

    /// Status of the monitored app by the last telemetry.
    pub fn app_status(&self, telemetry: &Telemetry, monitored: Option<&MonitoredApp>) -> AppStatus {
        let stale_after_s = monitored.and_then(|app| app.stale_after_s).unwrap_or(self.app_stale_after_s);
        let missing = |app: &MonitoredApp| telemetry.watched(&app.package).is_some_and(|watched| watched.installed == Some(false));
        match (telemetry.app_running, telemetry.foreground_recent_s) {
            _ if monitored.is_some_and(missing) => AppStatus::Down,
            (Some(false), _) => AppStatus::Down,
            (_, Some(recent_s)) if recent_s > stale_after_s => AppStatus::Down,
            (None, None) => AppStatus::Unknown,
            _ => AppStatus::Up,
        }
    }
}

/// View of a device, for lists, pages and counts; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    /// Identity and labels of the device.
    pub identity: Arc<DeviceIdentity>,
    /// The newest stored heartbeat.
    pub last: Option<Arc<LastStatus>>,
    /// When the last stored heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the device is online.
    pub connectivity: Connectivity,
    /// Status of the monitored app.
    pub app_status: AppStatus,
    /// Channels to the device, as its owner knows them.
    pub channels: Channels,
}

impl DeviceView {
    /// Battery level, if reported.
    pub fn battery_pct(&self) -> Option<i16> {
        self.last.as_ref().and_then(|last| last.telemetry.battery_pct)
    }
    /// Model: as last reported, else as enrolled.
    pub fn model(&self) -> Option<&str> {
        self.last.as_ref().and_then(|last| last.telemetry.model.as_deref()).or(self.identity.model.as_deref())
    }
    /// Agent version name, if reported.
    pub fn app_version(&self) -> Option<&str> {
        self.last.as_ref().and_then(|last| last.telemetry.app_version.as_deref())
    }
}

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
}

/// Stored state of a device.
#[derive(Debug, Clone)]
pub struct PersistedDevice {
    /// Identity and labels of the device.
    pub identity: DeviceIdentity,
    /// Monitored app.
    pub monitored: Option<MonitoredApp>,
    /// Generation of the valid credentials.
    pub credential_generation: i32,
    /// Whether it is deleted.
    pub deleted: bool,
    /// The newest stored heartbeat.
    pub last: Option<Arc<LastStatus>>,
    /// When the last stored heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
}

/// Event of the live state of a device.
#[derive(Debug, Clone)]
pub enum DeviceEvent {
    /// A heartbeat was committed.
    Stored(Arc<LastStatus>),
    /// What the store holds, after somebody else may have written. Read after whatever was applied
    /// before: nobody but the store knows better.
    Refresh(Box<PersistedDevice>),
    /// The liveness deadline has passed.
    DeadlinePassed,
    /// The credentials were revoked.
    CredentialsRevoked {
        /// Generation that is valid from now on.
        generation: i32,
    },
    /// The device was deleted.
    Deleted,
}

/// Effect that the actor carries out.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceEffect {
    /// Publish the new state to the fleet view.
    Publish,
    /// Withdraw the device from the fleet view.
    Withdraw,
    /// Send [`DeviceEvent::DeadlinePassed`] at this time.
    WatchUntil(Timestamp),
    /// Close the device's sockets: their credentials no longer hold.
    Disconnect,
}

/// Admission of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Write the heartbeat; `late` when a newer one is the last status already.
    Write {
        /// A newer heartbeat is already stored.
        late: bool,
    },
    /// The bucket is stored already: acknowledge, write nothing.
    Repeat,
    /// The device is deleted.
    Deleted,
    /// The credentials are revoked.
    Revoked,
}

impl DeviceState {
    /// Live state from the stored one.
    pub fn restored(known: PersistedDevice, now: Timestamp, policy: &DevicePolicy) -> Self {
        let PersistedDevice { identity, monitored, credential_generation, deleted, last, last_seen_at } = known;
        Self {
            identity: Arc::new(identity),
            lifecycle: if deleted { Lifecycle::Deleted } else { Lifecycle::Active },
            credential_generation,
            last,
            last_seen_at,
            connectivity: policy.connectivity(last_seen_at, now),
            monitored,
            rebooted: false,
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
        }
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

    /// What to do with a heartbeat of bucket `bucket_at` that came with
    /// credentials of `generation`.
    ///
    /// Only a bucket that is known to be committed counts as a repeat; a repeat
    /// of one still being written goes to the store, which keeps it single.
    pub fn admit(&self, generation: i32, bucket_at: Timestamp) -> Admission {
        if let Err(refused) = self.credentials(generation) {
            return refused;
        }
        match &self.last {
            Some(last) if last.bucket_at == bucket_at => Admission::Repeat,
            last => Admission::Write { late: last.as_ref().is_some_and(|last| last.bucket_at > bucket_at) },
        }
    }

    /// The liveness deadline to watch, if the device is online.
    pub fn deadline(&self, policy: &DevicePolicy) -> Option<Timestamp> {
        match self.connectivity {
            Connectivity::Online => self.last_seen_at.map(|seen| seen + policy.offline_after),
            _ => None,
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
        if self.last.as_ref().is_none_or(|last| status.bucket_at > last.bucket_at) {
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
                self.connectivity = Connectivity::Offline;
                vec![DeviceEffect::Publish]
            }
            _ => vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::WatchedApp;
    use chrono::DateTime;
    use proptest::prelude::*;

    const POLICY: DevicePolicy = DevicePolicy { offline_after: TimeDelta::seconds(900), low_battery_pct: 20, app_stale_after_s: 600 };

    fn at(second: i64) -> Timestamp {
        DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }
    fn status(bucket: i64, received: i64) -> Arc<LastStatus> {
        Arc::new(LastStatus {
            bucket_at: at(bucket),
            received_at: at(received),
            device_time: None,
            clock_rejected: false,
            telemetry: Telemetry { seq: Some(bucket), ..Default::default() },
        })
    }
    fn fresh() -> DeviceState {
        DeviceState::restored(known("kiosk-1", None), at(0), &POLICY)
    }
    /// What the store holds of a device that was last heard from at a second.
    fn known(alias: &str, seen: Option<i64>) -> PersistedDevice {
        let identity = DeviceIdentity {
            id: DeviceId(uuid::Uuid::nil()),
            alias: alias.into(),
            tags: vec![],
            groups: vec![],
            hardware_id: None,
            model: None,
            manufacturer: None,
            enrolled_at: at(0),
        };
        PersistedDevice {
            identity,
            monitored: None,
            credential_generation: 1,
            deleted: false,
            last: seen.map(|seen| status(seen, seen)),
            last_seen_at: seen.map(at),
        }
    }

    #[test]
    fn a_repeat_is_one_whose_bucket_is_committed() {
        let mut device = fresh();
        assert_eq!(device.admit(1, at(10)), Admission::Write { late: false });
        assert_eq!(device.admit(1, at(10)), Admission::Write { late: false }, "not yet committed");
        device.apply(DeviceEvent::Stored(status(10, 12)), at(12), &POLICY);
        assert_eq!(device.admit(1, at(10)), Admission::Repeat);
        assert_eq!(device.admit(1, at(0)), Admission::Write { late: true });
        assert_eq!(device.admit(1, at(20)), Admission::Write { late: false });
    }

    #[test]
    fn revoked_and_deleted_devices_are_refused() {
        let mut device = fresh();
        assert_eq!(device.apply(DeviceEvent::CredentialsRevoked { generation: 2 }, at(1), &POLICY), [DeviceEffect::Disconnect]);
        assert_eq!(device.admit(1, at(10)), Admission::Revoked);
        assert_eq!(device.admit(2, at(10)), Admission::Write { late: false });
        assert_eq!(device.apply(DeviceEvent::CredentialsRevoked { generation: 1 }, at(1), &POLICY), [], "an older word changes nothing");
        assert_eq!(device.credential_generation, 2);
        device.apply(DeviceEvent::Deleted, at(2), &POLICY);
        assert_eq!(device.admit(2, at(10)), Admission::Deleted);
        assert_eq!(device.apply(DeviceEvent::Stored(status(10, 12)), at(12), &POLICY), []);
    }

    #[test]
    fn silence_takes_a_device_offline_and_a_heartbeat_brings_it_back() {
        let mut device = fresh();
        assert_eq!(device.connectivity, Connectivity::NeverSeen);
        let effects = device.apply(DeviceEvent::Stored(status(0, 0)), at(0), &POLICY);
        assert_eq!(effects, [DeviceEffect::Publish, DeviceEffect::WatchUntil(at(900))]);
        let effects = device.apply(DeviceEvent::Stored(status(300, 300)), at(300), &POLICY);
        assert_eq!(effects, [DeviceEffect::Publish], "the watch is already out");
        assert_eq!(device.apply(DeviceEvent::DeadlinePassed, at(900), &POLICY), [DeviceEffect::WatchUntil(at(1200))]);
        assert_eq!(device.apply(DeviceEvent::DeadlinePassed, at(1200), &POLICY), [DeviceEffect::Publish]);
        assert_eq!(device.connectivity, Connectivity::Offline);
        assert_eq!(device.apply(DeviceEvent::DeadlinePassed, at(1300), &POLICY), []);
        let effects = device.apply(DeviceEvent::Stored(status(2000, 2000)), at(2000), &POLICY);
        assert_eq!(effects, [DeviceEffect::Publish, DeviceEffect::WatchUntil(at(2900))]);
    }

    #[test]
    fn what_somebody_else_stored_is_taken_over_unless_it_is_older() {
        let mut device = fresh();
        device.apply(DeviceEvent::Stored(status(500, 500)), at(500), &POLICY);
        let refresh = |bucket, seen| {
            let last = Some(status(bucket, bucket));
            DeviceEvent::Refresh(Box::new(PersistedDevice { last, last_seen_at: Some(at(seen)), ..known("kiosk-1", None) }))
        };
        device.apply(refresh(600, 610), at(620), &POLICY);
        assert_eq!((device.last.as_ref().unwrap().bucket_at, device.last_seen_at), (at(600), Some(at(610))));
        device.apply(refresh(400, 400), at(620), &POLICY);
        assert_eq!((device.last.as_ref().unwrap().bucket_at, device.last_seen_at), (at(600), Some(at(610))));
        let mut silent = fresh();
        assert_eq!(silent.apply(refresh(0, 0), at(5000), &POLICY), [], "long ago is no sign of life");
    }

    #[test]
    fn an_edit_is_shown_and_what_did_not_change_is_not() {
        let mut device = fresh();
        let refresh = |known: PersistedDevice| DeviceEvent::Refresh(Box::new(known));
        assert_eq!(device.apply(refresh(known("kiosk-1", None)), at(1), &POLICY), []);
        assert_eq!(device.apply(refresh(known("till-1", None)), at(1), &POLICY), [DeviceEffect::Publish]);
        assert_eq!(device.identity.alias, "till-1");
        let monitored = Some(MonitoredApp { package: "a.b".into(), stale_after_s: Some(60) });
        let known = PersistedDevice { monitored: monitored.clone(), ..known("till-1", None) };
        assert_eq!(device.apply(refresh(known), at(1), &POLICY), [DeviceEffect::Publish]);
        assert_eq!(device.monitored, monitored);
    }

    #[test]
    fn a_restored_device_is_back_with_its_credentials_and_its_deadline() {
        let mut device = fresh();
        device.apply(DeviceEvent::Stored(status(0, 0)), at(0), &POLICY);
        let refresh = |deleted, seen| DeviceEvent::Refresh(Box::new(PersistedDevice { deleted, ..known("kiosk-1", Some(seen)) }));
        assert_eq!(device.apply(refresh(true, 0), at(10), &POLICY), [DeviceEffect::Withdraw, DeviceEffect::Disconnect]);
        assert_eq!(device.admit(1, at(20)), Admission::Deleted);
        assert_eq!(device.apply(refresh(true, 0), at(10), &POLICY), [], "told twice");
        let effects = device.apply(refresh(false, 0), at(30), &POLICY);
        assert_eq!(effects, [DeviceEffect::WatchUntil(at(900)), DeviceEffect::Publish]);
        assert_eq!(device.admit(1, at(20)), Admission::Write { late: false });
        device.apply(refresh(true, 0), at(40), &POLICY);
        assert_eq!(device.apply(refresh(false, 0), at(5000), &POLICY), [DeviceEffect::Publish], "long silent by now");
        assert_eq!(device.connectivity, Connectivity::Offline);
    }

    #[test]
    fn an_uptime_that_steps_back_is_a_reboot() {
        let up = |bucket, uptime_s| {
            let telemetry = Telemetry { uptime_s: Some(uptime_s), ..Default::default() };
            DeviceEvent::Stored(Arc::new(LastStatus { telemetry, ..(*status(bucket, bucket)).clone() }))
        };
        let mut device = fresh();
        device.apply(up(10, 500), at(10), &POLICY);
        device.apply(up(20, 510), at(20), &POLICY);
        device.apply(up(0, 5), at(21), &POLICY);
        assert!(!device.rebooted, "a late one tells of the past");
        device.apply(up(30, 3), at(30), &POLICY);
        assert!(device.rebooted);
    }

    #[test]
    fn a_late_heartbeat_shows_life_but_not_its_old_values() {
        let mut device = fresh();
        device.apply(DeviceEvent::Stored(status(500, 500)), at(500), &POLICY);
        device.apply(DeviceEvent::Stored(status(100, 800)), at(800), &POLICY);
        assert_eq!(device.last.as_ref().unwrap().bucket_at, at(500));
        assert_eq!(device.last_seen_at, Some(at(800)));
    }

    #[test]
    fn the_monitored_app() {
        let told = |app_running, foreground_recent_s| Telemetry { app_running, foreground_recent_s, ..Default::default() };
        for (running, recent_s, want) in [
            (Some(false), Some(1), AppStatus::Down),
            (Some(true), Some(601), AppStatus::Down),
            (Some(true), Some(600), AppStatus::Up),
            (Some(true), None, AppStatus::Up),
            (None, Some(5), AppStatus::Up),
            (None, None, AppStatus::Unknown),
        ] {
            assert_eq!(POLICY.app_status(&told(running, recent_s), None), want, "{running:?} {recent_s:?}");
        }
        let app = |stale_after_s| MonitoredApp { package: "a.b".into(), stale_after_s };
        assert_eq!(POLICY.app_status(&told(Some(true), Some(61)), Some(&app(Some(60)))), AppStatus::Down);
        assert_eq!(POLICY.app_status(&told(Some(true), Some(61)), Some(&app(None))), AppStatus::Up);
        let installed = |installed| {
            let apps = vec![WatchedApp { package: "a.b".into(), installed, version_name: None, version_code: None }];
            Telemetry { apps, ..told(Some(true), None) }
        };
        assert_eq!(POLICY.app_status(&installed(Some(false)), Some(&app(None))), AppStatus::Down);
        assert_eq!(POLICY.app_status(&installed(Some(true)), Some(&app(None))), AppStatus::Up);
        assert_eq!(POLICY.app_status(&installed(Some(false)), None), AppStatus::Up, "it is not the app that matters");
    }

    proptest! {
        /// In whatever order commits arrive, the newest bucket and the latest receipt win,
        /// and exactly one watch is out while the device is online.
        #[test]
        fn order_of_commits_does_not_matter(mut order in proptest::collection::vec((0i64..1000, 0i64..1000), 1..30)) {
            let mut device = fresh();
            let mut watches = 0;
            for (bucket, received) in &order {
                let effects = device.apply(DeviceEvent::Stored(status(bucket * 10, *received)), at(*received), &POLICY);
                watches += effects.iter().filter(|e| matches!(e, DeviceEffect::WatchUntil(_))).count();
            }
            order.sort_unstable();
            let newest = order.last().unwrap().0;
            prop_assert_eq!(device.last.unwrap().bucket_at, at(newest * 10));
            prop_assert_eq!(device.last_seen_at, order.iter().map(|(_, received)| at(*received)).max());
            prop_assert_eq!(watches, 1);
        }
    }
}
