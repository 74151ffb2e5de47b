//! The kernel's IPsec, in our nouns: identity apart from data.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

/// Which way a state or policy carries packets, seen from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the peer to us.
    In,
    /// From us to the peer.
    Out,
}

/// What the kernel finds an ESP state by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaId {
    /// Outer destination: our address for inbound states, the peer's for outbound.
    pub destination: IpAddr,
    /// Security parameter index, host byte order.
    pub spi: u32,
}

/// AES-256-GCM key material: 32 octets of key and 4 of salt (RFC 4106).
#[derive(Clone, PartialEq, Eq)]
pub struct AeadKey(pub Zeroizing<[u8; 36]>);

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
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
    pub key: AeadKey,
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
