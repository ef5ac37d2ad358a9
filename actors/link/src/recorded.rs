//! Bytes of every message as builds before wrote them, read again: what this build must still understand.
//!
//! `recorded/<protocol>-<edition>.txt` has a message a line, its name and its bytes as hex. A recording is never changed. When a
//! field or a variant is added, [`messages`] gets it for a new edition, which is recorded from what the test prints; the older ones
//! stay, and show that what they lack reads as its default.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use domain::command::Channels;
use domain::connections::ConnectionFigures;
use domain::device::{AppStatus, Connectivity, DeviceIdentity, DeviceView, LastStatus};
use domain::heartbeat::{Telemetry, Transport, WatchedApp};
use domain::permits::PoolFigures;
use domain::reconcile::ReconcilerStatus;
use domain::rule::RuleSet;
use domain::shard::Epoch;
use domain::telemetry::Unusable;
use domain::{CommandId, DeviceId, NodeId};

use super::codec::{Format, Message, decode, encode};
use super::message::{
    DeviceCall, ForwardOutcome, HeartbeatOutcomes, Heartbeats, HeartbeatsReceived, NodeStats, Refusal, SocketMessage, decode_changes,
    encode_changes,
};
use super::protocol::ProtocolRange;
use crate::messages::{
    Change, Changes, ChangesRequest, DeviceReply, DeviceRequest, ForwardedHeartbeat, PendingCommand, SignedCommand, SocketPush, SocketRef,
};

/// Every field set, so that none can change unnoticed.
fn full(recording: &Recording) -> (DeviceId, NodeId, Arc<LastStatus>, DeviceView) {
    let at = |second: i64| chrono::DateTime::from_timestamp(1_795_275_000 + second, 0).unwrap();
    let id = DeviceId(uuid::Uuid::from_u128(7));
    let text = |text: &str| Some(text.to_owned());
    let unusable = Unusable { field: "battery.pct".into(), value: "-1".into(), problem: "outside 0..100".into(), since: at(-60) };
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
        supported_abis: if recording.has_edition(7) { text("arm64-v8a,armeabi-v7a") } else { None },
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
        cpu_load_pct: recording.has_edition(3).then_some(37),
        location_lat: recording.has_edition(4).then_some(52.520_008),
        location_lon: recording.has_edition(4).then_some(13.404_954),
        location_accuracy_m: recording.has_edition(4).then_some(12.5),
        location_at: recording.has_edition(4).then(|| at(1)),
        self_heal_hints: text("{}"),
        apps: vec![WatchedApp { package: "a.b".into(), installed: Some(true), version_name: text("3"), version_code: Some(321) }],
        unusable: if recording.has_edition(6) { vec![unusable] } else { vec![] },
    };
    let status = Arc::new(LastStatus { bucket_at: at(0), received_at: at(3), device_time: Some(at(2)), clock_rejected: false, telemetry });
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
        channels: Channels { socket: true, push: false },
        conflict_at: recording.has_edition(8).then(|| at(4)),
        ghost: recording.has_edition(8),
        open_alerts: if recording.has_edition(10) { RuleSet::named(["low_battery", "app_down"]) } else { RuleSet::EMPTY },
    };
    (id, NodeId(uuid::Uuid::from_u128(9)), status, view)
}

/// The bytes of a message, and whether bytes read as that message.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    reads: ReadsAs,
}

/// An error with what was read instead.
type ReadsAs = Box<dyn Fn(&[u8]) -> Result<(), String>>;

fn sample<T: Message + Debug + PartialEq + 'static>(format: Format, name: &'static str, message: T) -> Sample {
    let bytes = encode(format, &message).unwrap();
    let reads = move |bytes: &[u8]| match decode::<T>(format, bytes) {
        Ok(read) if read == message => Ok(()),
        read => Err(format!("{read:?}")),
    };
    Sample { name, bytes, reads: Box::new(reads) }
}

