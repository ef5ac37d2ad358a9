//! The only module that calls bincode: message bodies to bytes and back, with a limit.
//!
//! bincode 2 is no longer developed (RUSTSEC-2025-0141, see deny.toml); what replaces it one day
//! replaces this module.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest body of a message, in bytes. What is read may not claim to need more either.
pub(crate) const BODY_MAX_BYTES: usize = 256 * 1024;

/// Bytes that are no message of the kind they claim to be, or a message that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable or larger than {BODY_MAX_BYTES} bytes")]
pub(crate) struct BadBody;

/// The bytes of a message.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, BadBody> {
    let bytes = bincode::serde::encode_to_vec(message, bincode::config::standard()).map_err(|_| BadBody)?;
    if bytes.len() > BODY_MAX_BYTES { Err(BadBody) } else { Ok(bytes) }
}

/// The message of some bytes; all of them have to be used.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadBody> {
    let limited = bincode::config::standard().with_limit::<{ 4 * BODY_MAX_BYTES }>();
    match bincode::serde::decode_from_slice(bytes, limited) {
        Ok((message, read)) if read == bytes.len() && bytes.len() <= BODY_MAX_BYTES => Ok(message),
        _ => Err(BadBody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_cut_short_or_followed_by_more_is_refused() {
        let bytes = encode(&("kiosk", 7u32, vec![1u8, 2, 3])).unwrap();
        assert_eq!(decode::<(String, u32, Vec<u8>)>(&bytes).unwrap().0, "kiosk");
        for cut in 0..bytes.len() {
            assert_eq!(decode::<(String, u32, Vec<u8>)>(&bytes[..cut]), Err(BadBody), "{cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode::<(String, u32, Vec<u8>)>(&longer), Err(BadBody));
        assert_eq!(encode(&vec![0u8; BODY_MAX_BYTES + 1]), Err(BadBody));
    }

    proptest! {
        /// Lengths that claim gigabytes allocate nothing.
        #[test]
        fn garbage_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<super::super::message::Heartbeats>(&bytes);
            let _ = decode::<crate::messages::Changes>(&bytes);
            let _ = decode::<crate::messages::DeviceRequest>(&bytes);
        }
    }
}
