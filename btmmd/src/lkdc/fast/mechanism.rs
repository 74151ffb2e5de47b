//! The encrypted challenge in the KDC's table of mechanisms.

use rasn_kerberos::PaData;

use super::challenge::Challenge;
use super::{FastError, PA_ENCRYPTED_CHALLENGE};
use crate::entropy::Entropy;
use crate::lkdc::kdc::error::{ErrorCode, Refusal};
use crate::lkdc::kdc::preauth::{Asked, Mechanism, Proof, Verdict};

/// A password proven inside armor, by both sides.
#[derive(Clone, Copy, Debug)]
pub struct EncryptedChallenge;

impl Mechanism for EncryptedChallenge {
    fn takes(&self) -> i32 {
        PA_ENCRYPTED_CHALLENGE
    }

    fn offer(&self, asked: &Asked<'_>, _: &mut dyn Entropy) -> Vec<PaData> {
        if asked.armor.is_none() || asked.sole_key().is_none() {
            return Vec::new();
        }
        vec![PaData { r#type: PA_ENCRYPTED_CHALLENGE, value: Vec::new().into() }]
    }

    fn judge(&self, asked: &Asked<'_>, value: &[u8], entropy: &mut dyn Entropy) -> Result<Verdict, Refusal> {
        let failed = |reason: String| Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, reason);
        let armor = asked.armor.ok_or_else(|| failed("an encrypted challenge outside of armor".to_owned()))?;
        if asked.sole_key().is_none() {
            return Err(failed("an encrypted challenge does not prove this client".to_owned()));
        }
        let mut refusal = failed("wrong password".to_owned());
        // The challenge says the armor's type, not the password key's: whichever key opens it is the client's.
        for long_term in asked.long_term(|own| asked.etypes.contains(&own)) {
            let challenge = Challenge { armor, long_term: &long_term };
            match challenge.verify(value, asked.now, asked.skew) {
                Ok(once) => {
                    let answer = challenge.answer(asked.now, entropy);
                    let padata = vec![PaData { r#type: PA_ENCRYPTED_CHALLENGE, value: answer.into() }];
                    let proof = Proof::by_key(asked, &once);
                    return Ok(Verdict::Proven(Proof { reply_key: Some(long_term), padata, ..proof }));
                }
                Err(error @ FastError::Skew(_)) => return Err(Refusal::new(ErrorCode::KRB_AP_ERR_SKEW, error.to_string())),
                Err(FastError::Crypto(_)) => {}
                Err(error) => refusal = failed(format!("encrypted challenge: {error}")),
            }
        }
        Err(refusal)
    }
}
