//! What kind of address it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Reachable from anywhere, as far as the address says.
    Global,
    /// IPv4 private use (RFC 1918).
    Private,
    /// IPv4 shared between a provider and its customers, 100.64.0.0/10 (RFC 6598): behind a carrier's NAT.
    CarrierNat,
    /// IPv6 unique local, fc00::/7 (RFC 4193).
    UniqueLocal,
    /// One link only (169.254.0.0/16, fe80::/10).
    LinkLocal,
    /// This machine only.
    Loopback,
    /// Multicast, unspecified, reserved, mapped: never a unicast path to a peer.
    Unusable,
}

impl Class {
    /// The class of an address. IPv4-mapped IPv6 addresses are [`Class::Unusable`]: no socket of ours uses them.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// Whether a peer could be reached at such an address, if it shares the network in question.
    pub fn is_candidate(self) -> bool {
        matches!(self, Self::Global | Self::Private | Self::CarrierNat | Self::UniqueLocal)
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [192, 168, ..] => Self::Private,
            [172, second, ..] if second & 0xf0 == 16 => Self::Private,
            [100, second, ..] if second & 0xc0 == 64 => Self::CarrierNat,
            // 0/8 "this network", multicast and reserved, protocol assignments.
            [0, ..] | [224..=255, ..] | [192, 0, 0, _] => Self::Unusable,
            _ => Self::Global,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [first, ..] if first & 0xffc0 == 0xfe80 => Self::LinkLocal,
            [first, ..] if first & 0xfe00 == 0xfc00 => Self::UniqueLocal,
            [first, ..] if first & 0xe000 == 0x2000 => Self::Global,
            _ => Self::Unusable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn every_range_border_has_its_class() {
        let table = [
            ("0.1.2.3", Class::Unusable),
            ("9.255.255.255", Class::Global),
            ("10.0.0.0", Class::Private),
            ("11.0.0.0", Class::Global),
            ("100.63.255.255", Class::Global),
            ("100.64.0.0", Class::CarrierNat),
            ("100.127.255.255", Class::CarrierNat),
            ("100.128.0.0", Class::Global),
            ("127.0.0.53", Class::Loopback),
            ("169.254.1.1", Class::LinkLocal),
            ("172.15.255.255", Class::Global),
            ("172.16.0.0", Class::Private),
            ("172.31.255.255", Class::Private),
            ("172.32.0.0", Class::Global),
            ("192.0.0.170", Class::Unusable),
            ("192.168.1.1", Class::Private),
            ("203.0.113.7", Class::Global),
            ("224.0.0.1", Class::Unusable),
            ("255.255.255.255", Class::Unusable),
            ("::", Class::Unusable),
            ("::1", Class::Loopback),
            ("::ffff:10.0.0.1", Class::Unusable),
            ("2000::", Class::Global),
            ("3fff:ffff::1", Class::Global),
            ("4000::", Class::Unusable),
            ("64:ff9b::1", Class::Unusable),
            ("fbff::", Class::Unusable),
            ("fc00::", Class::UniqueLocal),
            ("fdff::1", Class::UniqueLocal),
            ("fe80::1", Class::LinkLocal),
            ("febf::1", Class::LinkLocal),
            ("fec0::1", Class::Unusable),
            ("ff02::1", Class::Unusable),
        ];
        for (text, class) in table {
            assert_eq!(Class::of(text.parse().expect(text)), class, "{text}");
        }
    }

    #[test]
    fn only_unicast_beyond_the_link_is_a_candidate() {
        for class in [Class::Global, Class::Private, Class::CarrierNat, Class::UniqueLocal] {
            assert!(class.is_candidate(), "{class:?}");
        }
        for class in [Class::LinkLocal, Class::Loopback, Class::Unusable] {
            assert!(!class.is_candidate(), "{class:?}");
        }
    }
}
