//! TSIG (RFC 8945), HMAC-SHA-256 only.

use std::fmt;

use zeroize::Zeroizing;

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
