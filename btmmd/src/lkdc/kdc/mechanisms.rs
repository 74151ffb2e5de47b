//! The table of mechanisms: all ways in which a client can prove itself to this KDC.

use std::sync::Arc;

use super::preauth::Mechanism;
use super::timestamp::EncryptedTimestamp;
use crate::entropy::Entropy;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::fast::{CookieJar, EncryptedChallenge};
use crate::lkdc::otp::{Ledger, Otp};
use crate::lkdc::spake::Spake;

/// All mechanisms, in the order in which they are offered: the strongest first, because clients take the first that they understand.
/// Their own secrets are made here: what a client was given before a restart is not known after it. `codes` knows the one-time codes that
/// were used.
pub fn mechanisms(codes: Arc<Ledger>, entropy: &mut dyn Entropy) -> Vec<Box<dyn Mechanism>> {
    let mut secret = || Key::random(Etype::Aes256CtsHmacSha384_192, entropy);
    vec![
        Box::new(Otp::new(secret(), codes)),
        Box::new(EncryptedChallenge),
        Box::new(Spake::new(CookieJar::new(secret()))),
        Box::new(EncryptedTimestamp),
    ]
}
