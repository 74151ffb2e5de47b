//! TSIG (RFC 8945), HMAC-SHA-256 only, on bytes.
//!
//! Ours rather than hickory-proto's, for three reasons. What is unsigned must not reach a large parser: here forty lines find the
//! signature, and only bytes with a right MAC go on to hickory. Its verification adds two attacker's 16-bit counts without a check, and
//! it has no truncation, no BADTIME with the server's clock in it (RFC 8945 §5.2.3), which we need to tell a person that a clock is off.

use std::fmt;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::outline::{CanonicalName, Outline, Signature};

/// Seconds a signature may be off (RFC 8945 §10).
pub const FUDGE: u16 = 300;
/// Octets of a whole MAC.
pub const MAC_LENGTH: usize = 32;
/// The shortest truncated MAC that is not simply malformed: half the hash (RFC 8945 §5.2.2.1).
const SHORTEST_MAC: usize = MAC_LENGTH / 2;

/// TSIG errors (RFC 8945 §3).
pub const BADSIG: u16 = 16;
/// The key or its algorithm is not known.
pub const BADKEY: u16 = 17;
/// The time signed is outside the fudge.
pub const BADTIME: u16 = 18;
/// The MAC was cut too short for us.
pub const BADTRUNC: u16 = 22;

/// Why a secret was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum SecretError {
    /// RFC 8945 §8 wants a key at least as long as the MAC; a longer one than the hash's block is a mistake.
    #[error("a TSIG secret has 32 to 64 octets, this one has {0}")]
    Length(usize),
    /// Not base64.
    #[error("the TSIG secret is not base64")]
    Base64,
}

/// The secret shared by one machine and the base. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigSecret(Zeroizing<Vec<u8>>);

impl TsigSecret {
    /// 32 to 64 octets of good randomness.
    pub fn new(octets: &[u8]) -> Result<Self, SecretError> {
        if (32..=64).contains(&octets.len()) { Ok(Self(Zeroizing::new(octets.to_vec()))) } else { Err(SecretError::Length(octets.len())) }
    }

    /// Reads the base64 of a key file.
    pub fn from_base64(text: &str) -> Result<Self, SecretError> {
        let octets = data_encoding::BASE64.decode(text.trim().as_bytes()).map(Zeroizing::new).map_err(|_| SecretError::Base64)?;
        Self::new(&octets)
    }

    /// For a key file. Wiped when dropped.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(data_encoding::BASE64.encode(&self.0))
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TsigSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TsigSecret(redacted)")
    }
}

/// A named secret.
#[derive(Clone, Debug)]
pub struct Key {
    /// `<host>.<zone>`.
    pub name: CanonicalName,
    /// Its secret.
    pub secret: TsigSecret,
}

/// What a signature covers besides its own message (RFC 8945 §4.3, §5.3.1).
#[derive(Clone, Copy, Debug)]
pub enum Chain<'a> {
    /// A request: nothing.
    Request,
    /// The first reply: the request's MAC.
    First(&'a [u8]),
    /// A further reply of a transfer: the MAC before, and the timers instead of all variables.
    Next(&'a [u8]),
}

/// Why a signature does not hold, in the order of RFC 8945 §5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A MAC longer than the hash or shorter than half of it.
    #[error("the MAC has an impossible length")]
    Malformed,
    /// Another key's name or another algorithm.
    #[error("signed with another key")]
    BadKey,
    /// A wrong MAC.
    #[error("the signature is wrong")]
    BadSig,
    /// Right, but signed too long ago or in the future. Positive: the signer's clock is ahead of ours.
    #[error("the signer's clock is {skew} s off")]
    BadTime {
        /// Seconds, signer minus verifier.
        skew: i64,
    },
    /// Right as far as it goes, but cut short.
    #[error("the MAC is truncated")]
    BadTrunc,
}

