//! The cryptography of Kerberos: encryption types 17 to 20 (RFC 3961, 3962, 8009), key combination (RFC 6113 §5.1),
//! the key agreement of PKINIT (RFC 4556, 5349, 8636) and of SPAKE (RFC 9588).
mod cts;
mod derive;
pub mod dh;
pub mod etype;
mod fold;
pub mod key;
mod mac;
mod mod_exp;
mod modp_primes;
mod password;
pub mod pkinit_key;
mod prf;
pub mod spake_group;
#[cfg(test)]
mod tests;
pub mod usage;

pub use etype::Etype;
pub use key::Key;

/// What can be wrong with keys, ciphertexts and public values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CryptoError {
    /// The key has not the length of its encryption type.
    #[error("a key of {etype} has {} octets, not {got}", etype.key_length())]
    KeyLength {
        /// The type meant.
        etype: Etype,
        /// Octets given.
        got: usize,
    },
    /// A ciphertext shorter than its own overhead.
    #[error("a ciphertext of {etype} cannot be {got} octets long")]
    Truncated {
        /// The type of the key.
        etype: Etype,
        /// Octets given.
        got: usize,
    },
    /// The ciphertext or checksum was not made with this key for this usage over this data.
    #[error("integrity check failed ({etype}, usage {usage})")]
    Integrity {
        /// The type of the key.
        etype: Etype,
        /// The key usage tried.
        usage: u32,
    },
    /// An iteration count of zero, or so high that it would only waste our time.
    #[error("an iteration count of {0} is refused")]
    Iterations(u32),
    /// More pseudo-random octets than PRF+ can give.
    #[error("PRF+ cannot give {0} octets")]
    PrfLength(usize),
    /// An agreement in this group can be broken.
    #[error("the group {0:?} is too weak")]
    WeakGroup(dh::DhGroup),
    /// A public value that is not in its group, or that gives the secret away.
    #[error("the public value is not an acceptable member of {0:?}")]
    PublicValue(dh::DhGroup),
    /// A SPAKE element that is none.
    #[error("the SPAKE element is not an acceptable member of {0:?}")]
    SpakeElement(spake_group::SpakeGroup),
}
