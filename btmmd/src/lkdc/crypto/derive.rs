//! Keys made from keys: DK of RFC 3961 §5.1 and KDF-HMAC-SHA2 of RFC 8009 §3.

use std::sync::OnceLock;

use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::cts::{BLOCK, OneWay, Schedule};
use super::etype::{Etype, Family};
use super::fold::{fold_into_block, n_fold};
use super::mac::{Mac, Tag};

/// Room for the longest derived key.
pub(super) type KeyOctets = Zeroizing<[u8; 32]>;

/// DR(key, constant) = DK, since random-to-key of AES changes nothing. Only the first `key_length` octets count.
pub(super) fn dk(etype: Etype, base: &OneWay, constant: &[u8]) -> KeyOctets {
    let mut out = KeyOctets::default();
    let mut block = Zeroizing::new(fold_into_block(constant).unwrap_or_else(|| {
        let mut folded = [0; BLOCK];
        n_fold(constant, &mut folded);
        folded
    }));
    for chunk in out[..etype.key_length()].chunks_exact_mut(BLOCK) {
        base.encrypt_block(&mut block);
        chunk.copy_from_slice(block.as_slice());
    }
    out
}

/// KDF-HMAC-SHA2(key, label, context) of `bits` bits, which are never more than one HMAC gives.
pub(super) fn kdf_hmac_sha2(key: &Mac, label: &[&[u8]], context: Option<&[u8]>, bits: u32) -> Tag {
    let (one, length) = (1u32.to_be_bytes(), bits.to_be_bytes());
    let mut parts: [&[u8]; 6] = [&one, &[], &[], &[0], context.unwrap_or_default(), &length];
    for (part, label) in parts.iter_mut().skip(1).zip(label) {
        *part = label;
    }
    key.over(&parts)
}

/// What encrypts for one usage.
pub(super) struct SealKeys {
    pub(super) ke: Schedule,
    pub(super) ki: Mac,
}

/// A key ready for derivations.
enum Base {
    Aes(OneWay),
    Hmac(Mac),
}

impl Base {
    fn new(etype: Etype, key: &[u8]) -> Self {
        match etype.family() {
            Family::Simplified => Self::Aes(OneWay::new(etype, key)),
            Family::Sha2 => Self::Hmac(Mac::new(etype, key)),
        }
    }

    fn derive<R>(&self, etype: Etype, usage: u32, purpose: u8, make: impl FnOnce(&[u8]) -> R) -> R {
        let [a, b, c, d] = usage.to_be_bytes();
        let constant = [a, b, c, d, purpose];
        match self {
            Self::Aes(base) => make(&dk(etype, base, &constant)[..etype.key_length()]),
            Self::Hmac(base) => {
                let octets = if purpose == ENCRYPTION { etype.key_length() } else { etype.checksum_length() };
                let bits = u32::try_from(octets * 8).expect("keys are short");
                make(&kdf_hmac_sha2(base, &[&constant], None, bits)[..octets])
            }
        }
    }
}

const CHECKSUM: u8 = 0x99;
const ENCRYPTION: u8 = 0xAA;
const INTEGRITY: u8 = 0x55;

/// The keys that one base key has given so far. A key that is used often derives what it needs once.
pub(super) struct Derived {
    etype: Etype,
    base: Base,
    seal: PerUsage<SealKeys>,
    check: PerUsage<Mac>,
}

impl Derived {
    pub(super) fn new(etype: Etype, key: &[u8]) -> Self {
        Self { etype, base: Base::new(etype, key), seal: PerUsage::default(), check: PerUsage::default() }
    }

    /// With the keys that encrypt for `usage`.
    pub(super) fn sealing<R>(&self, usage: u32, with: impl FnOnce(&SealKeys) -> R) -> R {
        let make = || SealKeys {
            ke: self.base.derive(self.etype, usage, ENCRYPTION, |key| Schedule::new(self.etype, key)),
            ki: self.base.derive(self.etype, usage, INTEGRITY, |key| Mac::new(self.etype, key)),
        };
        self.seal.with(usage, make, with)
    }

    /// With the key that makes checksums for `usage`.
    pub(super) fn checking<R>(&self, usage: u32, with: impl FnOnce(&Mac) -> R) -> R {
        self.check.with(usage, || self.base.derive(self.etype, usage, CHECKSUM, |key| Mac::new(self.etype, key)), with)
    }

    /// PRF of RFC 3962 §6 (RFC 3961 §5.3) and RFC 8009 §5.
    pub(super) fn prf(&self, input: &[u8]) -> Zeroizing<Vec<u8>> {
        match &self.base {
            Base::Aes(base) => {
                let mut block = Zeroizing::new(*Sha1::digest(input).first_chunk::<BLOCK>().expect("SHA-1 gives more than a block"));
                OneWay::new(self.etype, &dk(self.etype, base, b"prf")[..self.etype.key_length()]).encrypt_block(&mut block);
                Zeroizing::new(block.to_vec())
            }
            Base::Hmac(base) => {
                let bits = if self.etype.key_length() == 16 { 256 } else { 384 };
                Zeroizing::new(kdf_hmac_sha2(base, &[b"prf"], Some(input), bits).to_vec())
            }
        }
    }
}

/// How many usages of a key are remembered. A ticket-granting key has three, a client's four.
const REMEMBERED: usize = 6;

/// Found without a lock; a usage beyond the remembered ones is derived again each time.
struct PerUsage<T> {
    slots: [Slot<T>; REMEMBERED],
}

/// A usage, and from its second time on what was derived for it: most keys live for one message of each usage, and pay nothing for a memory.
struct Slot<T> {
    usage: OnceLock<u32>,
    derived: OnceLock<Box<T>>,
}

impl<T> Default for PerUsage<T> {
    fn default() -> Self {
        let slot = |_| Slot { usage: OnceLock::new(), derived: OnceLock::new() };
        Self { slots: std::array::from_fn(slot) }
    }
}

impl<T> PerUsage<T> {
    fn with<R>(&self, usage: u32, make: impl Fn() -> T, with: impl FnOnce(&T) -> R) -> R {
        for slot in &self.slots {
            let mut first = false;
            let taken = slot.usage.get_or_init(|| {
                first = true;
                usage
            });
            if *taken == usage {
                return if first { with(&make()) } else { with(slot.derived.get_or_init(|| Box::new(make()))) };
            }
        }
        with(&make())
    }
}