/// Checks the signature of `message`, in constant time as to its MAC. `now` is in seconds since 1970.
pub fn verify(message: &[u8], outline: &Outline, signature: &Signature, key: &Key, chain: Chain, now: u64) -> Result<(), Failure> {
    if signature.key != key.name || signature.algorithm != CanonicalName::hmac_sha256() {
        return Err(Failure::BadKey);
    }
    if !(SHORTEST_MAC..=MAC_LENGTH).contains(&signature.mac.len()) {
        return Err(Failure::Malformed);
    }
    let mut unsigned = Vec::with_capacity(signature.start);
    unsigned.extend_from_slice(&signature.original_id.to_be_bytes());
    unsigned.extend_from_slice(message.get(2..10).ok_or(Failure::Malformed)?);
    unsigned.extend_from_slice(&outline.additional.saturating_sub(1).to_be_bytes());
    unsigned.extend_from_slice(message.get(12..signature.start).ok_or(Failure::Malformed)?);
    let timers = Timers { time: signature.time, fudge: signature.fudge, error: signature.error, other: &signature.other };
    let right = mac(key, chain, &unsigned, timers);
    let right = right.as_ref().get(..signature.mac.len()).ok_or(Failure::Malformed)?;
    if !bool::from(right.ct_eq(&signature.mac)) {
        return Err(Failure::BadSig);
    }
    let skew = i64::try_from(signature.time).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    // The signer's own fudge may be narrower than ours, never wider.
    if skew.unsigned_abs() > u64::from(signature.fudge.min(FUDGE)) {
        return Err(Failure::BadTime { skew });
    }
    if signature.mac.len() < MAC_LENGTH { Err(Failure::BadTrunc) } else { Ok(()) }
}

/// The fields of the signature itself that are signed along.
#[derive(Clone, Copy, Debug)]
pub struct Timers<'a> {
    /// Seconds since 1970; 48 bits are sent.
    pub time: u64,
    /// Seconds.
    pub fudge: u16,
    /// 0 or a TSIG error.
    pub error: u16,
    /// The server's time when `error` is BADTIME, else empty.
    pub other: &'a [u8],
}

impl Timers<'_> {
    /// An ordinary signature made at `time`.
    pub fn at(time: u64) -> Self {
        Self { time, fudge: FUDGE, error: 0, other: &[] }
    }
}

/// Signs an encoded message in place and gives its MAC. `message` must be well-formed and unsigned.
pub fn sign(message: &mut Vec<u8>, key: &Key, chain: Chain, timers: Timers) -> Vec<u8> {
    let tag = mac(key, chain, message, timers).as_ref().to_vec();
    append(message, &key.name, &tag, timers);
    tag
}

/// Adds a TSIG record without a MAC, as BADKEY and BADSIG are answered (RFC 8945 §5.3.2).
pub fn append_unsigned(message: &mut Vec<u8>, key: &CanonicalName, timers: Timers) {
    append(message, key, &[], timers);
}

fn mac(key: &Key, chain: Chain, unsigned: &[u8], timers: Timers) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.secret.expose()));
    if let Chain::First(prior) | Chain::Next(prior) = chain {
        context.update(&(prior.len() as u16).to_be_bytes());
        context.update(prior);
    }
    context.update(unsigned);
    let time = timers.time.to_be_bytes();
    let [_, _, time @ ..] = time;
    if let Chain::Next(_) = chain {
        context.update(&time);
        context.update(&timers.fudge.to_be_bytes());
        return context.sign();
    }
    context.update(key.name.as_bytes());
    context.update(&[0, 255, 0, 0, 0, 0]); // class ANY, TTL 0
    context.update(CanonicalName::hmac_sha256().as_bytes());
    context.update(&time);
    context.update(&timers.fudge.to_be_bytes());
    context.update(&timers.error.to_be_bytes());
    context.update(&(timers.other.len() as u16).to_be_bytes());
    context.update(timers.other);
    context.sign()
}

fn append(message: &mut Vec<u8>, key: &CanonicalName, tag: &[u8], timers: Timers) {
    let algorithm = CanonicalName::hmac_sha256();
    let id = [message.first().copied().unwrap_or(0), message.get(1).copied().unwrap_or(0)];
    let [_, _, time @ ..] = timers.time.to_be_bytes();
    message.extend_from_slice(key.as_bytes());
    message.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]); // TSIG, class ANY, TTL 0
    let length = algorithm.as_bytes().len() + 16 + tag.len() + timers.other.len();
    message.extend_from_slice(&(length as u16).to_be_bytes());
    message.extend_from_slice(algorithm.as_bytes());
    message.extend_from_slice(&time);
    message.extend_from_slice(&timers.fudge.to_be_bytes());
    message.extend_from_slice(&(tag.len() as u16).to_be_bytes());
    message.extend_from_slice(tag);
    message.extend_from_slice(&id);
    message.extend_from_slice(&timers.error.to_be_bytes());
    message.extend_from_slice(&(timers.other.len() as u16).to_be_bytes());
    message.extend_from_slice(timers.other);
    if let Some(count) = message.get_mut(10..12) {
        let more = u16::from_be_bytes([count[0], count[1]]).saturating_add(1);
        count.copy_from_slice(&more.to_be_bytes());
    }
}
