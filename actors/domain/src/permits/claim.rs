//! What a permit is asked for as.

use std::net::IpAddr;

use super::class::Class;
use super::limit::Limit;
use crate::access::Principal;
use crate::rate::counted_as;
use crate::{ApiTokenId, DeviceId, UserId};

/// Key under which a caller's permits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A device.
    Device(DeviceId),
    /// An account.
    User(UserId),
    /// An API token.
    ApiToken(ApiTokenId),
    /// A download link, by the digest of its signature.
    Link([u8; 32]),
    /// An address, or the /64 network of an IPv6 one.
    Address(IpAddr),
}

/// What a permit is asked for as: the class, and the keys that it counts under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Class of the caller.
    pub class: Class,
    /// Device, account or API token.
    pub principal: Option<Key>,
    /// Account of an API token: its tokens together have no more than one account.
    pub owner: Option<Key>,
    /// Download link.
    pub link: Option<Key>,
    /// Address.
    pub address: Option<Key>,
    /// How much later than it came it is served, among those of its class that wait, milliseconds.
    pub delay_ms: u64,
}

impl Claim {
    /// A claim of a class that counts under no key.
    pub fn new(class: Class) -> Self {
        Self { class, principal: None, owner: None, link: None, address: None, delay_ms: 0 }
    }

    /// The claim of a person, script or the server itself.
    pub fn of(principal: &Principal) -> Self {
        let key = match principal {
            Principal::User { user_id, .. } => Some(Key::User(*user_id)),
            Principal::Token { token_id, .. } => Some(Key::ApiToken(*token_id)),
            Principal::Console { .. } | Principal::System { .. } => None,
        };
        let owner = match principal {
            Principal::Token { user_id, .. } => Some(Key::User(*user_id)),
            _ => None,
        };
        Self { principal: key, owner, ..Self::new(Class::of(principal)) }.from_address(principal.origin().address)
    }

    /// The claim of a device.
    pub fn device(class: Class, device: DeviceId, address: Option<IpAddr>) -> Self {
        Self { principal: Some(Key::Device(device)), ..Self::new(class) }.from_address(address)
    }

    /// Counted under an address as well, where there is one.
    #[must_use]
    pub fn from_address(self, address: Option<IpAddr>) -> Self {
        Self { address: address.map(|address| Key::Address(counted_as(address))), ..self }
    }

    /// The keys, each with the limit that it is held to.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Key, Limit)> {
        let keys =
            [(self.principal, Limit::Principal), (self.owner, Limit::Principal), (self.link, Limit::Link), (self.address, Limit::Address)];
        keys.into_iter().filter_map(|(key, limit)| Some((key?, limit)))
    }
}
