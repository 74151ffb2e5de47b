//! SPAKE in the KDC's table of mechanisms.

use rasn_kerberos::PaData;
use zeroize::Zeroizing;

use super::kdc::{self, Message};
use super::{PA_SPAKE, SpakeError};
use crate::entropy::Entropy;
use crate::lkdc::fast::{Cookie, CookieJar, FastError};
use crate::lkdc::kdc::error::{ErrorCode, Refusal};
use crate::lkdc::kdc::preauth::{Asked, Mechanism, Proof, Verdict};

/// A password, proven so that nobody can try others by what was said.
#[derive(Clone, Debug)]
pub struct Spake {
    jar: CookieJar,
}

impl Spake {
    /// With something to keep its numbers in.
    pub fn new(jar: CookieJar) -> Self {
        Self { jar }
    }

    fn more(&self, asked: &Asked<'_>, challenge: kdc::Challenge, entropy: &mut dyn Entropy) -> Verdict {
        let message = PaData { r#type: PA_SPAKE, value: challenge.message.into() };
        let cookie = self.jar.seal(&Cookie::of(PA_SPAKE, challenge.secret), asked.client, asked.now, entropy);
        Verdict::More(vec![message, cookie])
    }

    fn remembered(&self, asked: &Asked<'_>) -> Result<Zeroizing<Vec<u8>>, SpakeError> {
        let cookie = self.jar.open(asked.padata, asked.client, asked.now)?;
        let value = cookie.as_ref().and_then(|cookie| cookie.get(PA_SPAKE)).ok_or(SpakeError::OutOfTurn)?;
        Ok(Zeroizing::new(value.to_vec()))
    }
}

fn refused(error: &SpakeError) -> Refusal {
    let code = match error {
        SpakeError::Cookie(FastError::CookieExpired) => ErrorCode::KDC_ERR_PREAUTH_EXPIRED,
        _ => ErrorCode::KDC_ERR_PREAUTH_FAILED,
    };
    Refusal::new(code, format!("SPAKE: {error}"))
}

impl Mechanism for Spake {
    fn takes(&self) -> i32 {
        PA_SPAKE
    }

    fn offer(&self, asked: &Asked<'_>, _: &mut dyn Entropy) -> Vec<PaData> {
        if asked.sole_key().is_none() {
            return Vec::new();
        }
        vec![PaData { r#type: PA_SPAKE, value: Vec::new().into() }]
    }

    fn judge(&self, asked: &Asked<'_>, value: &[u8], entropy: &mut dyn Entropy) -> Result<Verdict, Refusal> {
        let unsuitable = || Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, "SPAKE does not prove this client");
        let initial = asked.sole_key().ok_or_else(unsuitable)?;
        match kdc::read(value).map_err(|error| refused(&error))? {
            Message::Support(group) => Ok(self.more(asked, kdc::challenge(group, initial, Some(value), entropy), entropy)),
            Message::Response(response) => {
                let finished = self.remembered(asked).and_then(|cookie| kdc::finish(&response, &cookie, initial, asked.req_body));
                let reply_key = finished.map_err(|error| refused(&error))?;
                Ok(Verdict::Proven(Proof { reply_key: Some(reply_key), ..Proof::by_key(asked, &response.factor.cipher) }))
            }
        }
    }
}
