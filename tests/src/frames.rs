//! Ethernet frames for the gate, built field by field, and the gate's verdict on them as the host computes it.

use std::collections::HashSet;

use btmm_ebpf::bytes::Bytes;
use btmm_ebpf::layout::{Config, Source};
use btmm_ebpf::packet::{self, FAST_LENGTH, Network};
use btmm_ebpf::verdict::{self, Tables, Verdict};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
pub const QINQ: u16 = 0x88a8;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// More-fragments bit of IPv4.
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// A frame: zero addresses, VLAN tags (their EtherTypes, outermost first), EtherType, content.
pub fn ethernet(tags: &[u16], ethertype: u16, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend(100u16.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(content);
    frame
}

/// An IPv4 packet from 192.0.2.1 to 192.0.2.2. `options` must be a multiple of four octets.
pub fn ipv4(options: &[u8], fragment: u16, protocol: u8, content: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + content.len()) as u16).to_be_bytes());
    packet.extend(7u16.to_be_bytes());
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(content);
    packet
}

/// An IPv6 packet from 2001:db8::1 to 2001:db8::2 whose extension headers are each a type and its octets after the next-header field.
pub fn ipv6(extensions: &[(u8, &[u8])], last: u8, content: &[u8]) -> Vec<u8> {
    let length: usize = extensions.iter().map(|(_, rest)| 1 + rest.len()).sum::<usize>() + content.len();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((length as u16).to_be_bytes());
    packet.push(extensions.first().map_or(last, |(kind, _)| *kind));
    packet.push(64);
    packet.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    packet.extend("2001:db8::2".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    for (place, (_, rest)) in extensions.iter().enumerate() {
        packet.push(extensions.get(place + 1).map_or(last, |(kind, _)| *kind));
        packet.extend(*rest);
    }
    packet.extend(content);
    packet
}

/// A UDP datagram without a checksum.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::from(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// The start of an ESP packet.
pub fn esp(spi: u32) -> Vec<u8> {
    let mut payload = Vec::from(spi.to_be_bytes());
    payload.extend(1u32.to_be_bytes());
    payload.extend([0xab; 32]);
    payload
}

/// The start of an IKE message behind its non-ESP marker.
pub fn ike() -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend([0x11; 28]);
    payload
}

/// A frame with octets behind its packet, and zeros up to the 60 octets of the shortest that a link carries.
pub fn padded(frame: &[u8], padding: &[u8]) -> Vec<u8> {
    let mut frame = [frame, padding].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A plain frame with a UDP datagram to port 4500.
pub fn to_4500(payload: &[u8]) -> Vec<u8> {
    ethernet(&[], IPV4, &ipv4(&[], 0, UDP, &udp(4501, 4500, payload)))
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What the gate looks up, without a kernel.
#[derive(Clone, Debug, Default)]
pub struct HostTables {
    /// As in the map `config`.
    pub config: Config,
    /// As in the map `switch`.
    pub blocked: bool,
    /// As in the map `inbound_sas`.
    pub inbound: HashSet<u32>,
    /// As in the map `ready_peers`.
    pub ready: HashSet<[u8; 16]>,
    /// Every source has spent its tokens.
    pub limited: bool,
}

impl Tables for HostTables {
    fn config(&self) -> &Config {
        &self.config
    }

    fn blocked(&self) -> bool {
        self.blocked
    }

    fn is_inbound(&self, spi: [u8; 4]) -> bool {
        self.inbound.contains(&u32::from_be_bytes(spi))
    }

    fn take_token(&self, _source: Source) -> bool {
        !self.limited
    }

    fn is_ready(&self, peer: &[u8; 16]) -> bool {
        self.ready.contains(peer)
    }
}

/// What `gate` does with a frame.
pub fn gate(frame: &[u8], tables: &HostTables) -> Verdict {
    let slow = verdict::gate(frame, packet::ethernet(frame), tables);
    if let Some(head) = frame.first_chunk::<FAST_LENGTH>()
        && let Some(fast) = verdict::gate_fast(head, tables)
    {
        assert_eq!(fast, slow, "the fast path says otherwise: {frame:02x?}");
    }
    slow
}

/// What `gate_tc` does with a frame, of which the kernel has taken the link header.
pub fn gate_tc(frame: &[u8], tables: &HostTables) -> Verdict {
    let (bytes, network) = behind_link(frame);
    verdict::gate(bytes, network, tables)
}

/// What `gate_egress` does with a frame.
pub fn gate_egress(frame: &[u8], tables: &HostTables) -> Verdict {
    let (bytes, network) = behind_link(frame);
    verdict::gate_egress(bytes, network, tables)
}

/// What `wait_egress` does with a frame.
pub fn wait_egress(frame: &[u8], tables: &HostTables) -> Verdict {
    let (bytes, network) = behind_link(frame);
    verdict::wait_egress(bytes, network, tables)
}

fn behind_link(frame: &[u8]) -> (&[u8], Network) {
    let ethertype = frame.read_u16(12).unwrap_or(0);
    let bytes = frame.get(14..).unwrap_or(&[]);
    (bytes, packet::network(bytes, ethertype, 0))
}
