//! What nodes say to each other. Bodies of the envelope, written by [`super::codec`].
//!
//! The fields are the protocol: adding, removing or reordering one is a new protocol version, and
//! the version before must still be read and written (see [`super::protocol`]). A test compares
//! the bytes of every message with those of the version they claim to be.

use domain::NodeId;
use domain::shard::Epoch;
use serde::{Deserialize, Serialize};

use crate::ServiceError;
use crate::messages::{DeviceRequest, ForwardedHeartbeat, SignedCommand};

/// The oldest protocol that has a request.
pub(super) fn protocol_of(request: &DeviceRequest) -> u16 {
    match request {
        DeviceRequest::Command(_) | DeviceRequest::CommandTaken { .. } | DeviceRequest::SocketClosed { .. } => 3,
        _ => 1,
    }
}

/// Heartbeats for devices of one owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeats {
    /// Who sends it and wants the outcomes.
    pub from: NodeId,
    /// Number of the batch at the sender; the outcomes name it.
    pub batch: u64,
    /// The heartbeats.
    pub items: Vec<ForwardedHeartbeat>,
}

/// Tells that a batch arrived; the outcomes follow after commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatsTaken {
    /// Places of those that this node does not own.
    pub not_owned: Vec<u32>,
}

/// What became of a forwarded heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardOutcome {
    /// Committed, decided in this epoch.
    Stored(Epoch),
    /// Its bucket was committed before, decided in this epoch.
    Repeat(Epoch),
    /// Refused.
    Refused(Refusal),
    /// As stored or repeated, with commands for the answer. Since protocol 3.
    WithCommands {
        /// Committed by this heartbeat, not before.
        stored: bool,
        /// Decided in this epoch.
        epoch: Epoch,
        /// What the device is to do.
        commands: Vec<SignedCommand>,
    },
}

/// Outcomes of a batch, each by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatOutcomes {
    /// Number of the batch at its sender.
    pub batch: u64,
    /// Place and outcome.
    pub outcomes: Vec<(u32, ForwardOutcome)>,
}

/// Why a node refused, in terms of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// This node does not own the device.
    NotOwner,
    /// The credentials do not hold.
    Unauthorized,
    /// The device is deleted.
    DeviceDeleted,
    /// There is no such device.
    NotFound,
    /// A limit on work in progress is reached.
    Overloaded,
    /// The database cannot serve right now.
    Unavailable,
    /// A defect.
    Internal,
}

impl From<&ServiceError> for Refusal {
    fn from(error: &ServiceError) -> Self {
        match error {
            ServiceError::NotOwner => Self::NotOwner,
            ServiceError::Unauthorized => Self::Unauthorized,
            ServiceError::DeviceDeleted => Self::DeviceDeleted,
            ServiceError::NotFound(_) => Self::NotFound,
            ServiceError::Overloaded(_) => Self::Overloaded,
            ServiceError::Unavailable => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotOwner => Self::NotOwner,
            Refusal::Unauthorized => Self::Unauthorized,
            Refusal::DeviceDeleted => Self::DeviceDeleted,
            Refusal::NotFound => Self::NotFound("device"),
            Refusal::Overloaded => Self::Overloaded("the owner's heartbeat queue"),
            Refusal::Unavailable => Self::Unavailable,
            Refusal::Internal => Self::Internal,
        }
    }
}

/// A sign of life, and what the Cluster page shows of a node. Protocol 2 ends with `agent_sockets`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeVitals {
    /// Devices that the node owns.
    pub devices: u64,
    /// Heartbeats it stored per second, lately.
    pub heartbeats_per_second: f64,
    /// Calls between intake and answer.
    pub in_flight: u64,
    /// Agent sockets that hang on it. Since protocol 2.
    pub agent_sockets: u64,
    /// Commands that it drives. Since protocol 3.
    #[cfg(not(feature = "previous-protocol"))]
    pub open_commands: u64,
}

