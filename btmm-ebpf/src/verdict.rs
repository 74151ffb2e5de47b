//! What becomes of a packet. The order of the tests is the security argument; `btmmd/docs/security.md` states it row by row.

use crate::bytes::Bytes;
use crate::layout::{Config, Source};
use crate::packet::{self, Datagram, Network, Packet};

/// What became of a packet, and its place in the map `counters`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In, not for the port: pass.
    Other = 0,
    /// In, ESP of a known SPI: pass.
    EspAccepted = 1,
    /// In, ESP of an unknown SPI: drop.
    EspUnknown = 2,
    /// In, IKE within the rate: pass.
    IkeAccepted = 3,
    /// In, IKE beyond the rate: drop.
    IkeLimited = 4,
    /// In, NAT keepalive (RFC 3948 §2.3): pass.
    Keepalive = 5,
    /// In, for the port and none of the above: drop.
    Malformed = 6,
    /// In, cannot be told whether for the port: drop.
    Unreadable = 7,
    /// In, for the port while the switch blocks: drop.
    BlockedIn = 8,
    /// Out, from or to the port while the switch blocks: drop.
    BlockedOut = 9,
    /// In or out, a later fragment of UDP while the switch blocks: drop.
    BlockedFragment = 10,
    /// Out, an inner address in clear: drop.
    Guarded = 11,
    /// Out, none of the above: pass.
    Out = 12,
    /// On `btmm0`, to the waiting room.
    Waiting = 13,
    /// On `btmm0`, to a peer with its tunnel: pass.
    Ready = 14,
    /// On `btmm0`, not for a peer, or there is no waiting room: drop.
    Stray = 15,
}

impl Verdict {
    /// How many there are.
    pub const COUNT: u32 = 16;

    /// Whether the packet goes on its way.
    #[inline(always)]
    pub fn passes(self) -> bool {
        use Verdict::*;
        matches!(self, Other | EspAccepted | IkeAccepted | Keepalive | Out | Ready)
    }
}

/// What the verdicts look up: maps in the programs, plain sets in tests.
pub trait Tables {
    /// What we were told.
    fn config(&self) -> &Config;
    /// Whether the switch blocks.
    fn blocked(&self) -> bool;
    /// Whether an SPI (as on the wire) is one of our inbound SAs.
    fn is_inbound(&self, spi: [u8; 4]) -> bool;
    /// Takes a token of a source's bucket.
    fn take_token(&self, source: Source) -> bool;
    /// Whether a peer has its tunnel.
    fn is_ready(&self, peer: &[u8; 16]) -> bool;
}

/// `gate`: a packet coming in on an uplink.
#[inline(always)]
pub fn gate<B: Bytes + ?Sized, T: Tables>(bytes: &B, network: Network, tables: &T) -> Verdict {
    let datagram = match packet::transport(bytes, network) {
        Packet::Other => return Verdict::Other,
        Packet::Unreadable => return Verdict::Unreadable,
        Packet::LaterFragment if tables.blocked() => return Verdict::BlockedFragment,
        Packet::LaterFragment => return Verdict::Other,
        Packet::Udp(datagram) => datagram,
    };
    if datagram.destination_port != tables.config().port() {
        return Verdict::Other;
    }
    if tables.blocked() {
        return Verdict::BlockedIn;
    }
    guarded_port(bytes, &datagram, tables)
}

#[inline(always)]
fn guarded_port<B: Bytes + ?Sized, T: Tables>(bytes: &B, datagram: &Datagram, tables: &T) -> Verdict {
    if datagram.length == 9 {
        return match datagram.first(bytes) {
            Some([0xff]) => Verdict::Keepalive,
            _ => Verdict::Malformed,
        };
    }
    if datagram.length < 12 {
        return Verdict::Malformed;
    }
    let Some(first) = datagram.first(bytes) else { return Verdict::Malformed };
    if first != [0; 4] {
        return esp(first, tables);
    }
    match packet::source(bytes, datagram.network) {
        Some(source) => ike(source, tables),
        None => Verdict::Malformed,
    }
}

#[inline(always)]
fn esp<T: Tables>(spi: [u8; 4], tables: &T) -> Verdict {
    if tables.is_inbound(spi) { Verdict::EspAccepted } else { Verdict::EspUnknown }
}

#[inline(always)]
fn ike<T: Tables>(source: Source, tables: &T) -> Verdict {
    if tables.take_token(source) { Verdict::IkeAccepted } else { Verdict::IkeLimited }
}

/// `gate` for the common case, on the first octets of an Ethernet frame. Gives what [`gate`] would, or nothing.
#[inline(always)]
pub fn gate_fast<T: Tables>(head: &[u8; packet::FAST_LENGTH], tables: &T) -> Option<Verdict> {
    let (port, length, first) = packet::fast(head)?;
    if port != tables.config().port() {
        return Some(Verdict::Other);
    }
    if tables.blocked() {
        return Some(Verdict::BlockedIn);
    }
    if length < 12 {
        return Some(if length == 9 && first[0] == 0xff { Verdict::Keepalive } else { Verdict::Malformed });
    }
    if first != [0; 4] {
        return Some(esp(first, tables));
    }
    let source = Source { network: [head[26], head[27], head[28], head[29], 0, 0, 0, 0], family: 4 };
    Some(ike(source, tables))
}

/// `gate_egress`: a packet leaving by an uplink. The guard comes before the switch: it has no off.
#[inline(always)]
pub fn gate_egress<B: Bytes + ?Sized, T: Tables>(bytes: &B, network: Network, tables: &T) -> Verdict {
    if let Network::V6(at) = network
        && is_inner(bytes, at, tables)
    {
        return Verdict::Guarded;
    }
    if !tables.blocked() {
        return Verdict::Out;
    }
    let port = tables.config().port();
    match packet::transport(bytes, network) {
        Packet::Udp(datagram) if datagram.source_port == port || datagram.destination_port == port => Verdict::BlockedOut,
        Packet::Udp(_) | Packet::Other => Verdict::Out,
        Packet::LaterFragment => Verdict::BlockedFragment,
        Packet::Unreadable => Verdict::BlockedOut,
    }
}

#[inline(always)]
fn is_inner<B: Bytes + ?Sized, T: Tables>(bytes: &B, at: u32, tables: &T) -> bool {
    let config = tables.config();
    bytes.read_u64(at + 8).is_some_and(|upper| config.is_inner(upper))
        || bytes.read_u64(at + 24).is_some_and(|upper| config.is_inner(upper))
}

/// `wait_egress`: a plain packet leaving `btmm0`, its network header at `at`.
#[inline(always)]
pub fn wait_egress<B: Bytes + ?Sized, T: Tables>(bytes: &B, network: Network, tables: &T) -> Verdict {
    let Network::V6(at) = network else { return Verdict::Stray };
    let (Some(upper), Some(peer)) = (bytes.read_u64(at + 24), bytes.read::<16>(at + 24)) else { return Verdict::Stray };
    let config = tables.config();
    if !config.is_inner(upper) {
        return Verdict::Stray;
    }
    if tables.is_ready(&peer) {
        return Verdict::Ready;
    }
    if config.wait_index == 0 { Verdict::Stray } else { Verdict::Waiting }
}
