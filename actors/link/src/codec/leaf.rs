//! The only module that calls bincode: single values to bytes and back, the same in every format.
//!
//! bincode 2 is no longer developed (RUSTSEC-2025-0141, see deny.toml); what replaces it one day
//! replaces this module.

use bincode::config::{self, Configuration};
use domain::rule::RuleSet;
use domain::shard::Epoch;
use domain::{CommandId, DeviceId, NodeId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::BadBody;
use super::message::{Message, Reader, Writer};

const CONFIG: Configuration = config::standard();
/// Largest value that is read, in bytes: lengths that claim more are refused before anything is allocated.
const VALUE_MAX_BYTES: usize = super::BODY_MAX_BYTES;

/// Appends a value.
pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let written = bincode::serde::encode_into_std_write(value, out, CONFIG);
    // Only a value whose `Serialize` fails, or a sink that does: neither are these.
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Decodes a value at the front.
pub(super) fn read<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, BadBody> {
    let (value, read) = bincode::serde::decode_from_slice(input, CONFIG.with_limit::<VALUE_MAX_BYTES>()).map_err(|_| BadBody)?;
    *input = input.get(read..).ok_or(BadBody)?;
    Ok(value)
}

macro_rules! leaves {
    ($($type:ty $(= $default:expr)?),+ $(,)?) => {$(
        impl Message for $type {
            fn write(&self, out: &mut Writer) {
                out.leaf(self);
            }
            fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
                input.leaf()
            }
            $(fn absent() -> Result<Self, BadBody> {
                Ok($default)
            })?
        }
    )+};
}

leaves!(bool = false, i16 = 0, i32 = 0, i64 = 0, u32 = 0, u64 = 0, f32 = 0.0, f64 = 0.0);
// Without a default: a message that lacks one is unreadable.
leaves!(String, DeviceId, NodeId, CommandId, Epoch);

/// Names: the numbers of rules are those of a build.
impl Message for RuleSet {
    fn write(&self, out: &mut Writer) {
        out.leaf(&self.names());
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        Ok(Self::named(input.leaf::<Vec<String>>()?))
    }
    fn absent() -> Result<Self, BadBody> {
        Ok(Self::EMPTY)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Microseconds since 1970.
impl Message for Timestamp {
    fn write(&self, out: &mut Writer) {
        out.leaf(&self.timestamp_micros());
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        Self::from_timestamp_micros(input.leaf()?).ok_or(BadBody)
    }
}
