//! In which order a peer's addresses are worth trying.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where this machine stands, as far as it matters for reaching others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Our addresses on our links.
    pub addresses: Vec<IpAddr>,
    /// The address that the internet sees us at, where a router told us.
    pub external: Option<Ipv4Addr>,
}

/// Orders `candidates` (best first as the peer sees them) for this machine.
///
/// - On the same home network (the peer's external address is ours too) its private addresses come first: few home routers
///   send a packet back in by their own outer address (RFC 4787 REQ-9 notwithstanding).
/// - Elsewhere private addresses come last: they may belong to somebody else, who will fail to prove to be the peer.
/// - Families that we have no address of are left out.
pub fn order(own: &Own, candidates: &[SocketAddr]) -> Vec<SocketAddr> {
    let neighbours = own.external.is_some_and(|external| candidates.iter().any(|c| c.ip() == IpAddr::V4(external)));
    let mut ordered: Vec<SocketAddr> = candidates.iter().copied().filter(|c| has_family(own, c.ip())).collect();
    ordered.sort_by_key(|candidate| is_private(candidate.ip()) != neighbours);
    ordered.dedup();
    ordered
}

fn has_family(own: &Own, address: IpAddr) -> bool {
    own.addresses.iter().any(|ours| ours.is_ipv4() == address.is_ipv4() && (ours.is_ipv4() || is_private(*ours) == is_private(address)))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn own(external: &str) -> Own {
        Own { addresses: vec!["192.168.1.5".parse().unwrap()], external: Some(external.parse().unwrap()) }
    }

    #[test]
    fn strangers_try_the_router_first() {
        let theirs = [at("192.168.2.9:4500"), at("203.0.113.2:4501")];
        assert_eq!(order(&own("203.0.113.1"), &theirs), [theirs[1], theirs[0]]);
    }

    #[test]
    fn neighbours_behind_one_router_try_the_lan_first() {
        let theirs = [at("203.0.113.1:4501"), at("192.168.1.9:4500")];
        assert_eq!(order(&own("203.0.113.1"), &theirs), [theirs[1], theirs[0]]);
    }

    #[test]
    fn a_family_we_have_no_address_of_is_not_tried() {
        let theirs = [at("[2001:db8::9]:4500"), at("203.0.113.2:4501")];
        assert_eq!(order(&own("203.0.113.1"), &theirs), [theirs[1]]);
    }
}
