//! The kernel's IPsec, in our nouns: identity apart from data.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::esp::{Direction, EspKey};

/// What the kernel finds an ESP state by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaId {
    /// Outer destination: our address for inbound states, the peer's for outbound.
    pub destination: IpAddr,
    /// Security parameter index, host byte order.
    pub spi: u32,
}

/// An ESP state in tunnel mode, encapsulated in UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaSpec {
    /// Which way it carries.
    pub direction: Direction,
    /// Security parameter index, host byte order.
    pub spi: u32,
    /// Our outer address and UDP port.
    pub local: SocketAddr,
    /// The peer's outer address and UDP port; same family as `local`.
    pub remote: SocketAddr,
    /// Our inner address.
    pub inner_local: Ipv6Addr,
    /// The peer's inner address.
    pub inner_remote: Ipv6Addr,
    /// The peer's number.
    pub reqid: u32,
    /// Key and salt.
    pub key: EspKey,
    /// After this much time the kernel asks for a rekey.
    pub soft_lifetime: Duration,
    /// After this much time the kernel removes the state, daemon or no daemon.
    pub hard_lifetime: Duration,
}

impl SaSpec {
    /// The identity of this state in the kernel.
    pub fn id(&self) -> SaId {
        let destination = match self.direction {
            Direction::In => self.local.ip(),
            Direction::Out => self.remote.ip(),
        };
        SaId { destination, spi: self.spi }
    }
}

/// The pair of policies of one peer: its inner /128 and ours, both ways, only through IPsec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId {
    /// Our inner address.
    pub inner_local: Ipv6Addr,
    /// The peer's inner address.
    pub inner_remote: Ipv6Addr,
}

/// The interface id that ties `btmm0`, its states and its policies together: `btmm` in ASCII.
pub const IF_ID: u32 = 0x6274_6d6d;
/// The XFRM interface that carries the inner network.
pub const INTERFACE: &str = "btmm0";
/// The routing table that holds the account's prefix and nothing else.
pub const TABLE: u32 = 4500;
/// Priority of the rule that sends the account's prefix to [`TABLE`]; the guard's rule is the next number.
pub const RULE_PRIORITY: u32 = 450;
/// The MTU of `btmm0` until the path is known: outer 1500 less IPv4, UDP and ESP, for either outer family.
pub const DEFAULT_MTU: u32 = 1418;
/// IPv6 forbids less.
pub const MINIMUM_MTU: u32 = 1280;

/// What ESP in UDP adds around an inner packet at most: outer header, UDP 8, ESP header 8, IV 8, padding and trailer up to 5, ICV 16, as the
/// kernel rounds it.
const OVERHEAD: (u32, u32) = (62, 82);

/// The MTU of `btmm0` over a path of this MTU; `ipv6` says whether an outer IPv6 header must fit as well. Never less than [`MINIMUM_MTU`],
/// so below an outer 1342 (IPv4) or 1362 (IPv6) the outer packets are fragmented.
pub fn inner_mtu(path: u32, ipv6: bool) -> u32 {
    let overhead = if ipv6 { OVERHEAD.1 } else { OVERHEAD.0 };
    path.saturating_sub(overhead).max(MINIMUM_MTU)
}

/// One peer's policies as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicySpec {
    /// Between whom.
    pub id: PolicyId,
    /// The peer's number.
    pub reqid: u32,
    /// Our and the peer's outer address of the tunnel that is up; with `None` packets are dropped and an [`KernelEvent::Acquire`] is raised.
    pub outer: Option<(IpAddr, IpAddr)>,
}

/// The inner network of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerNetwork {
    /// Our inner address.
    pub address: Ipv6Addr,
    /// The account's /48; bits past the 48th are ignored.
    pub prefix: Ipv6Addr,
    /// The MTU of `btmm0`, at least [`MINIMUM_MTU`].
    pub mtu: u32,
}

/// An ESP state as the kernel has it. Its key is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaEntry {
    /// Which.
    pub id: SaId,
    /// Outer source.
    pub source: IpAddr,
    /// The peer's number.
    pub reqid: u32,
    /// The interface id, 0 for none.
    pub if_id: u32,
    /// UDP source and destination port of the encapsulation.
    pub encap: Option<(u16, u16)>,
    /// The selector: inner source and destination.
    pub inner: (Ipv6Addr, Ipv6Addr),
    /// Octets and packets carried.
    pub carried: (u64, u64),
    /// When the state was added and first used, in seconds since 1970; 0 for never.
    pub added: u64,
    /// See `added`.
    pub used: u64,
}

/// What the kernel tells without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A packet to a peer met a policy without a state and was dropped.
    Acquire {
        /// Source of the packet.
        inner_local: Ipv6Addr,
        /// Destination of the packet.
        inner_remote: Ipv6Addr,
        /// The peer's number.
        reqid: u32,
    },
    /// A state reached its soft lifetime: rekey.
    SoftExpired {
        /// Which.
        id: SaId,
        /// The peer's number.
        reqid: u32,
    },
    /// A state reached its hard lifetime and is gone.
    HardExpired {
        /// Which.
        id: SaId,
        /// The peer's number.
        reqid: u32,
    },
    /// An authentic packet for an inbound state came from another address or port than the state's. Told for every packet: debounce.
    Mapping {
        /// Which inbound state.
        id: SaId,
        /// The peer's number.
        reqid: u32,
        /// Where the state expects the peer.
        old: SocketAddr,
        /// Where the packet came from.
        new: SocketAddr,
    },
    /// Events were lost: compare states and policies with a dump.
    Resync,
}

/// What was found and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// ESP states.
    pub states: usize,
    /// Policies.
    pub policies: usize,
    /// Interfaces.
    pub interfaces: usize,
    /// Routes and rules.
    pub routes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_mtu_fits_the_path_and_ipv6() {
        assert_eq!(inner_mtu(1500, true), DEFAULT_MTU);
        assert_eq!(inner_mtu(1500, false), 1438);
        for (path, ipv6) in [(1362, true), (1342, false), (576, false), (0, true)] {
            assert_eq!(inner_mtu(path, ipv6), MINIMUM_MTU);
        }
    }
}
