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
    /// The largest packet it takes.
    pub mtu: u32,
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

    /// The smallest MTU of an uplink that has a default route, or of any uplink when none has.
    pub fn path_mtu(&self) -> Option<u32> {
        let smallest = |with_default: bool| {
            self.uplinks().filter(|interface| !with_default || self.has_default(interface.index)).map(|interface| interface.mtu).min()
        };
        smallest(true).or_else(|| smallest(false))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, kind: Kind, addresses: &[(&str, bool)]) -> (u32, Interface) {
        let addresses = addresses.iter().map(|(ip, temporary)| Address { ip: ip.parse().expect(ip), prefix: 24, temporary: *temporary });
        (index, Interface { index, name: format!("if{index}"), kind, up: true, mtu: 1500, addresses: addresses.collect() })
    }

    fn via(interface: u32, gateway: &str, metric: u32) -> DefaultRoute {
        let gateway: IpAddr = gateway.parse().expect(gateway);
        DefaultRoute { metric, interface, gateway: Some(gateway), ipv6: gateway.is_ipv6() }
    }

    fn home() -> Snapshot {
        Snapshot {
            interfaces: [
                interface(1, Kind::Loopback, &[("127.0.0.1", false), ("::1", false)]),
                interface(2, Kind::Outer, &[("172.17.0.1", false)]),
                interface(3, Kind::Outer, &[("192.168.1.7", false), ("2001:db8::7", false), ("2001:db8::99", true), ("fe80::1", false)]),
                interface(9, Kind::Inner, &[("fd00:1:2::a", false)]),
            ]
            .into(),
            defaults: [via(3, "192.168.1.1", 100), via(3, "fe80::ff", 1024)].into(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn candidates_put_the_way_out_first_and_leave_out_what_no_peer_can_use() {
        let wanted = ["2001:db8::7", "2001:db8::99", "192.168.1.7", "172.17.0.1"].map(ip);
        assert_eq!(home().candidates(), wanted);
    }

    #[test]
    fn uplinks_are_neither_loopback_nor_ours_nor_down() {
        let mut snapshot = home();
        snapshot.interfaces.get_mut(&2).expect("present").up = false;
        assert_eq!(snapshot.uplinks().map(|interface| interface.index).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_path_is_as_narrow_as_the_narrowest_way_out() {
        let mut snapshot = home();
        snapshot.interfaces.get_mut(&2).expect("present").mtu = 1000;
        assert_eq!(snapshot.path_mtu(), Some(1500), "if2 is no way out");
        snapshot.interfaces.get_mut(&3).expect("present").mtu = 1492;
        assert_eq!(snapshot.path_mtu(), Some(1492));
        snapshot.defaults.clear();
        assert_eq!(snapshot.path_mtu(), Some(1000));
        assert_eq!(Snapshot::default().path_mtu(), None);
    }

    #[test]
    fn the_smaller_metric_names_the_router_and_families_do_not_mix() {
        let mut snapshot = home();
        snapshot.defaults.insert(via(2, "172.17.0.254", 50));
        assert_eq!(snapshot.gateway_v4(), Some(("172.17.0.254".parse().expect("literal"), 2)));
        assert_eq!(snapshot.gateway_v6(), Some(("fe80::ff".parse().expect("literal"), 3)));
        assert_eq!(Snapshot::default().gateway_v4(), None);
    }

    #[test]
    fn a_move_to_another_network_is_told_in_full() {
        let away = Snapshot {
            interfaces: [interface(1, Kind::Loopback, &[("127.0.0.1", false)]), interface(5, Kind::Outer, &[("10.9.8.7", false)])].into(),
            defaults: [via(5, "10.9.8.1", 0)].into(),
        };
        let changes = home().changes(&away);
        assert_eq!(changes.gained, [ip("10.9.8.7")].into());
        assert_eq!(changes.lost, home().candidates().into_iter().collect());
        assert!(changes.gateway_v4 && changes.gateway_v6);
        assert_eq!((changes.uplinks_gained, changes.uplinks_lost), ([5].into(), [2, 3].into()));
    }

    #[test]
    fn our_own_interface_coming_up_is_no_change() {
        let mut later = home();
        later.interfaces.remove(&9);
        assert!(later.changes(&home()).is_empty());
    }
}
