//! Targets of webhooks: whether an address leads inward. What is checked is the address that is connected to, not the name that led there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kind of an address that is not one of the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum InwardAddress {
    /// This machine.
    Loopback,
    /// A network of its own: RFC 1918, or an IPv6 unique local address.
    Private,
    /// The network of a carrier: RFC 6598.
    SharedCarrier,
    /// The link: reaches neighbours, and metadata services of clouds.
    LinkLocal,
    /// The metadata service of a cloud.
    Metadata,
    /// No address of a host: unspecified, or "this network".
    Unspecified,
    /// Many hosts.
    Multicast,
    /// Every host of the network.
    Broadcast,
    /// Set aside for documentation, measurements or the future.
    Reserved,
}

named!(pub InwardAddress);

impl InwardAddress {
    /// Words for refusals.
    pub fn title(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::SharedCarrier => "an address of a carrier's network (100.64.0.0/10)",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the metadata service of a cloud",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Reserved => "a reserved address",
        }
    }
}

/// Classifies an address; `None`: it is one of the public internet. An IPv6 address that contains an IPv4 one is as inward as that.
pub fn inward(address: IpAddr) -> Option<InwardAddress> {
    match address {
        IpAddr::V4(address) => inward_v4(address),
        IpAddr::V6(address) => inward_v6(address),
    }
}

fn inward_v4(address: Ipv4Addr) -> Option<InwardAddress> {
    use InwardAddress as Is;
    match address.octets() {
        [169, 254, 169, 254 | 253 | 123] | [100, 100, 100, 200] | [168, 63, 129, 16] => Some(Is::Metadata),
        [127, ..] => Some(Is::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Is::Private),
        [100, 64..=127, ..] => Some(Is::SharedCarrier),
        [169, 254, ..] => Some(Is::LinkLocal),
        [0, ..] => Some(Is::Unspecified),
        [224..=239, ..] => Some(Is::Multicast),
        [255, 255, 255, 255] => Some(Is::Broadcast),
        [240..=255, ..]
        | [192, 0, 0, _]
        | [192, 0, 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [198, 18..=19, ..]
        | [192, 88, 99, _] => Some(Is::Reserved),
        _ => None,
    }
}

fn inward_v6(address: Ipv6Addr) -> Option<InwardAddress> {
    use InwardAddress as Is;
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Is::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Is::Loopback),
        // Mapped, translated (SIIT) and compatible.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => {
            Some(inward_v4(v4(high, low)).unwrap_or(Is::Reserved))
        }
        // NAT64: the well-known prefix leads to any IPv4 address, the one for local use (RFC 8215) inward by its purpose.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inward_v4(v4(high, low)),
        [0x64, 0xff9b, 1, ..] => Some(Is::Private),
        // 6to4 and Teredo contain an IPv4 address; the latter that of the client inverted.
        [0x2002, high, low, ..] => inward_v4(v4(high, low)),
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            inward_v4(v4(!high, !low)).or_else(|| inward_v4(v4(server_high, server_low)))
        }
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => Some(Is::Metadata),
        [0xfc00..=0xfdff, ..] => Some(Is::Private),
        [0xfe80..=0xfebf, ..] => Some(Is::LinkLocal),
        // Site-local, deprecated and still routed by some.
        [0xfec0..=0xfeff, ..] => Some(Is::Private),
        [0xff00..=0xffff, ..] => Some(Is::Multicast),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x0100, 0, 0, 0, ..] | [0x2001, 0x0002, 0, ..] | [0x5f00, ..] => {
            Some(Is::Reserved)
        }
        // Only 2000::/3 is given out.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Is::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_by_kind() {
        use InwardAddress as Is;
        for (address, kind) in [
            ("8.8.8.8", None),
            ("162.159.135.232", None),
            ("2606:4700::6810:84e5", None),
            ("127.0.0.1", Some(Is::Loopback)),
            ("127.255.255.254", Some(Is::Loopback)),
            ("::1", Some(Is::Loopback)),
            ("10.0.0.1", Some(Is::Private)),
            ("172.15.255.255", None),
            ("172.16.0.1", Some(Is::Private)),
            ("172.31.255.255", Some(Is::Private)),
            ("172.32.0.1", None),
            ("192.168.1.1", Some(Is::Private)),
            ("100.63.255.255", None),
            ("100.64.0.1", Some(Is::SharedCarrier)),
            ("169.254.0.1", Some(Is::LinkLocal)),
            ("169.254.169.254", Some(Is::Metadata)),
            ("100.100.100.200", Some(Is::Metadata)),
            ("fd00:ec2::254", Some(Is::Metadata)),
            ("0.0.0.0", Some(Is::Unspecified)),
            ("0.1.2.3", Some(Is::Unspecified)),
            ("::", Some(Is::Unspecified)),
            ("224.0.0.1", Some(Is::Multicast)),
            ("ff02::1", Some(Is::Multicast)),
            ("255.255.255.255", Some(Is::Broadcast)),
            ("240.0.0.1", Some(Is::Reserved)),
            ("192.0.2.1", Some(Is::Reserved)),
            ("198.18.0.1", Some(Is::Reserved)),
            ("203.0.113.9", Some(Is::Reserved)),
            ("fc00::1", Some(Is::Private)),
            ("fdff::1", Some(Is::Private)),
            ("fec0::1", Some(Is::Private)),
            ("fe80::1", Some(Is::LinkLocal)),
            ("2001:db8::1", Some(Is::Reserved)),
            ("100::1", Some(Is::Reserved)),
            ("4000::1", Some(Is::Reserved)),
            // Mapped, translated, compatible.
            ("::ffff:127.0.0.1", Some(Is::Loopback)),
            ("::ffff:10.1.2.3", Some(Is::Private)),
            ("::ffff:8.8.8.8", Some(Is::Reserved)),
            ("::ffff:0:10.1.2.3", Some(Is::Private)),
            ("::10.1.2.3", Some(Is::Private)),
            // NAT64, 6to4, Teredo.
            ("64:ff9b::10.0.0.1", Some(Is::Private)),
            ("64:ff9b::169.254.169.254", Some(Is::Metadata)),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some(Is::Private)),
            ("2002:7f00:1::", Some(Is::Loopback)),
            ("2002:808:808::1", None),
            ("2001:0:808:808:0:0:f5ff:fffe", Some(Is::Private)),
        ] {
            assert_eq!(inward(address.parse().unwrap()), kind, "{address}");
        }
    }

    proptest! {
        /// What IPv6 wraps around an inward IPv4 address does not make it public.
        #[test]
        fn no_wrapping_hides_an_inward_address(octets: [u8; 4]) {
            let v4 = Ipv4Addr::from(octets);
            if inward_v4(v4).is_some() {
                let [high, low] = [u16::from_be_bytes([octets[0], octets[1]]), u16::from_be_bytes([octets[2], octets[3]])];
                for wrapped in [
                    v4.to_ipv6_mapped(),
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                ] {
                    prop_assert!(inward(wrapped.into()).is_some(), "{}", wrapped);
                }
            }
        }

        /// The standard library's own ideas of inward are all covered.
        #[test]
        fn nothing_that_the_library_calls_inward_is_public(v4: u32, v6: u128) {
            let v4 = Ipv4Addr::from(v4);
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || v4.is_documentation() {
                prop_assert!(inward(v4.into()).is_some(), "{}", v4);
            }
            let v6 = Ipv6Addr::from(v6);
            if v6.is_loopback() || v6.is_multicast() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local() {
                prop_assert!(inward(v6.into()).is_some(), "{}", v6);
            }
        }
    }
}
