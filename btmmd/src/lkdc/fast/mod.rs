//! FAST (RFC 6113): requests and replies inside armor, so that who listens learns no password by guessing and who meddles is noticed.
//!
//! - [`armor`]: the armor key, from a ticket for this KDC's ticket-granting service, anonymous or not, or from a TGS-REQ itself.
//! - [`kdc`]: out of the armor, into the armor. [`client`]: the same from the other end.
//! - [`cookie`]: what a KDC that keeps no state remembers between two requests.
//! - [`challenge`]: the encrypted challenge, a password proven inside armor; [`mechanism`]: for the KDC's table.

pub mod armor;
pub mod asn1;
pub mod challenge;
pub mod client;
pub mod cookie;
pub mod envelope;
pub mod kdc;
pub mod mechanism;

use std::time::Duration;

use super::asn1::Asn1Error;
use super::crypto::{CryptoError, Etype};

pub use armor::ArmoredBy;
pub use client::Armor;
pub use cookie::{Cookie, CookieJar};
pub use kdc::{FastReply, FastRequest, Finished};
pub use mechanism::EncryptedChallenge;

/// PA-FX-COOKIE (RFC 6113 §5.2).
pub const PA_FX_COOKIE: i32 = 133;
/// PA-FX-FAST (RFC 6113 §5.4).
pub const PA_FX_FAST: i32 = 136;
/// PA-FX-ERROR (RFC 6113 §5.4.4).
pub const PA_FX_ERROR: i32 = 137;
/// PA-ENCRYPTED-CHALLENGE (RFC 6113 §5.4.6).
pub const PA_ENCRYPTED_CHALLENGE: i32 = 138;
/// FX_FAST_ARMOR_AP_REQUEST (RFC 6113 §5.4.1.1).
pub const ARMOR_AP_REQUEST: i32 = 1;

/// The options of an armored request. The first half is critical: who does not know one of these must refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOptions(pub u32);

impl FastOptions {
    /// The outer reply must not name the client.
    pub const HIDE_CLIENT_NAMES: u32 = super::asn1::flags::bit(1);
    const CRITICAL: u32 = 0xffff_0000;

    /// Whether the client asks not to be named outside of the armor.
    pub fn hides_client(self) -> bool {
        self.0 & Self::HIDE_CLIENT_NAMES != 0
    }

    fn unknown_critical(self) -> Option<u32> {
        let unknown = self.0 & Self::CRITICAL & !Self::HIDE_CLIENT_NAMES;
        (unknown != 0).then_some(unknown)
    }
}

/// What is wrong with an armored message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FastError {
    /// Not what it should be.
    #[error(transparent)]
    Asn1(#[from] Asn1Error),
    /// Not made with the armor's key, or not for this purpose.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Encrypted with a key of another type than the one both sides have.
    #[error("encrypted with a key of type {got}, not {expected}")]
    Etype {
        /// The type of the key both sides have.
        expected: Etype,
        /// What the message says.
        got: i32,
    },
    /// A key of a type that is not spoken here.
    #[error("keys of type {0} are not spoken here")]
    UnknownEtype(i32),
    /// A checksum of another type than the mandatory one of the armor key.
    #[error("a checksum of type {0} proves nothing here")]
    ChecksumType(i32),
    /// Armor that is not an AP-REQ.
    #[error("armor of type {0} is not known")]
    ArmorType(i32),
    /// An AS-REQ without armor.
    #[error("an armored AS-REQ must say what its armor is")]
    NoArmor,
    /// A TGS-REQ that brings armor besides its own AP-REQ.
    #[error("a TGS-REQ is its own armor")]
    ArmorInTgs,
    /// A TGS-REQ without a subkey of its own.
    #[error("armor needs a subkey in its authenticator")]
    NoSubkey,
    /// A ticket for another service or realm than this KDC's ticket-granting service.
    #[error("the armor's ticket is for {0}, not for this ticket-granting service")]
    NotTgs(String),
    /// A ticket made with a key that is gone or never was.
    #[error("no key {kvno:?} of type {etype} opens the armor's ticket")]
    NoKey {
        /// The type of the key.
        etype: i32,
        /// Its version, if the ticket says.
        kvno: Option<u32>,
    },
    /// The ticket is over, not yet valid, or must be validated first.
    #[error("the armor's ticket is not valid now")]
    TicketTime,
    /// Ticket and authenticator name different clients.
    #[error("the armor's ticket and authenticator name different clients")]
    Mismatch,
    /// Clocks too far apart.
    #[error("clocks differ by {0:?}")]
    Skew(Duration),
    /// An option that must be understood and is not.
    #[error("critical option {0:#010x} is not known")]
    CriticalOption(u32),
    /// A reply to some other request.
    #[error("the armored reply has another request's nonce")]
    Nonce,
    /// The end of the conversation without KrbFastFinished.
    #[error("the armored reply does not vouch for its ticket")]
    NotFinished,
    /// A reply or error without PA-FX-FAST: nobody who has the armor key made it.
    #[error("the reply to an armored request is not armored")]
    NotArmored,
    /// An armored error without an error.
    #[error("the armored error does not say what is wrong")]
    NoError,
    /// A cookie that this KDC did not make for this client.
    #[error("not a cookie of ours for this client")]
    ForeignCookie,
    /// A cookie from too long ago.
    #[error("the conversation took too long")]
    CookieExpired,
}

impl FastError {
    /// The error code (RFC 4120 §7.5.9, RFC 6113 §7) that tells a client of this.
    pub fn code(&self) -> i32 {
        match self {
            Self::UnknownEtype(_) => 14,
            Self::ArmorType(_) | Self::NoArmor | Self::ArmorInTgs | Self::CookieExpired | Self::ForeignCookie | Self::NotArmored => 24,
            Self::NotTgs(_) => 26,
            Self::Crypto(_) | Self::Etype { .. } => 31,
            Self::TicketTime => 32,
            Self::Mismatch => 36,
            Self::Skew(_) => 37,
            Self::ChecksumType(_) => 50,
            Self::NoKey { .. } => 44,
            Self::NoSubkey => 12,
            Self::CriticalOption(_) => 93,
            Self::Asn1(_) | Self::Nonce | Self::NotFinished | Self::NoError => 60,
        }
    }
}

#[cfg(test)]
mod tests;
