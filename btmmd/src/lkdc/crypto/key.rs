//! Keys: an encryption type and its octets, and what they do.

use std::fmt;
use std::sync::{Arc, OnceLock};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::CryptoError;
use super::cts::BLOCK;
use super::derive::{Derived, KeyOctets, SealKeys};
use super::etype::{Etype, Family};
use super::mac::Mac;
pub use super::password::MAX_ITERATIONS;
use super::password::string_to_key;
use crate::entropy::Entropy;

/// A Kerberos key. Clones share one copy, with the keys derived from it so far; it is wiped with the last of them.
#[derive(Clone)]
pub struct Key {
    /// Here and not behind the pointer: the key of a type is found without a look at all others.
    etype: Etype,
    secret: Arc<Secret>,
}

struct Secret {
    octets: KeyOctets,
    derived: OnceLock<Box<Derived>>,
}

/// What comes before the plaintext so that equal plaintexts look different.
const CONFOUNDER: usize = BLOCK;

impl Key {
    /// A key of these octets (random-to-key, which for AES is the identity).
    pub fn new(etype: Etype, octets: &[u8]) -> Result<Self, CryptoError> {
        let wrong = CryptoError::KeyLength { etype, got: octets.len() };
        let mut copy = KeyOctets::default();
        match copy.get_mut(..etype.key_length()) {
            Some(room) if room.len() == octets.len() => room.copy_from_slice(octets),
            _ => return Err(wrong),
        }
        Ok(Self::from_octets(etype, copy))
    }

    fn from_octets(etype: Etype, octets: KeyOctets) -> Self {
        Self { etype, secret: Arc::new(Secret { octets, derived: OnceLock::new() }) }
    }

    /// A copy with a memory of its own. What is derived from it goes with it, and the original remembers nothing of it: for keys of which
    /// there are many and each is seldom used.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::from_octets(self.etype, self.secret.octets.clone())
    }

    /// A fresh one.
    pub fn random(etype: Etype, entropy: &mut dyn Entropy) -> Self {
        let mut octets = KeyOctets::default();
        entropy.fill(&mut octets[..etype.key_length()]);
        Self::from_octets(etype, octets)
    }

    /// string-to-key. Without a count, the type's default; counts of zero or above [`MAX_ITERATIONS`] are refused.
    /// A client should also refuse a count below [`Etype::default_iterations`]: it may come from one who wants to guess the password.
    pub fn from_password(etype: Etype, password: &[u8], salt: &[u8], iterations: Option<u32>) -> Result<Self, CryptoError> {
        let octets = string_to_key(etype, password, salt, iterations.unwrap_or_else(|| etype.default_iterations()))?;
        Ok(Self::from_octets(etype, octets))
    }

    /// Its encryption type.
    pub fn etype(&self) -> Etype {
        self.etype
    }

    /// Its octets, which are secret.
    pub fn bytes(&self) -> &[u8] {
        &self.secret.octets[..self.etype.key_length()]
    }

    /// Whether anything derived from it is remembered.
    #[cfg(test)]
    pub(crate) fn remembers(&self) -> bool {
        self.secret.derived.get().is_some()
    }

    pub(super) fn derived(&self) -> &Derived {
        self.secret.derived.get_or_init(|| Box::new(Derived::new(self.etype, self.bytes())))
    }

    /// Encrypts and authenticates.
    pub fn encrypt(&self, usage: u32, plain: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let mut confounder = [0; CONFOUNDER];
        entropy.fill(&mut confounder);
        self.encrypt_after(usage, confounder, plain)
    }

    pub(super) fn encrypt_after(&self, usage: u32, confounder: [u8; CONFOUNDER], plain: &[u8]) -> Vec<u8> {
        let length = self.etype().checksum_length();
        let mut out = Vec::with_capacity(CONFOUNDER + plain.len() + length);
        out.extend_from_slice(&confounder);
        out.extend_from_slice(plain);
        let seal = |SealKeys { ke, ki }: &SealKeys| {
            let tag = match self.etype().family() {
                Family::Simplified => {
                    let tag = ki.over(&[&out]);
                    ke.encrypt(&mut out);
                    tag
                }
                Family::Sha2 => {
                    ke.encrypt(&mut out);
                    ki.over(&[&[0; BLOCK], &out])
                }
            };
            out.extend_from_slice(&tag[..length]);
        };
        self.derived().sealing(usage, seal);
        out
    }

    /// Checks and decrypts what [`Key::encrypt`] made, here or elsewhere.
    pub fn decrypt(&self, usage: u32, cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let etype = self.etype();
        let (body, tag) = cipher
            .len()
            .checked_sub(etype.checksum_length())
            .filter(|body| *body >= CONFOUNDER)
            .and_then(|body| cipher.split_at_checked(body))
            .ok_or(CryptoError::Truncated { etype, got: cipher.len() })?;
        let open = |SealKeys { ke, ki }: &SealKeys| {
            let mut plain = Zeroizing::new(body.to_vec());
            let good = match etype.family() {
                Family::Simplified => {
                    ke.decrypt(&mut plain);
                    bool::from(ki.over(&[&plain])[..tag.len()].ct_eq(tag))
                }
                Family::Sha2 => {
                    let good = bool::from(ki.over(&[&[0; BLOCK], body])[..tag.len()].ct_eq(tag));
                    if good {
                        ke.decrypt(&mut plain);
                    }
                    good
                }
            };
            good.then_some(plain)
        };
        let plain = self.derived().sealing(usage, open);
        let mut plain = plain.ok_or(CryptoError::Integrity { etype, usage })?;
        plain.copy_within(CONFOUNDER.., 0);
        let length = plain.len() - CONFOUNDER;
        plain[length..].zeroize();
        plain.truncate(length);
        Ok(plain)
    }

    /// The mandatory checksum of the key's type, [`Etype::checksum_type`].
    pub fn checksum(&self, usage: u32, data: &[u8]) -> Vec<u8> {
        let sum = |kc: &Mac| kc.over(&[data])[..self.etype().checksum_length()].to_vec();
        self.derived().checking(usage, sum)
    }

    /// Compares in constant time.
    pub fn verify_checksum(&self, usage: u32, data: &[u8], checksum: &[u8]) -> Result<(), CryptoError> {
        if self.checksum(usage, data).ct_eq(checksum).into() { Ok(()) } else { Err(CryptoError::Integrity { etype: self.etype(), usage }) }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.etype() == other.etype() && self.bytes().ct_eq(other.bytes()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, ..)", self.etype())
    }
}
