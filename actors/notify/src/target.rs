//! Targets: names are looked up here, and only addresses that may be connected to are handed on. What is judged is thereby what is connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};

use domain::notification::{InwardAddress, inward};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Error in finding an address that may be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// All addresses lead inward; the first says so.
    #[error("the target is {}, which alerts.allow_private_targets does not allow", .0.title())]
    Inward(InwardAddress),
    /// The name has no address.
    #[error("the name of the target has no address")]
    NoAddress,
    /// The name cannot be looked up.
    #[error("the name of the target cannot be looked up")]
    Lookup(#[source] io::Error),
}

/// Looks names up, and judges addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) allow_private: bool,
}

impl Targets {
    /// Refuses an address that leads inward.
    pub(crate) fn judge(self, address: IpAddr) -> Result<(), TargetError> {
        match inward(address) {
            Some(kind) if !self.allow_private => Err(TargetError::Inward(kind)),
            _ => Ok(()),
        }
    }

    /// Addresses among these that may be connected to; the error of the first, if none may.
    fn allowed(self, found: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, TargetError> {
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found {
            match self.judge(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if allowed.is_empty() { Err(refused.unwrap_or(TargetError::NoAddress)) } else { Ok(allowed) }
    }

    /// Addresses of a host that may be connected to.
    pub(crate) async fn look_up(self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.allowed([SocketAddr::new(address, port)]);
        }
        self.allowed(tokio::net::lookup_host((host, port)).await.map_err(TargetError::Lookup)?)
    }
}

impl Resolve for Targets {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = *self;
        Box::pin(async move {
            // The client sets the port.
            let addresses = targets.look_up(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 443)).collect()
    }

    #[test]
    fn a_name_with_several_addresses_leads_to_the_public_ones_alone() {
        let strict = Targets { allow_private: false };
        let allowed = strict.allowed(addresses(&["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1"])).unwrap();
        assert_eq!(allowed, addresses(&["8.8.8.8", "2606:4700::1"]));
        let refused = strict.allowed(addresses(&["169.254.169.254", "127.0.0.1"])).unwrap_err();
        assert_eq!(refused.to_string(), "the target is the metadata service of a cloud, which alerts.allow_private_targets does not allow");
        assert!(matches!(strict.allowed([]), Err(TargetError::NoAddress)));
        assert_eq!(Targets { allow_private: true }.allowed(addresses(&["127.0.0.1"])).unwrap(), addresses(&["127.0.0.1"]));
    }

    #[tokio::test]
    async fn an_address_in_brackets_is_judged_as_one() {
        assert!(matches!(Targets { allow_private: false }.look_up("[::1]", 25).await, Err(TargetError::Inward(InwardAddress::Loopback))));
        assert!(matches!(Targets { allow_private: false }.look_up("localhost", 25).await, Err(TargetError::Inward(_))));
    }
}
