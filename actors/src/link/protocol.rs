//! The envelope of every message between nodes, and which versions of its bodies are spoken.
//!
//! ```text
//! 0..2   protocol of the body, big-endian
//! 2..4   kind
//! 4..    body
//! ```
//! A kind or version that a node does not know is refused by name, never by silence: the library
//! below drops what it cannot read, and the caller would wait out its timeout.
//!
//! | Protocol | Since | Difference |
//! |---|---|---|
//! | 1 | 0.1 | |
//! | 2 | 0.1 | [`super::message::NodeVitals`] tells `agent_sockets` |
//! | 3 | 0.1 | Commands travel; `NodeVitals` tells `open_commands`; beside [`crate::messages::Changes`] stand [`super::message::Reaches`] |
//!
//! This build reads and writes protocols 2 and 3.

use ractor::BytesConvertable;
use serde::{Deserialize, Serialize};

use super::codec::{self, BadBody};
use super::message::NodeVitals;

/// Oldest protocol that this build speaks.
pub const PROTOCOL_MIN: u16 = 2;
/// Newest protocol that this build speaks.
#[cfg(not(feature = "previous-protocol"))]
pub const PROTOCOL_MAX: u16 = 3;
/// Newest protocol that this build speaks: one behind, to try a rolling upgrade.
#[cfg(feature = "previous-protocol")]
pub const PROTOCOL_MAX: u16 = 2;
/// The protocol since which commands and ways to devices travel.
pub(crate) const WITH_COMMANDS: u16 = 3;

/// The protocol for a peer that speaks those from `min` to `max`; `None` when there is none in common.
pub fn negotiated(min: i32, max: i32) -> Option<u16> {
    let newest = max.min(i32::from(PROTOCOL_MAX));
    (newest >= min.max(i32::from(PROTOCOL_MIN))).then_some(newest as u16)
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// [`NodeVitals`], answered with the same of the other node.
    Vitals = 1,
    /// [`super::message::Heartbeats`], answered with [`super::message::HeartbeatsTaken`].
    Heartbeats = 2,
    /// [`super::message::HeartbeatOutcomes`]; no answer.
    Outcomes = 3,
    /// A device id and a [`crate::messages::DeviceRequest`], answered with a [`crate::messages::DeviceReply`].
    Device = 4,
    /// A socket's number and a [`crate::messages::SocketPush`]; no answer.
    SocketPush = 5,
    /// [`crate::messages::ChangesWanted`], answered with [`crate::messages::Changes`].
    Changes = 6,
    /// An answer.
    Answer = 100,
    /// A [`super::message::Refusal`].
    Refused = 101,
    /// A kind or protocol that is not spoken here: [`Spoken`].
    Unsupported = 102,
    /// A body that does not read.
    Malformed = 103,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Vitals,
        Self::Heartbeats,
        Self::Outcomes,
        Self::Device,
        Self::SocketPush,
        Self::Changes,
        Self::Answer,
        Self::Refused,
        Self::Unsupported,
        Self::Malformed,
    ];

    pub(crate) fn read(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// The protocols that a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spoken {
    pub(crate) min: u16,
    pub(crate) max: u16,
}

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Protocol of the body.
    pub(crate) protocol: u16,
    /// Number of the kind; it may be one that this build does not know.
    pub(crate) kind: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

const HEAD_BYTES: usize = 4;

impl Envelope {
    pub(crate) fn new(protocol: u16, kind: Kind, body: Vec<u8>) -> Self {
        Self { protocol, kind: kind as u16, body }
    }

    /// One with a body that is the same in every protocol.
    pub(crate) fn of<T: Serialize>(protocol: u16, kind: Kind, body: &T) -> Result<Self, BadBody> {
        Ok(Self::new(protocol, kind, codec::encode(body)?))
    }