/// Every message, with every variant and every field that a recording has.
fn messages(recording: &Recording) -> Vec<Sample> {
    let format = recording.format;
    let (device, node, status, view) = full(recording);
    let time = chrono::DateTime::from_timestamp(1_795_275_000, 0).unwrap();
    let socket = SocketRef { node, socket: 5 };
    let trace = recording.has_edition(13).then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let item =
        ForwardedHeartbeat { device, status, generation: 2, fcm_token: Some("t".into()), socket: Some(socket), trace: trace.clone() };
    let pending = PendingCommand {
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
    let requests = [
        DeviceRequest::CheckCredentials { generation: 2 },
        DeviceRequest::View,
        DeviceRequest::SocketOpened { generation: 2, socket },
        DeviceRequest::AccessChanged { generation: 3, deleted: true },
        DeviceRequest::Command(Box::new(pending)),
        DeviceRequest::CommandUpdated { id: CommandId(device.0), finished: true, succeeded: recording.has_edition(11).then_some(true) },
        DeviceRequest::SocketClosed { socket },
    ];
    let refusals = [
        Refusal::NotOwner,
        Refusal::Unauthorized,
        Refusal::DeviceDeleted,
        Refusal::NotFound,
        Refusal::Overloaded,
        Refusal::Unavailable,
        Refusal::Internal,
    ];
    let mut outcomes = vec![
        ForwardOutcome::Stored(Epoch(7)),
        ForwardOutcome::Repeat(Epoch(7)),
        ForwardOutcome::WithCommands { stored: true, epoch: Epoch(7), commands: vec![signed.clone()] },
    ];
    outcomes.extend(refusals.map(ForwardOutcome::Refused));
    let pushes = [SocketPush::Replaced, SocketPush::Revoked, SocketPush::Command(Box::new(signed))];
    let changes = Changes {
        log: 1,
        last: 2,
        more: true,
        changes: vec![Change { device, epoch: Epoch(7), view: Some(view.clone()) }, Change { device, epoch: Epoch(7), view: None }],
        heartbeats_per_second: 1.5,
        enrollment_revision: 3,
    };
    let reconciler = ReconcilerStatus {
        name: "partitions".into(),
        per_cluster: true,
        runs: 9,
        failures_in_a_row: 1,
        last_run_at: Some(time),
        duration_ms: 12,
        changed: 3,
        last_error: Some("e".into()),
        running_since: recording.has_edition(5).then_some(time),
    };
    let reconcilers = if recording.has_edition(2) { vec![reconciler] } else { vec![] };
    let pool = PoolFigures { pool: "downloads".into(), capacity: 64, in_use: 3, waiting: 2, refused: 1 };
    let pools = if recording.has_edition(9) { vec![pool] } else { vec![] };
    let figures =
        ConnectionFigures { capacity: 16, open: 4, in_use: 3, waiting: 2, wait_avg_ms: 1.5, wait_max_ms: 2.5, timed_out: 1, given_up: 2 };
    let stats = NodeStats {
        devices: 1,
        heartbeats_per_second: 1.5,
        in_flight: 2,
        agent_sockets: 3,
        open_commands: 4,
        reconcilers,
        pools,
        connections: recording.has_edition(12).then_some(figures),
    };
    let words = (
        vec![Connectivity::Online, Connectivity::Offline, Connectivity::NeverSeen],
        (
            vec![AppStatus::Up, AppStatus::Down, AppStatus::Unknown],
            vec![Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::None, Transport::Other],
        ),
    );
    vec![
        sample(format, "spoken", ProtocolRange { min: 2, max: 3 }),
        sample(format, "stats", stats),
        sample(format, "refusals", refusals.to_vec()),
        sample(format, "heartbeats", Heartbeats { from: node, batch: 1, items: vec![item] }),
        sample(format, "taken", HeartbeatsReceived { not_owned: vec![1] }),
        sample(format, "outcomes", HeartbeatOutcomes { batch: 1, outcomes: (0..).zip(outcomes).collect() }),
        sample(format, "calls", requests.map(|request| DeviceCall { device, request, trace: trace.clone() }).to_vec()),
        // Protocol 3 has the ways to a device in the change log only.
        sample(
            format,
            "replies",
            vec![
                DeviceReply::Done,
                DeviceReply::View(Box::new(match format {
                    Format::Numbered => view,
                    Format::Positional => DeviceView { channels: Channels::default(), ..view },
                })),
            ],
        ),
        sample(format, "pushes", pushes.map(|push| SocketMessage { socket: 5, push }).to_vec()),
        sample(format, "changes_wanted", ChangesRequest { log: 1, after: 2 }),
        Sample {
            name: "changes",
            bytes: encode_changes(format, &changes).unwrap(),
            reads: Box::new(move |bytes| match decode_changes(format, bytes) {
                Ok(read) if read == changes => Ok(()),
                read => Err(format!("{read:?}")),
            }),
        },
        sample(format, "words", words),
    ]
}

/// Bytes that earlier builds wrote.
struct Recording {
    name: &'static str,
    format: Format,
    /// Counts the recordings of a protocol.
    edition: u32,
    text: &'static str,
}

impl Recording {
    /// Whether it has what came with this edition of protocol 4.
    fn has_edition(&self, edition: u32) -> bool {
        self.format == Format::Numbered && self.edition >= edition
    }

    fn bytes(&self) -> BTreeMap<&str, Vec<u8>> {
        self.text.lines().filter_map(|line| line.split_once(' ')).map(|(name, bytes)| (name, hex::decode(bytes).unwrap())).collect()
    }

    /// Bytes that this build would record.
    fn anew(&self) -> String {
        messages(self).iter().map(|sample| format!("{} {}\n", sample.name, hex::encode(&sample.bytes))).collect()
    }
}

/// Every recording, the newest of each protocol last.
const RECORDINGS: [Recording; 14] = [
    Recording { name: "3-1", format: Format::Positional, edition: 1, text: include_str!("recorded/3-1.txt") },
    Recording { name: "4-1", format: Format::Numbered, edition: 1, text: include_str!("recorded/4-1.txt") },
    Recording { name: "4-2", format: Format::Numbered, edition: 2, text: include_str!("recorded/4-2.txt") },
    Recording { name: "4-3", format: Format::Numbered, edition: 3, text: include_str!("recorded/4-3.txt") },
    Recording { name: "4-4", format: Format::Numbered, edition: 4, text: include_str!("recorded/4-4.txt") },
    Recording { name: "4-5", format: Format::Numbered, edition: 5, text: include_str!("recorded/4-5.txt") },
    Recording { name: "4-6", format: Format::Numbered, edition: 6, text: include_str!("recorded/4-6.txt") },
    Recording { name: "4-7", format: Format::Numbered, edition: 7, text: include_str!("recorded/4-7.txt") },
    Recording { name: "4-8", format: Format::Numbered, edition: 8, text: include_str!("recorded/4-8.txt") },
    Recording { name: "4-9", format: Format::Numbered, edition: 9, text: include_str!("recorded/4-9.txt") },
    Recording { name: "4-10", format: Format::Numbered, edition: 10, text: include_str!("recorded/4-10.txt") },
    Recording { name: "4-11", format: Format::Numbered, edition: 11, text: include_str!("recorded/4-11.txt") },
    Recording { name: "4-12", format: Format::Numbered, edition: 12, text: include_str!("recorded/4-12.txt") },
    Recording { name: "4-13", format: Format::Numbered, edition: 13, text: include_str!("recorded/4-13.txt") },
];

#[test]
fn the_bytes_of_builds_before_are_understood() {
    for recording in &RECORDINGS {
        let (name, recorded, samples) = (recording.name, recording.bytes(), messages(recording));
        assert_eq!(recorded.len(), samples.len(), "recording {name} lacks a message; this build writes\n{}", recording.anew());
        for sample in samples {
            let bytes = &recorded[sample.name];
            (sample.reads)(bytes).unwrap_or_else(|read| panic!("recording {name}: {} reads as {read}", sample.name));
        }
    }
}

/// Protocol 3 does not change any more; the newest recording of protocol 4 is what this build writes.
#[test]
fn what_this_build_writes_is_recorded() {
    for format in [Format::Positional, Format::Numbered] {
        let recording = RECORDINGS.iter().rfind(|recording| recording.format == format).unwrap();
        let (name, recorded) = (recording.name, recording.bytes());
        for sample in messages(recording) {
            let known = recorded.get(sample.name) == Some(&sample.bytes);
            assert!(known, "{} differs from recording {name}; this build writes\n{}", sample.name, recording.anew());
        }
    }
}

/// Prints what this build would record, for a new edition.
#[test]
#[ignore = "prints only"]
fn print_recordings() {
    for recording in &RECORDINGS {
        println!("== {}\n{}", recording.name, recording.anew());
    }
}
