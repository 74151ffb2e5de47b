//! All interfaces, addresses and default routes at one moment, and what changed between two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::Class;

/// What an interface is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `lo`.
    Loopback,
    /// Ours: `btmm0` or the waiting room.
    Inner,
    /// Anything else: Ethernet, wireless, bridges, other tunnels.
    Outer,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Length of its on-link prefix.
    pub prefix: u8,
    /// IPv6: a privacy address (RFC 8981), which will go away.
    pub temporary: bool,
}

impl Address {
    /// What kind of address it is.
    pub fn class(&self) -> Class {
        Class::of(self.ip)
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is to us.
    pub kind: Kind,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Usable addresses: not tentative, not failed, not deprecated.
    pub addresses: BTreeSet<Address>,
}

/// A default route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefaultRoute {
    /// Smaller is preferred.
    pub metric: u32,
    /// Through which interface.
    pub interface: u32,
    /// The router; none on a point-to-point link.
    pub gateway: Option<IpAddr>,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
}

/// The machine's place in the network at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Default routes, preferred first.
    pub defaults: BTreeSet<DefaultRoute>,
}

/// What differs between two snapshots, in the terms that the upper half acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Candidate addresses that appeared: publish them, move to them.
    pub gained: BTreeSet<IpAddr>,
    /// Candidate addresses that went: tunnels on them must move.
    pub lost: BTreeSet<IpAddr>,
    /// The preferred IPv4 router is another one: ask it for a port mapping.
    pub gateway_v4: bool,
    /// The preferred IPv6 router is another one.
    pub gateway_v6: bool,
    /// Uplinks that appeared: attach the gate.
    pub uplinks_gained: BTreeSet<u32>,
    /// Uplinks that went.
    pub uplinks_lost: BTreeSet<u32>,
}

impl Changes {
    /// Whether nothing that matters changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Snapshot {
    /// Interfaces by which packets come from elsewhere: the gate belongs on each.
    pub fn uplinks(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values().filter(|interface| interface.kind == Kind::Outer && interface.up)
    }

    /// Addresses at which a peer could reach us, those of the interfaces with a default route first, lasting before temporary ones.
    pub fn candidates(&self) -> Vec<IpAddr> {
        let mut found: Vec<_> = self
            .uplinks()
            .flat_map(|interface| interface.addresses.iter().map(move |address| (interface.index, address)))
            .filter(|(_, address)| address.class().is_candidate())
            .map(|(index, address)| (!self.has_default(index), address.class(), address.temporary, address.ip))
            .collect();
        found.sort_unstable();
        found.dedup_by_key(|found| found.3);
        found.into_iter().map(|found| found.3).collect()
    }

    /// The preferred IPv4 router: the one to ask for a port mapping.
    pub fn gateway_v4(&self) -> Option<(Ipv4Addr, u32)> {
        self.defaults.iter().find_map(|route| match (route.ipv6, route.gateway) {
            (false, Some(IpAddr::V4(gateway))) => Some((gateway, route.interface)),
            _ => None,
        })
    }

    /// The preferred IPv6 router, link-local as a rule, and the interface it is on.
    pub fn gateway_v6(&self) -> Option<(Ipv6Addr, u32)> {
        self.defaults.iter().find_map(|route| match (route.ipv6, route.gateway) {
            (true, Some(IpAddr::V6(gateway))) => Some((gateway, route.interface)),
            _ => None,
        })
    }

    /// What changed on the way from `self` to `next`.
    pub fn changes(&self, next: &Self) -> Changes {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (self.candidates().into_iter().collect(), next.candidates().into_iter().collect());
        let (old_up, new_up): (BTreeSet<_>, BTreeSet<_>) = (self.uplink_indices(), next.uplink_indices());
        Changes {
            gained: &new - &old,
            lost: &old - &new,
            gateway_v4: self.gateway_v4() != next.gateway_v4(),
            gateway_v6: self.gateway_v6() != next.gateway_v6(),
            uplinks_gained: &new_up - &old_up,
            uplinks_lost: &old_up - &new_up,
        }
    }

    fn uplink_indices(&self) -> BTreeSet<u32> {
        self.uplinks().map(|interface| interface.index).collect()
    }

    fn has_default(&self, index: u32) -> bool {
        self.defaults.iter().any(|route| route.interface == index)
    }
}
