//! The encrypted challenge (RFC 6113 §5.4.6): client and KDC prove to each other, inside armor, that they know the client's long-term key.

use std::time::{Duration, SystemTime};

use rasn_kerberos::{EncryptedData, PaEncTsEnc};

use super::FastError;
use super::envelope::{open, seal};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Key, usage};

/// The armor key and the client's long-term key: what an encrypted challenge is made with.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// What KDC and client share.
    pub armor: &'a Key,
    /// Of the client's password, in most cases.
    pub long_term: &'a Key,
}

impl Challenge<'_> {
    /// The client's proof.
    pub fn prove(self, now: SystemTime, entropy: &mut dyn Entropy) -> Vec<u8> {
        make(&self.client_key(), usage::ENC_CHALLENGE_CLIENT, now, entropy)
    }

    /// Whether the client knows the key, and said so just now; then what only it can have written.
    pub fn verify(self, value: &[u8], now: SystemTime, skew: Duration) -> Result<Vec<u8>, FastError> {
        let sealed: EncryptedData = asn1::decode(value)?;
        let at = read(&self.client_key(), usage::ENC_CHALLENGE_CLIENT, &sealed)?;
        let apart = now.duration_since(at).unwrap_or_else(|early| early.duration());
        if apart > skew { Err(FastError::Skew(apart)) } else { Ok(sealed.cipher.to_vec()) }
    }

    /// The KDC's proof, for the reply.
    pub fn answer(self, now: SystemTime, entropy: &mut dyn Entropy) -> Vec<u8> {
        make(&self.kdc_key(), usage::ENC_CHALLENGE_KDC, now, entropy)
    }

    /// Whether the KDC knows the key. Its time does not matter: the armor vouches for freshness.
    pub fn verify_answer(self, value: &[u8]) -> Result<(), FastError> {
        read(&self.kdc_key(), usage::ENC_CHALLENGE_KDC, &asn1::decode(value)?).map(drop)
    }

    fn client_key(self) -> Key {
        Key::combine(self.armor, self.long_term, b"clientchallengearmor", b"challengelongterm")
    }

    fn kdc_key(self) -> Key {
        Key::combine(self.armor, self.long_term, b"kdcchallengearmor", b"challengelongterm")
    }
}

fn make(key: &Key, usage: u32, now: SystemTime, entropy: &mut dyn Entropy) -> Vec<u8> {
    let stamp = PaEncTsEnc { patimestamp: asn1::time(now), pausec: Some(asn1::time::microseconds(now)) };
    asn1::encode(&seal(key, usage, &asn1::encode(&stamp), entropy))
}

fn read(key: &Key, usage: u32, sealed: &EncryptedData) -> Result<SystemTime, FastError> {
    let stamp: PaEncTsEnc = asn1::decode(&open(key, usage, sealed)?)?;
    Ok(asn1::time::joined(&stamp.patimestamp, &stamp.pausec.unwrap_or_default()))
}
