//! Encrypted timestamp (RFC 4120 §5.2.7.2): proof of a password by encrypting the time of day.

use rasn_kerberos::{EncryptedData, PaData, PaEncTsEnc};

use super::error::{ErrorCode, Refusal};
use super::preauth::{Asked, Mechanism, Proof, Verdict, pa};
use crate::entropy::Entropy;
use crate::lkdc::asn1::{self, time};
use crate::lkdc::crypto::{Key, usage};

/// Encrypted timestamp. Anyone who hears it can try passwords at leisure, so it is only for clients that know nothing better.
pub struct EncryptedTimestamp;

impl Mechanism for EncryptedTimestamp {
    fn takes(&self) -> i32 {
        pa::ENC_TIMESTAMP
    }

    fn offer(&self, asked: &Asked<'_>, _: &mut dyn Entropy) -> Vec<PaData> {
        if asked.sole_key().is_some() && asked.armor.is_none() {
            vec![PaData { r#type: pa::ENC_TIMESTAMP, value: Vec::new().into() }]
        } else {
            Vec::new()
        }
    }

    fn judge(&self, asked: &Asked<'_>, value: &[u8], _: &mut dyn Entropy) -> Result<Verdict, Refusal> {
        if asked.sole_key().is_none() {
            return Err(Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, "a timestamp does not prove this client"));
        }
        let data: EncryptedData = asn1::decode(value)
            .map_err(|error| Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, format!("encrypted timestamp: {error}")))?;
        let key = key(asked, data.etype).ok_or_else(|| {
            Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, format!("the client has no key of encryption type {}", data.etype))
        })?;
        let wrong = || Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, "wrong password");
        let plain = key.decrypt(usage::PA_ENC_TIMESTAMP, &data.cipher).map_err(|_| wrong())?;
        let stamp: PaEncTsEnc = asn1::decode(&plain).map_err(|_| wrong())?;
        let (theirs, ours) = (time::to_seconds(&stamp.patimestamp), time::seconds(asked.now));
        if theirs.abs_diff(ours) > asked.skew.as_secs() {
            let seconds = theirs.abs_diff(ours);
            return Err(Refusal::new(ErrorCode::KRB_AP_ERR_SKEW, format!("the client's clock differs by {seconds} s")));
        }
        Ok(Verdict::Proven(Proof::by_key(asked, &data.cipher)))
    }
}

fn key(asked: &Asked<'_>, etype: i32) -> Option<Key> {
    asked.long_term(|own| own.number() == etype).next()
}
