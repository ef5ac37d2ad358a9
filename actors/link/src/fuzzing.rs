//! Bytes of a peer, read as every message that there is: for fuzzers.

use ractor::BytesConvertable;

use crate::codec::{self, Message};
use crate::message::{DeviceCall, HeartbeatOutcomes, Heartbeats, HeartbeatsReceived, NodeStats, Refusal, SocketMessage, decode_changes};
use crate::messages::{Changes, ChangesRequest, DeviceReply, DeviceRequest};
use crate::protocol::{Envelope, Kind, ProtocolRange, format_of};

/// Whether the payload of an envelope decodes as one kind of message.
type Decodes = fn(&Envelope) -> bool;

/// Reads an envelope, its body as each message; the kinds whose message is not the same when it is written and read again.
pub fn unstable_kinds(bytes: &[u8]) -> Vec<&'static str> {
    let envelope = Envelope::from_bytes(bytes.to_vec());
    let _ = Kind::parse(envelope.kind);
    let _ = decode_changes(format_of(envelope.protocol), &envelope.body);
    let kinds: [(&str, Decodes); 12] = [
        ("NodeStats", is_stable::<NodeStats>),
        ("Heartbeats", is_stable::<Heartbeats>),
        ("HeartbeatsReceived", is_stable::<HeartbeatsReceived>),
        ("HeartbeatOutcomes", is_stable::<HeartbeatOutcomes>),
        ("DeviceCall", is_stable::<DeviceCall>),
        ("SocketMessage", is_stable::<SocketMessage>),
        ("Refusal", is_stable::<Refusal>),
        ("ProtocolRange", is_stable::<ProtocolRange>),
        ("DeviceReply", is_stable::<DeviceReply>),
        ("DeviceRequest", is_stable::<DeviceRequest>),
        ("ChangesRequest", is_stable::<ChangesRequest>),
        ("Changes", is_stable::<Changes>),
    ];
    kinds.into_iter().filter(|(_, is_stable)| !is_stable(&envelope)).map(|(kind, _)| kind).collect()
}

fn is_stable<T: Message>(envelope: &Envelope) -> bool {
    let format = format_of(envelope.protocol);
    let Ok(message) = envelope.message::<T>() else { return true };
    // Shorter than it is written, it may have fitted.
    let Ok(written) = codec::encode(format, &message) else { return true };
    let again = codec::decode::<T>(format, &written).and_then(|again| codec::encode(format, &again));
    again.is_ok_and(|again| again == written)
}
