//! Packets of a capture (pcap, Ethernet), and what they are.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// One captured frame.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Time of the capture's clock.
    pub at: Duration,
    /// The frame, from its Ethernet header.
    pub bytes: Vec<u8>,
}

/// What a frame carries, as far as the assertions care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ARP.
    Arp,
    /// ICMPv6 that makes IPv6 work on a link: neighbour discovery, router discovery, multicast listeners.
    Neighbour,
    /// Other ICMP or ICMPv6, with its type.
    Icmp(u8),
    /// IGMP.
    Igmp,
    /// UDP with its ports.
    Udp(u16, u16),
    /// TCP with its ports.
    Tcp(u16, u16),
    /// A later fragment, of this IP protocol.
    Fragment(u8),
    /// Another IP protocol (50 would be bare ESP).
    Ip(u8),
    /// Another Ethernet type, or a frame cut short.
    Other(u16),
}

impl Packet {
    /// What it carries.
    #[must_use]
    pub fn kind(&self) -> Kind {
        classify(&self.bytes).unwrap_or(Kind::Other(0))
    }

    /// Source and destination of an IP packet.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let ip = self.bytes.get(14..)?;
        match word(&self.bytes, 12)? {
            0x0800 => Some((IpAddr::V4(Ipv4Addr::from(array::<4>(ip, 12)?)), IpAddr::V4(Ipv4Addr::from(array::<4>(ip, 16)?)))),
            0x86dd => Some((IpAddr::V6(Ipv6Addr::from(array::<16>(ip, 8)?)), IpAddr::V6(Ipv6Addr::from(array::<16>(ip, 24)?)))),
            _ => None,
        }
    }

    /// True when the bytes occur anywhere in the frame.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        !needle.is_empty() && self.bytes.windows(needle.len()).any(|window| window == needle)
    }
}

/// Reads a capture file (the classic format, Ethernet, micro- or nanoseconds, this machine's byte order). A last frame that is
/// cut short is left out: the file may still be being written.
pub fn read_pcap(file: &[u8]) -> Result<Vec<Packet>> {
    let magic = number(file, 0).context("the capture is empty")?;
    let fraction: fn(u64) -> Duration = match magic {
        0xa1b2_c3d4 => Duration::from_micros,
        0xa1b2_3c4d => Duration::from_nanos,
        other => anyhow::bail!("not a capture file: magic {other:#x}"),
    };
    ensure!(number(file, 20) == Some(1), "not a capture of Ethernet");
    let mut packets = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(part), Some(length)) = (number(file, at), number(file, at + 4), number(file, at + 8)) {
        let length = usize::try_from(length)?;
        let Some(bytes) = file.get(at + 16..at + 16 + length) else { break };
        packets.push(Packet { at: Duration::from_secs(u64::from(seconds)) + fraction(u64::from(part)), bytes: bytes.to_vec() });
        at += 16 + length;
    }
    Ok(packets)
}

fn classify(frame: &[u8]) -> Option<Kind> {
    let ip = frame.get(14..)?;
    match word(frame, 12)? {
        0x0806 => Some(Kind::Arp),
        0x0800 => {
            let header = usize::from(ip.first()? & 0x0f) * 4;
            let protocol = *ip.get(9)?;
            if word(ip, 6)? & 0x1fff != 0 {
                return Some(Kind::Fragment(protocol));
            }
            transport(protocol, ip.get(header..)?)
        }
        0x86dd => ipv6(*ip.get(6)?, ip.get(40..)?),
        other => Some(Kind::Other(other)),
    }
}

/// Walks the extension headers.
fn ipv6(mut next: u8, mut rest: &[u8]) -> Option<Kind> {
    loop {
        match next {
            0 | 43 | 60 => {
                let length = (usize::from(*rest.get(1)?) + 1) * 8;
                next = *rest.first()?;
                rest = rest.get(length..)?;
            }
            44 => {
                next = *rest.first()?;
                if word(rest, 2)? & 0xfff8 != 0 {
                    return Some(Kind::Fragment(next));
                }
                rest = rest.get(8..)?;
            }
            _ => return transport(next, rest),
        }
    }
}

fn transport(protocol: u8, rest: &[u8]) -> Option<Kind> {
    Some(match protocol {
        1 => Kind::Icmp(*rest.first()?),
        2 => Kind::Igmp,
        6 => Kind::Tcp(word(rest, 0)?, word(rest, 2)?),
        17 => Kind::Udp(word(rest, 0)?, word(rest, 2)?),
        58 => match *rest.first()? {
            130..=137 | 143 => Kind::Neighbour,
            other => Kind::Icmp(other),
        },
        other => Kind::Ip(other),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(array(bytes, at)?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(array(bytes, at)?))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0, 0x45, 0, 0, 0, 0, 0]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(rest);
        frame
    }

    fn kind(bytes: Vec<u8>) -> Kind {
        Packet { at: Duration::ZERO, bytes }.kind()
    }

    #[test]
    fn frames_are_told_apart() {
        assert_eq!(kind(ipv4(17, 0, &[0x11, 0x94, 0, 53, 0, 0, 0, 0])), Kind::Udp(4500, 53));
        assert_eq!(kind(ipv4(17, 1, &[0x11, 0x94])), Kind::Fragment(17));
        assert_eq!(kind(ipv4(50, 0, &[])), Kind::Ip(50));
        assert_eq!(kind(ipv4(17, 0, &[0x11])), Kind::Other(0), "cut short");
        let mut ipv6 = vec![0; 12];
        ipv6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 1]);
        ipv6.extend([0; 32]);
        ipv6.extend([58, 0, 0, 0, 0, 0, 0, 0, 143, 0]);
        assert_eq!(kind(ipv6), Kind::Neighbour, "behind a hop-by-hop header");
    }

    #[test]
    fn a_capture_is_read_up_to_the_frame_that_is_cut_short() {
        let mut file = Vec::new();
        for value in [0xa1b2_c3d4_u32, 0, 0, 0, 0, 1, 5, 7, 3, 3] {
            file.extend(value.to_ne_bytes());
        }
        file.extend(b"abc");
        for value in [6_u32, 0, 9, 9] {
            file.extend(value.to_ne_bytes());
        }
        file.extend(b"short");
        let packets = read_pcap(&file).expect("a capture");
        assert_eq!(packets.len(), 1);
        assert_eq!((packets[0].at, packets[0].bytes.as_slice()), (Duration::new(5, 7000), &b"abc"[..]));
    }
}