    /// The answer to what this node does not speak.
    pub(crate) fn unsupported(protocol: u16) -> Self {
        let spoken = Spoken { min: PROTOCOL_MIN, max: PROTOCOL_MAX };
        Self::of(protocol, Kind::Unsupported, &spoken).unwrap_or_else(|_| Self::new(protocol, Kind::Unsupported, vec![]))
    }
}

impl BytesConvertable for Envelope {
    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.body.len());
        bytes.extend(self.protocol.to_be_bytes());
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.body);
        bytes
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        match bytes.split_first_chunk::<HEAD_BYTES>() {
            Some(([p0, p1, k0, k1], body)) => {
                Self { protocol: u16::from_be_bytes([*p0, *p1]), kind: u16::from_be_bytes([*k0, *k1]), body: body.to_vec() }
            }
            None => Self::new(0, Kind::Malformed, vec![]),
        }
    }
}

/// [`NodeVitals`] as protocol 2 has them.
#[cfg(not(feature = "previous-protocol"))]
#[derive(Serialize, Deserialize)]
struct NodeVitals2 {
    devices: u64,
    heartbeats_per_second: f64,
    in_flight: u64,
    agent_sockets: u64,
}

/// Writes vitals as `protocol` has them.
pub(crate) fn encode_vitals(protocol: u16, vitals: &NodeVitals) -> Result<Vec<u8>, BadBody> {
    #[cfg(not(feature = "previous-protocol"))]
    if protocol < 3 {
        let NodeVitals { devices, heartbeats_per_second, in_flight, agent_sockets, .. } = *vitals;
        return codec::encode(&NodeVitals2 { devices, heartbeats_per_second, in_flight, agent_sockets });
    }
    let _ = protocol;
    codec::encode(vitals)
}

/// Reads vitals as `protocol` has them; what it lacks is 0.
pub(crate) fn decode_vitals(protocol: u16, bytes: &[u8]) -> Result<NodeVitals, BadBody> {
    #[cfg(not(feature = "previous-protocol"))]
    if protocol < 3 {
        let NodeVitals2 { devices, heartbeats_per_second, in_flight, agent_sockets } = codec::decode(bytes)?;
        return Ok(NodeVitals { devices, heartbeats_per_second, in_flight, agent_sockets, ..NodeVitals::default() });
    }
    let _ = protocol;
    codec::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_trip_and_a_stump_is_no_envelope() {
        let envelope = Envelope::new(2, Kind::Device, vec![1, 2, 3]);
        assert_eq!(Envelope::from_bytes(envelope.clone().into_bytes()), envelope);
        assert_eq!(Envelope::from_bytes(vec![0, 1, 2]).kind, Kind::Malformed as u16);
        assert!(Kind::ALL.iter().all(|kind| Kind::read(*kind as u16) == Some(*kind)));
        assert_eq!(Kind::read(99), None);
    }

    #[test]
    fn the_newest_protocol_in_common_is_spoken() {
        assert_eq!(negotiated(1, 2), Some(2));
        assert_eq!(negotiated(1, 1), None);
        assert_eq!(negotiated(1, i32::from(PROTOCOL_MAX) + 1), Some(PROTOCOL_MAX));
        assert_eq!(negotiated(i32::from(PROTOCOL_MAX) + 1, i32::from(PROTOCOL_MAX) + 3), None);
        assert_eq!(negotiated(-3, 0), None);
    }

    #[cfg(not(feature = "previous-protocol"))]
    #[test]
    fn vitals_are_read_and_written_one_version_back() {
        let vitals = NodeVitals { devices: 7, heartbeats_per_second: 1.5, in_flight: 3, agent_sockets: 9, open_commands: 4 };
        let read = |protocol| decode_vitals(protocol, &encode_vitals(protocol, &vitals).unwrap()).unwrap();
        assert_eq!(read(3), vitals);
        assert_eq!(read(2), NodeVitals { open_commands: 0, ..vitals });
        assert_eq!(decode_vitals(3, &encode_vitals(2, &vitals).unwrap()), Err(BadBody), "the versions differ");
    }
}
