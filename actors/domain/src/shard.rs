//! Shards: the 256 parts of the fleet and of the deployments, by a hash of the id.

use sha2::{Digest, Sha256};

use uuid::Uuid;

use crate::{DeploymentId, DeviceId};

/// Number of shards; fixed for the life of a cluster.
pub const SHARD_COUNT: u16 = 256;

/// Number of a claim of a shard. Every write of an owner names its epoch, so that a former owner
/// can be told from the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Epoch(pub i64);

/// Id of a shard, 0..255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ShardId(pub u16);

/// An owner's right to a shard: void as soon as the shard is claimed under a later epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardLease {
    /// Shard that is owned.
    pub shard: ShardId,
    /// Epoch of the claim.
    pub epoch: Epoch,
}

impl ShardId {
    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARD_COUNT).map(Self)
    }
}

/// `u32_be(sha256(device_id)[4..8]) % 256`, over the lower-case hyphenated text of the id.
pub fn shard_of(device_id: DeviceId) -> ShardId {
    shard_of_id(device_id.0)
}

/// A deployment is placed as a device is, by its own id.
pub fn shard_of_deployment(id: DeploymentId) -> ShardId {
    shard_of_id(id.0)
}

/// The shard of work that runs once per cluster, by its name.
pub fn shard_of_name(name: &str) -> ShardId {
    shard_of_text(name)
}

fn shard_of_id(id: Uuid) -> ShardId {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    shard_of_text(id.hyphenated().encode_lower(&mut text))
}

fn shard_of_text(text: &str) -> ShardId {
    let digest = Sha256::digest(text);
    let word = u32::from_be_bytes([digest[4], digest[5], digest[6], digest[7]]);
    ShardId((word % u32::from(SHARD_COUNT)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_id_has_a_known_shard() {
        // printf 00000000-0000-0000-0000-000000000000 | sha256sum -> 12b9377c bbe7e5c9 ...
        let id = DeviceId(uuid::Uuid::nil());
        let digest = Sha256::digest("00000000-0000-0000-0000-000000000000");
        assert_eq!(shard_of(id).0, u16::from(digest[7]));
    }

    #[test]
    fn shards_fill_evenly() {
        let mut filled = [0u32; SHARD_COUNT as usize];
        for n in 0..100_000u128 {
            filled[shard_of(DeviceId(uuid::Uuid::from_u128(n))).0 as usize] += 1;
        }
        let (low, high) = (filled.iter().min().unwrap(), filled.iter().max().unwrap());
        assert!(*low > 290 && *high < 500, "{low}..{high} around 390");
    }
}
