//! Where this machine can be reached: what it publishes.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use crate::netwatch::Class;
use crate::rendezvous::records::{Candidate, CandidateKind};

/// At most this many addresses are published; a machine with more has no use for them.
const MAX: usize = 12;

/// What to publish, best first: what the router forwards, then public addresses, then those of the home network.
///
/// `addresses` are ours on links that lead elsewhere, best first, and `port` is the encapsulation port on each of them; `mapped`
/// is what the router granted.
pub fn candidates(addresses: &[IpAddr], port: u16, mapped: Option<SocketAddrV4>) -> Vec<Candidate> {
    let own = |kind, wanted: fn(Class) -> bool| {
        addresses
            .iter()
            .filter(move |address| wanted(Class::of(**address)))
            .map(move |address| Candidate { kind, address: SocketAddr::new(*address, port) })
    };
    let mut found: Vec<Candidate> = Vec::new();
    let router = mapped.map(|address| Candidate { kind: CandidateKind::Mapped, address: address.into() });
    let public = own(CandidateKind::Public, |class| class == Class::Global);
    let local = own(CandidateKind::Local, |class| class.is_candidate() && class != Class::Global);
    for candidate in public.chain(router).chain(local) {
        if found.len() < MAX && !found.iter().any(|known| known.address == candidate.address) {
            found.push(candidate);
        }
    }
    found.sort_by_key(|candidate| candidate.kind != CandidateKind::Mapped);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(addresses: &[&str], mapped: Option<&str>) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        candidates(&addresses, 4500, mapped.map(|text| text.parse().unwrap()))
            .iter()
            .map(|candidate| format!("{} {}", candidate.kind.as_str(), candidate.address))
            .collect()
    }

    #[test]
    fn the_routers_port_comes_first_and_the_home_network_last() {
        let found = texts(&["192.168.1.5", "2001:db8::5", "fd77::1"], Some("203.0.113.1:4501"));
        assert_eq!(found, ["mapped 203.0.113.1:4501", "public [2001:db8::5]:4500", "local 192.168.1.5:4500", "local [fd77::1]:4500"]);
    }

    #[test]
    fn a_public_address_is_published_once_though_it_counts_as_its_own_mapping() {
        assert_eq!(texts(&["203.0.113.9"], Some("203.0.113.9:4500")), ["public 203.0.113.9:4500"]);
    }

    #[test]
    fn addresses_of_one_link_or_one_machine_are_not_published() {
        assert_eq!(texts(&["169.254.3.4", "127.0.0.1", "fe80::1"], None), Vec::<String>::new());
    }
}
