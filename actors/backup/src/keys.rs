//! Keys of the cluster.

use secrecy::SecretString;

/// Names of the keys: of commands and devices, of access tokens, of the link between nodes.
pub const KEY_NAMES: [&str; 3] = ["master", "jwt", "cluster"];

/// Longest text of a key.
pub(crate) const KEY_MAX_BYTES: u64 = 4096;

/// A key, as hex.
#[derive(Debug, Clone)]
pub struct Key {
    /// One of [`KEY_NAMES`].
    pub name: &'static str,
    /// The key.
    pub hex: SecretString,
}
