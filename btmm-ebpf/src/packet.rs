//! What a packet is, as far as the verdicts ask: UDP or not, and its ports.
//!
//! Hostile bytes: a packet that claims to be IP and hides (by ending early or by nesting too deep) whether it is UDP and for which
//! port is [`Packet::Unreadable`], never guessed at. A packet ends where its IP header says: the kernel cuts off what the link has
//! padded the frame with, which may be anything, so nothing there is believed. Links: Ethernet with any number of 802.1Q/802.1ad tags up to [`MAX_TAGS`], or
//! bare IP.

use crate::bytes::Bytes;
use crate::layout::Source;

/// VLAN tags that are looked through.
pub const MAX_TAGS: u32 = 4;
/// IPv6 extension headers that are looked through. RFC 8504 §5.3 lets a host set such a limit.
pub const MAX_EXTENSIONS: u32 = 8;
/// Octets [`fast`] looks at: Ethernet, IPv4 without options, UDP, and the four octets that tell ESP from IKE.
pub const FAST_LENGTH: usize = 14 + 20 + 8 + 4;
/// Where the network header of a packet lies about which [`fast`] says something.
pub const FAST_NETWORK: Network = Network::V4(14);

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;
const ETHERTYPE_QINQ: u16 = 0x9100;

const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Where the network header lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 at this offset.
    V4(u32),
    /// IPv6 at this offset.
    V6(u32),
    /// Not IP.
    Other,
    /// Ends or nests too deep to tell.
    Unreadable,
}

/// A datagram whose ports are visible: whole, or the first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The network header before it.
    pub network: Network,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// The UDP header's length field: header and payload.
    pub length: u16,
    /// Offset of the payload.
    payload: u32,
    /// Offset of what is no longer the packet's, by the length in the network header.
    end: u32,
}

impl Datagram {
    /// The first `N` octets of the payload, or nothing when this packet ends before.
    #[inline(always)]
    pub fn first<const N: usize, B: Bytes + ?Sized>(&self, bytes: &B) -> Option<[u8; N]> {
        if self.payload + N as u32 > self.end { None } else { bytes.read(self.payload) }
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Certainly not UDP.
    Other,
    /// UDP with its ports.
    Udp(Datagram),
    /// A fragment other than the first, of UDP or of something that may turn out to be UDP.
    LaterFragment,
    /// Claims to be IP and hides the rest.
    Unreadable,
}

/// A packet as it comes on Ethernet.
#[inline(always)]
pub fn ethernet<B: Bytes + ?Sized>(bytes: &B) -> Network {
    match bytes.read_u16(12) {
        Some(ethertype) => network(bytes, ethertype, 14),
        None => Network::Other,
    }
}

/// A packet of a known ethertype that begins (after any tags still in it) at `at`.
#[inline(always)]
pub fn network<B: Bytes + ?Sized>(bytes: &B, ethertype: u16, at: u32) -> Network {
    let (mut ethertype, mut at) = (ethertype, at);
    let mut tags = 0;
    while tags < MAX_TAGS && is_tag(ethertype) {
        let Some(inner) = bytes.read_u16(at + 2) else { return Network::Unreadable };
        ethertype = inner;
        at += 4;
        tags += 1;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Network::V4(at),
        ETHERTYPE_IPV6 => Network::V6(at),
        _ if is_tag(ethertype) => Network::Unreadable,
        _ => Network::Other,
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_8021Q || ethertype == ETHERTYPE_8021AD || ethertype == ETHERTYPE_QINQ
}

/// What lies behind the network header.
#[inline(always)]
pub fn transport<B: Bytes + ?Sized>(bytes: &B, network: Network) -> Packet {
    match network {
        Network::V4(at) => ipv4(bytes, at),
        Network::V6(at) => ipv6(bytes, at),
        Network::Other => Packet::Other,
        Network::Unreadable => Packet::Unreadable,
    }
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(bytes: &B, at: u32) -> Packet {
    let Some(header) = bytes.read::<10>(at) else { return Packet::Unreadable };
    let words = header[0] & 0x0f;
    if header[0] >> 4 != 4 || words < 5 {
        return Packet::Other; // ip_rcv() drops it
    }
    if header[9] != UDP {
        return Packet::Other;
    }
    if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
        return Packet::LaterFragment;
    }
    let end = at + u32::from(u16::from_be_bytes([header[2], header[3]]));
    udp(bytes, Network::V4(at), at + u32::from(words) * 4, end)
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(bytes: &B, start: u32) -> Packet {
    let Some(header) = bytes.read::<7>(start) else { return Packet::Unreadable };
    if header[0] >> 4 != 6 {
        return Packet::Other; // ip6_rcv_core() drops it
    }
    let (mut next, mut at) = (header[6], start + 40);
    let end = at + u32::from(u16::from_be_bytes([header[4], header[5]]));
    let mut seen = 0;
    while seen < MAX_EXTENSIONS && is_extension(next) {
        if at + 4 > end {
            return Packet::Unreadable;
        }
        let Some(extension) = bytes.read::<4>(at) else { return Packet::Unreadable };
        let length = match next {
            FRAGMENT if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0 => {
                return if extension[0] == UDP || is_extension(extension[0]) { Packet::LaterFragment } else { Packet::Other };
            }
            FRAGMENT => 8,
            AUTHENTICATION => (u32::from(extension[1]) + 2) * 4,
            _ => (u32::from(extension[1]) + 1) * 8,
        };
        next = extension[0];
        at += length;
        seen += 1;
    }
    match next {
        UDP => udp(bytes, Network::V6(start), at, end),
        _ if is_extension(next) => Packet::Unreadable,
        _ => Packet::Other,
    }
}

#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

#[inline(always)]
fn udp<B: Bytes + ?Sized>(bytes: &B, network: Network, at: u32, end: u32) -> Packet {
    if at + 6 > end {
        return Packet::Unreadable;
    }
    let Some(header) = bytes.read::<6>(at) else { return Packet::Unreadable };
    Packet::Udp(Datagram {
        network,
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        length: u16::from_be_bytes([header[4], header[5]]),
        payload: at + 8,
        end,
    })
}

/// Whose IKE bucket a packet draws from.
#[inline(always)]
pub fn source<B: Bytes + ?Sized>(bytes: &B, network: Network) -> Option<Source> {
    match network {
        Network::V4(at) => {
            let [a, b, c, d] = bytes.read::<4>(at + 12)?;
            Some(Source { network: [a, b, c, d, 0, 0, 0, 0], family: 4 })
        }
        Network::V6(at) => Some(Source { network: bytes.read::<8>(at + 8)?, family: 6 }),
        Network::Other | Network::Unreadable => None,
    }
}

/// The common case with one branch on lengths: an untagged IPv4 packet without options that is a whole UDP datagram of four octets or
/// more. Gives the destination port, the UDP length and the first four octets of the payload. Says nothing (and is always right to) of any
/// other.
#[inline(always)]
pub fn fast(head: &[u8; FAST_LENGTH]) -> Option<(u16, u16, [u8; 4])> {
    let plain = head[12] == 0x08 && head[13] == 0x00 && head[14] == 0x45 && head[23] == UDP && head[20] & 0x3f == 0 && head[21] == 0;
    let whole = usize::from(u16::from_be_bytes([head[16], head[17]])) >= FAST_LENGTH - 14;
    if !plain || !whole {
        return None;
    }
    let port = u16::from_be_bytes([head[36], head[37]]);
    let length = u16::from_be_bytes([head[38], head[39]]);
    Some((port, length, [head[42], head[43], head[44], head[45]]))
}
