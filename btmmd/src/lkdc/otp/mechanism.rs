//! One-time codes in the KDC's table of mechanisms.

use std::sync::Arc;

use rasn_kerberos::PaData;

use super::kdc::{Factors, Judge};
use super::{Ledger, OtpError, PA_OTP_CHALLENGE, PA_OTP_REQUEST};
use crate::entropy::Entropy;
use crate::lkdc::crypto::Key;
use crate::lkdc::kdc::error::{ErrorCode, Refusal};
use crate::lkdc::kdc::preauth::{Asked, Mechanism, Proof, Verdict};
use crate::lkdc::principals::Strength;

/// What the client is told of a machine that cannot write.
const NOT_NOW: &str = "one-time codes cannot be taken now: the machine's own log says why";
/// What the client is told.
const NOT_BOTH: &str = "wrong password or one-time code; a code is good once, and none for a while after too many wrong ones";

/// Code and password, for users who have a token.
#[derive(Debug)]
pub struct Otp(Judge);

impl Otp {
    /// With a key that nobody else has, for nonces.
    pub fn new(key: Key, ledger: Arc<Ledger>) -> Self {
        Self(Judge::new(key, ledger))
    }
}

fn factors<'a>(asked: &Asked<'a>) -> Option<Factors<'a>> {
    let entry = asked.entry?;
    Some(Factors { totp: entry.totp.as_ref()?, password: entry.current()? })
}

impl Mechanism for Otp {
    fn takes(&self) -> i32 {
        PA_OTP_REQUEST
    }

    fn offer(&self, asked: &Asked<'_>, entropy: &mut dyn Entropy) -> Vec<PaData> {
        if asked.armor.is_none() || factors(asked).is_none() {
            return Vec::new();
        }
        let value = self.0.challenge(asked.client, &asked.realm.friendly(), asked.now, entropy);
        vec![PaData { r#type: PA_OTP_CHALLENGE, value: value.into() }]
    }

    fn judge(&self, asked: &Asked<'_>, value: &[u8], _: &mut dyn Entropy) -> Result<Verdict, Refusal> {
        let failed = |reason: String| Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, reason);
        let armor = asked.armor.ok_or_else(|| failed("a one-time code outside of armor".to_owned()))?;
        let factors = factors(asked).ok_or_else(|| failed("this client has no token".to_owned()))?;
        let refused = |error: OtpError| match error {
            // Which of the two was wrong is for those to know who can read the journal.
            OtpError::Password | OtpError::Code | OtpError::Used | OtpError::Wait => failed(error.to_string()).telling(NOT_BOTH),
            OtpError::NotKept(_) => Refusal::new(ErrorCode::KRB_ERR_GENERIC, error.to_string()).telling(NOT_NOW),
            error => failed(error.to_string()),
        };
        let once = self.0.judge(value, armor, asked.client, factors, asked.now).map_err(refused)?;
        Ok(Verdict::Proven(Proof { reply_key: Some(armor.clone()), hardware: true, ..Proof::by(Some(Strength::Otp), &once) }))
    }
}
