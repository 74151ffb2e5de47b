//! The keyed hashes of the encryption types.

use hmac::{Hmac, KeyInit};
use sha1::Sha1;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

use super::etype::Etype;

/// An HMAC with its key already taken in. It wipes itself.
#[derive(Clone)]
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
}

/// Longest output of any of them.
const LONGEST: usize = 48;

/// A whole, not yet truncated, MAC.
pub(super) struct Tag {
    octets: Zeroizing<[u8; LONGEST]>,
    length: usize,
}

impl std::ops::Deref for Tag {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

impl Mac {
    pub(super) fn new(etype: Etype, key: &[u8]) -> Self {
        const ANY: &str = "HMAC takes keys of any length";
        match etype {
            Etype::Aes128CtsHmacSha1_96 | Etype::Aes256CtsHmacSha1_96 => Self::Sha1(Hmac::new_from_slice(key).expect(ANY)),
            Etype::Aes128CtsHmacSha256_128 => Self::Sha256(Hmac::new_from_slice(key).expect(ANY)),
            Etype::Aes256CtsHmacSha384_192 => Self::Sha384(Hmac::new_from_slice(key).expect(ANY)),
        }
    }

    /// Over the parts in a row.
    pub(super) fn over(&self, parts: &[&[u8]]) -> Tag {
        match self {
            Self::Sha1(mac) => finish(mac.clone(), parts),
            Self::Sha256(mac) => finish(mac.clone(), parts),
            Self::Sha384(mac) => finish(mac.clone(), parts),
        }
    }
}

fn finish<M: hmac::Mac>(mut mac: M, parts: &[&[u8]]) -> Tag {
    for part in parts {
        mac.update(part);
    }
    let output = Zeroizing::new(mac.finalize().into_bytes());
    let mut octets = Zeroizing::new([0; LONGEST]);
    let length = output.len();
    octets[..length].copy_from_slice(&output);
    Tag { octets, length }
}
