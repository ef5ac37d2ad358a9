//! Message bodies to bytes and back, with a limit, in the format of the protocol that is spoken.
//!
//! ```text
//! message = field* 0          field = number  length  value       (numbers and lengths: varints)
//! enum    = number  field* 0  list  = count  value*               (an optional value: 0, or 1 and the value)
//! ```
//! A field that the reader does not know is skipped, one that the writer did not send reads as its default: so a field can
//! be added without a new protocol. Numbers stand in [`super::schema`] and are never used again. Protocol 3 wrote the same
//! values by their position instead; it is still read and written.

mod leaf;
pub(super) mod message;

pub(super) use message::{Message, message_enum, message_struct};
use message::{Reader, Writer};

/// Largest body of a message, in bytes.
pub(crate) const BODY_MAX_BYTES: usize = 256 * 1024;

/// Bytes that are no message of the kind they claim to be, or a message that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable or larger than {BODY_MAX_BYTES} bytes")]
pub(crate) struct BadBody;

/// Encoding of the values of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each after its number and length.
    Numbered,
    /// One after the other: protocol 3.
    Positional,
}

/// The bytes of a message.
pub(crate) fn encode<T: Message>(format: Format, message: &T) -> Result<Vec<u8>, BadBody> {
    let mut out = Writer::new(format);
    message.write(&mut out);
    let bytes = out.into_bytes();
    if bytes.len() > BODY_MAX_BYTES { Err(BadBody) } else { Ok(bytes) }
}

/// The message of some bytes; all of them have to be used.
pub(crate) fn decode<T: Message>(format: Format, bytes: &[u8]) -> Result<T, BadBody> {
    if bytes.len() > BODY_MAX_BYTES {
        return Err(BadBody);
    }
    Reader::new(format, bytes).whole()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Older {
        name: String,
        count: u32,
        places: Vec<u32>,
    }
    message_struct!(Older { 1: name, 2: count, 3: places });

    #[derive(Debug, Clone, PartialEq)]
    enum Kind {
        Plain,
        Named { name: String },
        Boxed(Box<Older>),
    }
    message_enum!(Kind { 0: Plain, 1: Named { 1: name }, 2: Boxed(1: older) });

    /// [`Older`] as a later build declares it.
    #[derive(Debug, Clone, PartialEq)]
    struct Newer {
        name: String,
        count: u32,
        places: Vec<u32>,
        kind: Option<Kind>,
        deep: Vec<Older>,
        share: f64,
    }
    message_struct!(Newer { 1: name, 2: count, 3: places; 4: kind, 5: deep, 6: share });

    fn older() -> Older {
        Older { name: "kiosk".into(), count: 7, places: vec![1, 300, 70_000] }
    }

    fn newer(kind: Option<Kind>) -> Newer {
        let Older { name, count, places } = older();
        Newer { name, count, places, kind, deep: vec![older(); 40], share: 0.5 }
    }

    #[test]
    fn a_message_survives_the_trip_in_both_formats() {
        for format in [Format::Numbered, Format::Positional] {
            for kind in [Kind::Plain, Kind::Named { name: "n".repeat(400) }, Kind::Boxed(Box::new(older()))] {
                assert_eq!(decode(format, &encode(format, &kind).unwrap()), Ok(kind));
            }
        }
        for kind in [None, Some(Kind::Plain), Some(Kind::Boxed(Box::new(older())))] {
            let message = newer(kind);
            assert_eq!(decode(Format::Numbered, &encode(Format::Numbered, &message).unwrap()), Ok(message));
        }
    }

    #[test]
    fn a_field_can_be_added_and_taken_away_again() {
        let bytes = encode(Format::Numbered, &newer(Some(Kind::Plain))).unwrap();
        assert_eq!(decode(Format::Numbered, &bytes), Ok(older()), "an older reader skips what it does not know");
        let bytes = encode(Format::Numbered, &older()).unwrap();
        let Older { name, count, places } = older();
        let read = Newer { name, count, places, kind: None, deep: vec![], share: 0.0 };
        assert_eq!(decode(Format::Numbered, &bytes), Ok(read), "a newer reader takes the default of what is missing");
        let bytes = encode(Format::Positional, &newer(Some(Kind::Plain))).unwrap();
        assert_eq!(bytes, encode(Format::Positional, &older()).unwrap(), "what was added is not a part of protocol 3");
    }

    #[test]
    fn what_is_cut_short_followed_by_more_or_lacks_an_identity_is_refused() {
        for format in [Format::Numbered, Format::Positional] {
            let bytes = encode(format, &older()).unwrap();
            for cut in 0..bytes.len() {
                assert_eq!(decode::<Older>(format, &bytes[..cut]), Err(BadBody), "{format:?}, {cut}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(decode::<Older>(format, &longer), Err(BadBody));
            assert_eq!(encode(format, &vec![0u32; BODY_MAX_BYTES + 1]), Err(BadBody));
        }
        assert_eq!(decode::<Older>(Format::Numbered, &[0]), Err(BadBody), "there is no default name");
        assert_eq!(decode::<Kind>(Format::Numbered, &[9, 0]), Err(BadBody), "there is no such variant");
    }

    proptest! {
        /// Lengths that claim gigabytes allocate nothing.
        #[test]
        fn garbage_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in [Format::Numbered, Format::Positional] {
                let _ = decode::<super::super::message::Heartbeats>(format, &bytes);
                let _ = decode::<crate::messages::Changes>(format, &bytes);
                let _ = decode::<crate::messages::DeviceRequest>(format, &bytes);
            }
        }

        #[test]
        fn every_message_survives_the_trip(
            name in ".{0,300}", count: u32, places in proptest::collection::vec(any::<u32>(), 0..300), share in -1e9..1e9
        ) {
            let deep = Older { name: name.clone(), count, places: places.clone() };
            let kind = Some(Kind::Boxed(Box::new(deep.clone())));
            let message = Newer { name, count, places, kind, deep: vec![deep], share };
            prop_assert_eq!(decode(Format::Numbered, &encode(Format::Numbered, &message).unwrap()), Ok(message));
        }
    }
}
