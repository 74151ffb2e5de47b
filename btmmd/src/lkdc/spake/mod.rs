//! SPAKE pre-authentication (RFC 9588): a password proven so that who listens, or pretends to be the KDC, learns nothing to guess by.
//!
//! What both ends compute is in `crypto::spake_group`; the messages are in [`kdc`] and [`client`].
//!
//! There is no second factor in here (SF-NONE): one-time codes have their own mechanism, inside FAST.

pub mod asn1;
pub mod client;
pub mod kdc;
pub mod mechanism;

use super::asn1::Asn1Error;
use super::crypto::{CryptoError, Etype};
use super::fast::FastError;

pub use mechanism::Spake;

/// PA-SPAKE.
pub const PA_SPAKE: i32 = 151;
/// No second factor.
pub const SF_NONE: i32 = 1;

/// Why a message was not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpakeError {
    /// Not what it should be.
    #[error(transparent)]
    Asn1(#[from] Asn1Error),
    /// A public value that is no point of its group, or a key that cannot be.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// No cookie, or not one for this.
    #[error(transparent)]
    Cookie(#[from] FastError),
    /// No group in common.
    #[error("no group in common: the other side speaks {0:?}")]
    NoGroup(Vec<i32>),
    /// Another message than the one that is due.
    #[error("not the message that is due")]
    OutOfTurn,
    /// A second factor that is not known here.
    #[error("second factors {0:?} are not known here")]
    NoFactor(Vec<i32>),
    /// The challenge was made with a key of another type than the one the client uses now.
    #[error("the conversation began with a key of another type than {0}")]
    KeyChanged(Etype),
    /// The other side has another key: the password is wrong.
    #[error("wrong password")]
    WrongKey,
}

#[cfg(test)]
mod tests;
