//! One-time codes in Kerberos (RFC 6560), always inside FAST: the second factor of a user who also has a password.
//!
//! The code travels inside the armor, and the challenge's nonce comes back encrypted with the armor key, as stock clients do it; the reply
//! is encrypted with the armor key then. The password travels as the token's PIN.
//!
//! - [`totp`]: codes from the time of day. [`ledger`]: none is good twice; [`linux`]: nor after a restart.
//! - [`kdc`]: challenge and judgement; [`mechanism`]: for the KDC's table. [`client`]: the same from the other end.

pub mod asn1;
pub mod client;
pub mod kdc;
pub mod ledger;
pub mod linux;
pub mod mechanism;
pub mod totp;

use super::asn1::Asn1Error;
use super::crypto::CryptoError;
use super::fast::FastError;

pub use ledger::Ledger;
pub use mechanism::Otp;

/// PA-OTP-CHALLENGE.
pub const PA_OTP_CHALLENGE: i32 = 141;
/// PA-OTP-REQUEST.
pub const PA_OTP_REQUEST: i32 = 142;
/// A code of digits.
pub const FORMAT_DECIMAL: i32 = 0;

/// The flags of a token (RFC 6560 §4.1).
pub mod flag {
    use crate::lkdc::asn1::flags::bit;

    /// The next code, not the current one.
    pub const NEXT_OTP: u32 = bit(1);
    /// The reply key is made of code and password both.
    pub const COMBINE: u32 = bit(2);
    /// A PIN is to be asked for.
    pub const COLLECT_PIN: u32 = bit(3);
    /// The nonce must come back encrypted with a key made of the code.
    pub const MUST_ENCRYPT_NONCE: u32 = bit(5);
    /// The PIN is sent beside the code, not in front of it.
    pub const SEPARATE_PIN: u32 = bit(6);
}

/// Why a code was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtpError {
    /// Not what it should be.
    #[error(transparent)]
    Asn1(#[from] Asn1Error),
    /// Not made with the armor key.
    #[error(transparent)]
    Fast(#[from] FastError),
    /// A key that cannot be made of the password.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// A nonce that we did not give, or too long ago, or to somebody else.
    #[error("not the nonce of a recent challenge to this client")]
    Nonce,
    /// A request without code or password.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// The password is wrong.
    #[error("wrong password with a one-time code")]
    Password,
    /// The code is wrong.
    #[error("wrong one-time code")]
    Code,
    /// The code was used before.
    #[error("one-time code used before")]
    Used,
    /// The code is right, but nobody would know after a restart that it was used.
    #[error("a one-time code cannot be put down as used: {0}")]
    NotKept(String),
    /// Too many wrong codes.
    #[error("too many wrong one-time codes: wait")]
    Wait,
    /// No token among those that would do is one that this client understands.
    #[error("no token of a kind that is known here would do")]
    NoToken,
}

#[cfg(test)]
mod tests;