/// Ways to the devices of [`Changes`], in their order; beside them since protocol 3.
pub type Reaches = Vec<(bool, bool)>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::codec::encode;
    use crate::messages::{Change, Changes, ChangesWanted, CommandOrder, DeviceReply, SocketPush, SocketRef};
    use domain::device::{AppStatus, Connectivity, DeviceIdentity, DeviceView, LastStatus};
    use domain::heartbeat::{Telemetry, Transport, WatchedApp};
    use domain::{CommandId, DeviceId};
    use sha2::{Digest, Sha256};
    use std::sync::Arc;

    /// Every field set, so that none can change unnoticed.
    fn full() -> (DeviceId, NodeId, Arc<LastStatus>, DeviceView) {
        let at = |second: i64| chrono::DateTime::from_timestamp(1_795_275_000 + second, 0).unwrap();
        let id = DeviceId(uuid::Uuid::from_u128(7));
        let text = |text: &str| Some(text.to_owned());
        let telemetry = Telemetry {
            battery_pct: Some(83),
            charging: Some(true),
            battery_temperature_c: Some(31.5),
            app_version: text("1.4.0"),
            agent_version_code: Some(140),
            android_version: text("13"),
            sdk_int: Some(33),
            patch_level: text("2025-08-05"),
            build_id: text("TQ3A"),
            model: text("Orbic Joy 2"),
            manufacturer: text("Orbic"),
            uptime_s: Some(86_400),
            ram_total_mb: Some(3891),
            ram_available_mb: Some(1210),
            ram_pressure_pct: Some(69),
            storage_free_mb: Some(5120),
            transport: Some(Transport::Cellular),
            ssid: text("shop"),
            carrier: text("carrier"),
            ip: text("192.0.2.7"),
            net_validated: Some(true),
            metered: Some(false),
            foreground_recent_s: Some(12),
            app_running: Some(true),
            speedtest_service_running: Some(false),
            speedtest_foreground_recent_s: Some(5),
            power_ok: Some(true),
            doze_whitelisted: Some(false),
            is_device_owner: Some(true),
            in_call: Some(false),
            queue_depth: Some(3),
            boot_id: text("boot"),
            seq: Some(4711),
            self_heal_hints: text("{}"),
            apps: vec![WatchedApp { package: "a.b".into(), installed: Some(true), version_name: text("3"), version_code: Some(321) }],
        };
        let status =
            Arc::new(LastStatus { bucket_at: at(0), received_at: at(3), device_time: Some(at(2)), clock_rejected: false, telemetry });
        let identity = DeviceIdentity {
            id,
            alias: "kiosk-17".into(),
            tags: vec!["till".into()],
            groups: vec!["berlin".into()],
            hardware_id: text("HW"),
            model: text("Joy"),
            manufacturer: text("Orbic"),
            enrolled_at: at(-100),
        };
        let view = DeviceView {
            identity: Arc::new(identity),
            last: Some(Arc::clone(&status)),
            last_seen_at: Some(at(3)),
            connectivity: Connectivity::Offline,
            app_status: AppStatus::Down,
            reach: Default::default(),
        };
        (id, NodeId(uuid::Uuid::from_u128(9)), status, view)
    }

    fn at_least() -> domain::Timestamp {
        chrono::DateTime::from_timestamp(1_795_275_000, 0).unwrap()
    }

    /// A digest that differs means that builds before this one can no longer read the message (or
    /// this one theirs): that is a new protocol, see [`crate::link::protocol`].
    #[cfg(not(feature = "previous-protocol"))]
    #[test]
    fn the_bytes_of_every_message_are_those_of_their_protocol() {
        fn digest<T: Serialize>(message: &T) -> String {
            hex::encode(&Sha256::digest(encode(message).unwrap())[..6])
        }
        let (device, node, status, view) = full();
        let socket = SocketRef { node, socket: 5 };
        let item = ForwardedHeartbeat { device, status, generation: 2, fcm_token: Some("t".into()), socket: Some(socket) };
        let requests = [
            DeviceRequest::CheckCredentials { generation: 2 },
            DeviceRequest::View,
            DeviceRequest::SocketOpened { generation: 2, socket },
            DeviceRequest::AccessChanged { generation: 3, deleted: true },
        ];
        let outcomes = [
            ForwardOutcome::Stored(Epoch(7)),
            ForwardOutcome::Repeat(Epoch(7)),
            ForwardOutcome::Refused(Refusal::NotOwner),
            ForwardOutcome::Refused(Refusal::Internal),
        ];
        let changes = Changes {
            log: 1,
            last: 2,
            more: true,
            changes: vec![Change { device, epoch: Epoch(7), view: Some(view.clone()) }, Change { device, epoch: Epoch(7), view: None }],
            heartbeats_per_second: 1.5,
            enrollment_revision: 3,
        };
        let time = at_least();
        let order = CommandOrder {
            id: CommandId(device.0),
            action: "ring".into(),
            params: "{}".into(),
            delivered: true,
            release_at: time,
            expires_at: time,
        };
        let signed = SignedCommand {
            id: CommandId(device.0),
            device_id: device,
            action: "ring".into(),
            ts: "t".into(),
            expires_at: "e".into(),
            params: "{}".into(),
            signature: "s".into(),
            legacy_hmac: "h".into(),
        };
        let asked_since_3 = [
            DeviceRequest::Command(Box::new(order)),
            DeviceRequest::CommandTaken { id: CommandId(device.0), over: true },
            DeviceRequest::SocketClosed { socket },
        ];
        let with_commands = ForwardOutcome::WithCommands { stored: true, epoch: Epoch(7), commands: vec![signed.clone()] };
        let told = [
            ("heartbeats", digest(&Heartbeats { from: node, batch: 1, items: vec![item] })),
            ("taken", digest(&HeartbeatsTaken { not_owned: vec![1] })),
            ("outcomes", digest(&HeartbeatOutcomes { batch: 1, outcomes: outcomes.into_iter().map(|outcome| (0, outcome)).collect() })),
            ("requests", digest(&requests)),
            ("replies", digest(&[DeviceReply::Done, DeviceReply::View(Box::new(view))])),
            ("pushes", digest(&[SocketPush::Replaced, SocketPush::Revoked])),
            ("commands", digest(&(asked_since_3, with_commands, SocketPush::Command(Box::new(signed))))),
            ("changes", digest(&(ChangesWanted { log: 1, after: 2 }, changes))),
            ("reaches", digest::<Reaches>(&vec![(true, false)])),
            ("vitals", digest(&NodeVitals { devices: 1, heartbeats_per_second: 1.5, in_flight: 2, agent_sockets: 3, open_commands: 4 })),
        ];
        assert_eq!(told.each_ref().map(|(name, digest)| (*name, digest.as_str())), KNOWN_DIGESTS);
    }

    #[cfg(not(feature = "previous-protocol"))]
    const KNOWN_DIGESTS: [(&str, &str); 10] = [
        ("heartbeats", "9e47c7827d20"),
        ("taken", "9dcf97a184f3"),
        ("outcomes", "61f9e763af28"),
        ("requests", "344f8bdd92bd"),
        ("replies", "e5645f88bb0b"),
        ("pushes", "b413f47d13ee"),
        ("commands", "2f2820065509"),
        ("changes", "58af820727c8"),
        ("reaches", "9f44ac6acb8a"),
        ("vitals", "830d4bc21703"),
    ];
}
