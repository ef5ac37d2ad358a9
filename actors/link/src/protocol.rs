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
//! | 3 | 0.1 | Values by their position |
//! | 4 | 0.1 | Numbered fields ([`super::codec`]): what is added or left out needs no protocol of its own any more |
//!
//! This build reads and writes both; `cluster.protocol_max` keeps it at an older one.

use ractor::BytesConvertable;

use super::codec::{self, BadBody, Format, Message};

/// Oldest protocol that this build speaks.
pub const PROTOCOL_MIN: u16 = 3;
/// Newest protocol that this build speaks.
pub const PROTOCOL_MAX: u16 = 4;

/// The protocol for a peer that speaks those from `min` to `max`, when this node speaks none above `own_max`; `None` when there
/// is none in common.
pub fn negotiated(own_max: u16, (min, max): (i32, i32)) -> Option<u16> {
    let newest = max.min(i32::from(own_max));
    (newest >= min.max(i32::from(PROTOCOL_MIN))).then_some(newest as u16)
}

/// The format of the bodies of a protocol.
pub(crate) fn format_of(protocol: u16) -> Format {
    if protocol < 4 { Format::Positional } else { Format::Numbered }
}

/// Kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// [`super::message::NodeStats`], answered with the same of the other node.
    Ping = 1,
    /// [`super::message::Heartbeats`], answered with [`super::message::HeartbeatsReceived`].
    Heartbeats = 2,
    /// [`super::message::HeartbeatOutcomes`]; no answer.
    Outcomes = 3,
    /// [`super::message::DeviceCall`], answered with a [`crate::messages::DeviceReply`].
    Device = 4,
    /// [`super::message::SocketMessage`]; no answer.
    SocketPush = 5,
    /// [`crate::messages::ChangesRequest`], answered with [`crate::messages::Changes`].
    Changes = 6,
    /// An answer.
    Answer = 100,
    /// A [`super::message::Refusal`].
    Refused = 101,
    /// A kind or protocol that is not spoken here: [`ProtocolRange`].
    Unsupported = 102,
    /// A body that does not read.
    Malformed = 103,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Ping,
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

    pub(crate) fn parse(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// The protocols that a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProtocolRange {
    pub(crate) min: u32,
    pub(crate) max: u32,
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

    /// Envelope with this body.
    pub(crate) fn of<T: Message>(protocol: u16, kind: Kind, body: &T) -> Result<Self, BadBody> {
        Ok(Self::new(protocol, kind, codec::encode(format_of(protocol), body)?))
    }

    /// The body as a message.
    pub(crate) fn message<T: Message>(&self) -> Result<T, BadBody> {
        codec::decode(format_of(self.protocol), &self.body)
    }

    /// The answer to what this node does not speak.
    pub(crate) fn unsupported(protocol: u16) -> Self {
        let spoken = ProtocolRange { min: PROTOCOL_MIN.into(), max: PROTOCOL_MAX.into() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_trip_and_a_stump_is_no_envelope() {
        let envelope = Envelope::new(2, Kind::Device, vec![1, 2, 3]);
        assert_eq!(Envelope::from_bytes(envelope.clone().into_bytes()), envelope);
        assert_eq!(Envelope::from_bytes(vec![0, 1, 2]).kind, Kind::Malformed as u16);
        assert!(Kind::ALL.iter().all(|kind| Kind::parse(*kind as u16) == Some(*kind)));
        assert_eq!(Kind::parse(99), None);
    }

    #[test]
    fn the_newest_protocol_in_common_is_spoken() {
        let newest = i32::from(PROTOCOL_MAX);
        for (own_max, theirs, spoken) in [
            (PROTOCOL_MAX, (1, 3), Some(3)),
            (PROTOCOL_MAX, (1, 2), None),
            (PROTOCOL_MAX, (1, newest + 1), Some(PROTOCOL_MAX)),
            (PROTOCOL_MAX, (newest + 1, newest + 3), None),
            (PROTOCOL_MAX, (-3, 0), None),
            (3, (3, newest), Some(3)),
            (3, (newest, newest), None),
        ] {
            assert_eq!(negotiated(own_max, theirs), spoken, "{own_max} and {theirs:?}");
        }
    }
}
