//! Field numbers of every message between nodes.
//!
//! A number is never used again for something else (those of readings are in `domain`'s telemetry table). A new field gets the next number, after the `;` that ends the fields of
//! protocol 3, and a type with a default ([`Message::absent`](super::codec::Message::absent)): nodes of other builds skip it, or read its default.
//! A message with a new variant is refused as malformed by nodes that do not know it. Recorded bytes hold all of that: [`super::recorded`].

use domain::command::Channels;
use domain::connections::ConnectionFigures;
use domain::device::{AppStatus, Connectivity, DeviceIdentity, DeviceView, LastStatus};
use domain::heartbeat::{Telemetry, Transport, WatchedApp};
use domain::permits::PoolFigures;
use domain::reconcile::ReconcilerStatus;
use domain::telemetry;
use domain::telemetry::Unusable;

use super::codec::{BadBody, Message, message, message_enum, message_struct};
use super::message::{DeviceCall, ForwardOutcome, HeartbeatOutcomes, Heartbeats, HeartbeatsReceived, NodeStats, Refusal, SocketMessage};
use super::protocol::ProtocolRange;
use crate::messages::{
    Change, Changes, ChangesRequest, DeviceReply, DeviceRequest, ForwardedHeartbeat, PendingCommand, SignedCommand, SocketPush, SocketRef,
};

// The link itself.
message_struct!(ProtocolRange { 1: min, 2: max });
message_struct!(NodeStats {
    1: devices,
    2: heartbeats_per_second,
    3: in_flight,
    4: agent_sockets,
    5: open_commands;
    6: reconcilers,
    7: pools,
    8: connections
});
message_struct!(ConnectionFigures {
    1: capacity,
    2: open,
    3: in_use,
    4: waiting,
    5: wait_avg_ms,
    6: wait_max_ms,
    7: timed_out,
    8: given_up
});
message_struct!(PoolFigures { 1: pool, 2: capacity, 3: in_use, 4: waiting, 5: refused });
message_struct!(ReconcilerStatus {
    1: name,
    2: per_cluster,
    3: runs,
    4: failures_in_a_row,
    5: last_run_at,
    6: duration_ms,
    7: changed,
    8: last_error;
    9: running_since
});
message_enum!(Refusal { 0: NotOwner, 1: Unauthorized, 2: DeviceDeleted, 3: NotFound, 4: Overloaded, 5: Unavailable, 6: Internal });

// Heartbeats and their outcomes.
message_struct!(Heartbeats { 1: from, 2: batch, 3: items });
message_struct!(ForwardedHeartbeat { 1: device, 2: status, 3: generation, 4: fcm_token, 5: socket; 6: trace });
message_struct!(HeartbeatsReceived { 1: not_owned });
message_struct!(HeartbeatOutcomes { 1: batch, 2: outcomes });
message_enum!(ForwardOutcome {
    0: Stored(1: epoch),
    1: Repeat(1: epoch),
    2: Refused(1: refusal),
    3: WithCommands { 1: stored, 2: epoch, 3: commands },
});

// Requests to devices.
message_struct!(DeviceCall { 1: device, 2: request; 3: trace });
message_enum!(DeviceRequest {
    0: CheckCredentials { 1: generation },
    1: View,
    2: SocketOpened { 1: generation, 2: socket },
    3: AccessChanged { 1: generation, 2: deleted },
    4: Command(1: command),
    5: CommandUpdated { 1: id, 2: finished; 3: succeeded },
    6: SocketClosed { 1: socket },
});
message_enum!(DeviceReply { 0: Done, 1: View(1: view) });
message_struct!(PendingCommand { 1: id, 2: action, 3: params, 4: delivered, 5: release_at, 6: expires_at });
message_struct!(SignedCommand { 1: id, 2: device_id, 3: action, 4: ts, 5: expires_at, 6: params, 7: signature, 8: legacy_hmac });

// Agent sockets.
message_struct!(SocketRef { 1: node, 2: socket });
message_struct!(SocketMessage { 1: socket, 2: push });
message_enum!(SocketPush { 0: Replaced, 1: Revoked, 2: Command(1: command) });

// The change log.
message_struct!(ChangesRequest { 1: log, 2: after });
message_struct!(Changes { 1: log, 2: last, 3: more, 4: changes, 5: heartbeats_per_second, 6: enrollment_revision });
message_struct!(Change { 1: device, 2: epoch, 3: view });

// Devices.
message_struct!(DeviceView { 1: identity, 2: last, 3: last_seen_at, 4: connectivity, 5: app_status; 6: channels, 7: conflict_at, 8: ghost, 9: open_alerts });
message_struct!(DeviceIdentity { 1: id, 2: alias, 3: tags, 4: groups, 5: hardware_id, 6: model, 7: manufacturer, 8: enrolled_at });
message_struct!(LastStatus { 1: bucket_at, 2: received_at, 3: device_time, 4: clock_rejected, 5: telemetry });
message_struct!(Unusable { 1: field, 2: value, 3: problem, 4: since });
message_struct!(WatchedApp { 1: package, 2: installed, 3: version_name, 4: version_code });
message_enum!(Connectivity { 0: Online, 1: Offline, 2: NeverSeen });
message_enum!(AppStatus { 0: Up, 1: Down, 2: Unknown });
message_enum!(Transport { 0: Wifi, 1: Cellular, 2: Ethernet, 3: None, 4: Other });
/// Number of the watched packages, the last field of protocol 3; the others have the numbers of the telemetry table.
const APPS: u16 = 35;
/// Number of the unusable values.
const UNUSABLE: u16 = 41;

macro_rules! telemetry_message {
    ({} $( { $number:literal $field:ident } )*) => {
        impl Message for Telemetry {
            fn write(&self, out: &mut message::Writer) {
                $(if $number < APPS { out.field($number, &self.$field); })*
                out.field(APPS, &self.apps);
                $(if $number > APPS { out.later_field($number, &self.$field); })*
                out.later_field(UNUSABLE, &self.unusable);
                out.end();
            }
            fn read(input: &mut message::Reader<'_>) -> Result<Self, BadBody> {
                let mut telemetry = Self::default();
                if input.is_positional() {
                    $(if $number < APPS { telemetry.$field = Message::read(input)?; })*
                    telemetry.apps = Message::read(input)?;
                } else {
                    while let Some((number, value)) = input.next_field()? {
                        match number {
                            $($number => telemetry.$field = value.whole()?,)*
                            APPS => telemetry.apps = value.whole()?,
                            UNUSABLE => telemetry.unusable = value.whole()?,
                            _ => {}
                        }
                    }
                }
                Ok(telemetry)
            }
        }
    };
}
telemetry! { numbers => telemetry_message {} }

/// Absent in protocol 3, which has it beside the view.
impl Message for Channels {
    fn write(&self, out: &mut message::Writer) {
        (self.socket, self.push).write(out);
    }
    fn read(input: &mut message::Reader<'_>) -> Result<Self, BadBody> {
        let (socket, push) = Message::read(input)?;
        Ok(Self { socket, push })
    }
    fn absent() -> Result<Self, BadBody> {
        Ok(Self::default())
    }
}
