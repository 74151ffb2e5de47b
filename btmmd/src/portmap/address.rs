//! Which IPv4 addresses can be reached from the internet.

use std::net::Ipv4Addr;

/// Whether `address` can be reached from the internet as it stands.
///
/// The documentation blocks of RFC 5737 count as public: they never occur in the wild, and labs use them as their internet.
pub fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598: behind a carrier's NAT
    let benchmarking = a == 198 && (18..20).contains(&b); // RFC 2544
    let protocol = (a, b, c) == (192, 0, 0); // RFC 6890: DS-Lite and others
    !(a == 0
        || a >= 240
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || shared
        || benchmarking
        || protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_the_internet_routes_are_public() {
        for public in ["8.8.8.8", "203.0.113.7", "198.51.100.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "198.17.0.1", "192.0.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.2",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
