//! Why no ticket was got.

use super::grant::UnusableCredential;
use super::refusal::Refusal;
use super::reply::ReplyError;
use crate::lkdc::asn1::Asn1Error;
use crate::lkdc::crypto::CryptoError;
use crate::lkdc::fast::FastError;
use crate::lkdc::otp::OtpError;
use crate::lkdc::pkinit::PkinitClientError;
use crate::lkdc::spake::SpakeError;

/// Why a client's exchange ended without a ticket.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The KDC says no.
    #[error("the KDC of {realm} refuses: {refusal}")]
    Refused {
        /// Whose.
        realm: String,
        /// Its words.
        refusal: Box<Refusal>,
    },
    /// A no that did not come through the armor of our request: anyone could have said it.
    #[error("something answers in place of the KDC of {realm}, or it cannot read our request: {refusal}")]
    Unprotected {
        /// Whose.
        realm: String,
        /// Its words.
        refusal: Box<Refusal>,
    },
    /// A password would do, and none was given.
    #[error("the KDC of {0} wants a password")]
    NeedsPassword(String),
    /// A one-time code would do, and none was given.
    #[error("the KDC of {0} wants a one-time code")]
    NeedsCode(String),
    /// Nothing that is offered can be done with what was given.
    #[error("the KDC of {realm} offers no way to log in that fits (pre-authentication types {offered:?})")]
    NoMethod {
        /// Whose.
        realm: String,
        /// What it offers.
        offered: Vec<i32>,
    },
    /// It holds a key, and not the one that its realm is named after.
    #[error("the KDC that answers for {0} is an impostor: its key is not the one the realm is named after")]
    Impostor(String),
    /// A realm that no key names, where only machines of the account are believed.
    #[error("{0} is not the realm of a machine")]
    NotMachine(String),
    /// It sends us to a realm that we do not expect.
    #[error("the KDC sends us from {from} to {to}, which is not where we want to go")]
    Strayed {
        /// Where we asked.
        from: String,
        /// Where we should ask.
        to: String,
    },
    /// It asks again and again.
    #[error("the KDC of {0} finds no end")]
    Endless(String),
    /// It wants a password to be hashed in a way that makes guessing easy.
    #[error("the KDC of {realm} wants the password hashed with {iterations} rounds only")]
    WeakRecipe {
        /// Whose.
        realm: String,
        /// How many it wants.
        iterations: u32,
    },
    /// It answered over FAST without proving that it is the one.
    #[error("the KDC of {0} did not prove that it knows the password")]
    Unproven(String),
    /// Its reply does not hold.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A credential of the cache.
    #[error(transparent)]
    Credential(#[from] UnusableCredential),
    /// FAST.
    #[error(transparent)]
    Fast(#[from] FastError),
    /// PKINIT.
    #[error(transparent)]
    Pkinit(#[from] PkinitClientError),
    /// SPAKE.
    #[error(transparent)]
    Spake(#[from] SpakeError),
    /// OTP.
    #[error(transparent)]
    Otp(#[from] OtpError),
}

impl From<Asn1Error> for ClientError {
    fn from(error: Asn1Error) -> Self {
        Self::Reply(error.into())
    }
}

impl From<CryptoError> for ClientError {
    fn from(error: CryptoError) -> Self {
        Self::Reply(error.into())
    }
}
