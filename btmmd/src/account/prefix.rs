//! The account's address space: a random /48 of RFC 4193, and each machine's address in it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Text that is not the /48 of an account.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{0:?} is not an account prefix: it has the form fd12:3456:789a::/48")]
pub struct PrefixError(String);

/// The account's ULA /48 (RFC 4193 §3.1, L bit set): `fd`, then 40 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UlaPrefix([u8; 6]);

impl UlaPrefix {
    /// Length of the prefix in bits.
    pub const BITS: u8 = 48;

    /// The prefix with this 40-bit global ID, which must come from a good random source (RFC 4193 §3.2).
    pub fn with_global_id([a, b, c, d, e]: [u8; 5]) -> Self {
        Self([0xfd, a, b, c, d, e])
    }

    /// The prefix in which an inner address lies.
    pub fn around(inner: Ipv6Addr) -> Option<Self> {
        match inner.octets() {
            [0xfd, a, b, c, d, e, ..] => Some(Self::with_global_id([a, b, c, d, e])),
            _ => None,
        }
    }

    /// The lowest address of the prefix.
    pub fn network(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        address.octets().starts_with(&self.0)
    }

    /// The inner address of the machine whose key has this DER SubjectPublicKeyInfo: the prefix, subnet 0,
    /// and the first 64 bits of the SHA-256 of the key. Stable for the life of the key.
    pub fn inner_address(&self, spki: &[u8]) -> Ipv6Addr {
        let hash = digest(&SHA256, spki);
        let mut octets = self.network().octets();
        for (octet, hashed) in octets.iter_mut().skip(8).zip(hash.as_ref()) {
            *octet = *hashed;
        }
        Ipv6Addr::from(octets)
    }
}

impl fmt::Display for UlaPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), Self::BITS)
    }
}

impl FromStr for UlaPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let refuse = || PrefixError(text.to_owned());
        let address: Ipv6Addr = text.strip_suffix("/48").ok_or_else(refuse)?.parse().map_err(|_| refuse())?;
        match address.octets() {
            [0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Ok(Self([0xfd, a, b, c, d, e])),
            _ => Err(refuse()),
        }
    }
}

impl TryFrom<String> for UlaPrefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<UlaPrefix> for String {
    fn from(prefix: UlaPrefix) -> Self {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_address_is_prefix_then_subnet_zero_then_hash_of_the_key() {
        let prefix = UlaPrefix::with_global_id([1, 2, 3, 4, 5]);
        // SHA-256("abc") begins ba7816bf 8f01cfea (FIPS 180-4 example).
        assert_eq!(prefix.inner_address(b"abc").to_string(), "fd01:203:405:0:ba78:16bf:8f01:cfea");
        assert!(prefix.contains(prefix.inner_address(b"abc")));
        assert!(!prefix.contains("fd01:203:406::1".parse().unwrap()));
    }

    #[test]
    fn a_prefix_reads_back_what_it_prints() {
        let prefix = UlaPrefix::with_global_id([0xaa, 0, 0, 0, 1]);
        assert_eq!(prefix.to_string().parse(), Ok(prefix));
        for bad in ["", "fd00::", "fd00::/64", "fc00::/48", "2001:db8::/48", "fd00:0:0:1::/48", "10.0.0.0/48"] {
            assert!(bad.parse::<UlaPrefix>().is_err(), "{bad}");
        }
    }
}
