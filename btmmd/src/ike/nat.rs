//! NAT detection (RFC 7296 §2.23).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::digest;

use super::codec::Payload;
use super::codec::number::notify;
use super::parts::Parts;

/// Own addresses told to the peer, at most.
const SOURCES_MAX: usize = 8;

/// Where NATs stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nat {
    /// In front of us.
    pub local: bool,
    /// In front of the peer.
    pub remote: bool,
}

/// The notifications to send. A source hash per possible source address; without any, one that matches nothing.
pub(super) fn payloads(spi_i: u64, spi_r: u64, sources: &[SocketAddr], destination: SocketAddr) -> Vec<Payload> {
    let unknown = [SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0)];
    let sources = if sources.is_empty() { &unknown } else { sources };
    let mut payloads: Vec<_> = sources
        .iter()
        .take(SOURCES_MAX)
        .map(|source| Payload::notify(notify::NAT_DETECTION_SOURCE_IP, hash(spi_i, spi_r, *source)))
        .collect();
    payloads.push(Payload::notify(notify::NAT_DETECTION_DESTINATION_IP, hash(spi_i, spi_r, destination)));
    payloads
}

/// What the peer's notifications tell about a message from `remote` to `local`. Nothing told, no NAT.
pub(super) fn detect(parts: &Parts, spi_i: u64, spi_r: u64, local: SocketAddr, remote: SocketAddr) -> Nat {
    let differs = |kind: u16, address: SocketAddr| {
        let expected = hash(spi_i, spi_r, address);
        let mut told = parts.notifies.iter().filter(|notify| notify.kind == kind).peekable();
        told.peek().is_some() && told.all(|notify| notify.data != expected)
    };
    Nat { local: differs(notify::NAT_DETECTION_DESTINATION_IP, local), remote: differs(notify::NAT_DETECTION_SOURCE_IP, remote) }
}

fn hash(spi_i: u64, spi_r: u64, address: SocketAddr) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&spi_i.to_be_bytes());
    context.update(&spi_r.to_be_bytes());
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => context.update(&v4.octets()),
        IpAddr::V6(v6) => context.update(&v6.octets()),
    }
    context.update(&address.port().to_be_bytes());
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nat_is_seen_on_its_side() {
        let (inside, outside): (SocketAddr, SocketAddr) = ("10.0.0.2:4500".parse().unwrap(), "192.0.2.1:9999".parse().unwrap());
        let peer: SocketAddr = "198.51.100.7:4500".parse().unwrap();
        let sent = Parts::of(payloads(1, 0, &["10.0.0.9:4500".parse().unwrap(), inside], peer));
        assert_eq!(detect(&sent, 1, 0, peer, inside), Nat { local: false, remote: false });
        assert_eq!(detect(&sent, 1, 0, peer, outside), Nat { local: false, remote: true });
        assert_eq!(detect(&sent, 1, 0, "10.1.1.1:4500".parse().unwrap(), inside), Nat { local: true, remote: false });
        assert_eq!(detect(&Parts::default(), 1, 0, peer, outside), Nat::default());
        assert!(detect(&Parts::of(payloads(1, 0, &[], peer)), 1, 0, peer, inside).remote);
    }
}
