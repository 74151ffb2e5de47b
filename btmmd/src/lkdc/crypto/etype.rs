//! Encryption types and their parameters.

use std::fmt;

/// An encryption type we speak (IANA Kerberos encryption type numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum Etype {
    /// RFC 3962.
    Aes128CtsHmacSha1_96 = 17,
    /// RFC 3962.
    Aes256CtsHmacSha1_96 = 18,
    /// RFC 8009.
    Aes128CtsHmacSha256_128 = 19,
    /// RFC 8009.
    Aes256CtsHmacSha384_192 = 20,
}

impl Etype {
    /// All, strongest first.
    pub const ALL: [Self; 4] =
        [Self::Aes256CtsHmacSha384_192, Self::Aes256CtsHmacSha1_96, Self::Aes128CtsHmacSha256_128, Self::Aes128CtsHmacSha1_96];

    /// The type of this number, if we speak it.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|etype| etype.number() == number)
    }

    /// The type whose mandatory checksum has this number.
    pub fn from_checksum_type(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|etype| etype.checksum_type() == number)
    }

    /// The type of this name, as krb5 configuration writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|etype| etype.name() == name)
    }

    /// The registry's number.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The registry's name, which is also part of RFC 8009's salts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128CtsHmacSha1_96 => "aes128-cts-hmac-sha1-96",
            Self::Aes256CtsHmacSha1_96 => "aes256-cts-hmac-sha1-96",
            Self::Aes128CtsHmacSha256_128 => "aes128-cts-hmac-sha256-128",
            Self::Aes256CtsHmacSha384_192 => "aes256-cts-hmac-sha384-192",
        }
    }

    /// Octets in a key, which is also its seed length (RFC 3961's random-to-key is the identity here).
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128CtsHmacSha1_96 | Self::Aes128CtsHmacSha256_128 => 16,
            Self::Aes256CtsHmacSha1_96 | Self::Aes256CtsHmacSha384_192 => 32,
        }
    }

    /// The number of the mandatory checksum type.
    pub fn checksum_type(self) -> i32 {
        match self {
            Self::Aes128CtsHmacSha1_96 => 15,
            Self::Aes256CtsHmacSha1_96 => 16,
            Self::Aes128CtsHmacSha256_128 => 19,
            Self::Aes256CtsHmacSha384_192 => 20,
        }
    }

    /// Octets in a checksum, and in the integrity tag of a ciphertext.
    pub const fn checksum_length(self) -> usize {
        match self {
            Self::Aes128CtsHmacSha1_96 | Self::Aes256CtsHmacSha1_96 => 12,
            Self::Aes128CtsHmacSha256_128 => 16,
            Self::Aes256CtsHmacSha384_192 => 24,
        }
    }

    /// Rounds of PBKDF2 where nobody says otherwise (RFC 3962 §4, RFC 8009 §4).
    pub fn default_iterations(self) -> u32 {
        match self.family() {
            Family::Simplified => 4096,
            Family::Sha2 => 32768,
        }
    }

    pub(super) fn family(self) -> Family {
        match self {
            Self::Aes128CtsHmacSha1_96 | Self::Aes256CtsHmacSha1_96 => Family::Simplified,
            Self::Aes128CtsHmacSha256_128 | Self::Aes256CtsHmacSha384_192 => Family::Sha2,
        }
    }
}

impl fmt::Display for Etype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The two ways to derive keys and to order encryption and integrity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// RFC 3961 §5.3: DK with AES, and a MAC over the plaintext.
    Simplified,
    /// RFC 8009 §3, §5: KDF-HMAC-SHA2, and a MAC over the ciphertext.
    Sha2,
}
