//! The KDC's end of FAST.

use std::time::SystemTime;

use rasn_kerberos::{KdcReqBody, PaData};

use super::armor::{self, ArmoredBy, Tgs};
use super::asn1::{KrbFastArmoredRep, KrbFastArmoredReq, KrbFastFinished, KrbFastReq, KrbFastResponse, PaFxFastReply, PaFxFastRequest};
use super::envelope::{checksum, key_to_message, open, seal, verify};
use super::{FastError, FastOptions, PA_FX_COOKIE, PA_FX_ERROR, PA_FX_FAST};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::name::Principal;

/// `[2]` of KrbFastReq.
const REQ_BODY: u8 = 0xa2;
/// Clients go on with a conversation only if the error has a cookie (RFC 6113 §5.2), so there is one also when there is nothing to remember.
const NO_COOKIE: &[u8] = b"btmm";

/// What was inside the armor. It replaces the outer padata and body.
#[derive(Clone, Debug)]
pub struct FastRequest {
    armor: Key,
    /// What the client asks of the KDC's behaviour.
    pub options: FastOptions,
    /// The real padata.
    pub padata: Vec<PaData>,
    /// The real body.
    pub body: KdcReqBody,
    /// The real body as the client encoded it.
    pub raw_body: Vec<u8>,
    /// Whose ticket made the armor; none when the TGS-REQ is its own.
    pub armored_by: Option<ArmoredBy>,
}

/// What KrbFastFinished vouches for.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The client's realm.
    pub realm: &'a str,
    /// The client.
    pub client: &'a Principal,
    /// The encoded ticket, as in the reply.
    pub ticket: &'a [u8],
}

/// What an armored reply is made of.
#[derive(Clone, Debug)]
pub struct FastReply {
    /// The only padata of the outer reply.
    pub padata: PaData,
    /// Encrypts the reply's secret part instead of the plain reply key.
    pub reply_key: Key,
}

/// Takes an AS-REQ out of its armor: `value` of its PA-FX-FAST, and `outer_body` as the client encoded it.
pub fn open_as(value: &[u8], outer_body: &[u8], tgs: Tgs<'_>, now: SystemTime) -> Result<FastRequest, FastError> {
    let PaFxFastRequest::Armored(request) = asn1::decode(value)?;
    let (key, by) = armor::accept(request.armor.as_ref().ok_or(FastError::NoArmor)?, tgs, now)?;
    unwrap(&request, key, outer_body, Some(by))
}

/// Takes a TGS-REQ out of its armor: `value` of its PA-FX-FAST, `ap_req` of its PA-TGS-REQ, and the keys of that AP-REQ.
pub fn open_tgs(value: &[u8], ap_req: &[u8], subkey: Option<&Key>, session: &Key) -> Result<FastRequest, FastError> {
    let PaFxFastRequest::Armored(request) = asn1::decode(value)?;
    if request.armor.is_some() {
        return Err(FastError::ArmorInTgs);
    }
    let key = armor::armor_key(subkey.ok_or(FastError::NoSubkey)?, session);
    unwrap(&request, key, ap_req, None)
}

fn unwrap(request: &KrbFastArmoredReq, armor: Key, covered: &[u8], armored_by: Option<ArmoredBy>) -> Result<FastRequest, FastError> {
    verify(&armor, usage::FAST_REQ_CHECKSUM, covered, &request.req_checksum)?;
    let plain = open(&armor, usage::FAST_ENC, &request.enc_fast_req)?;
    let inner = asn1::nonce::fast_request(&plain, |request: &mut KrbFastReq| &mut request.req_body)?;
    let options = FastOptions(asn1::flag_bits(&inner.fast_options));
    if let Some(unknown) = options.unknown_critical() {
        return Err(FastError::CriticalOption(unknown));
    }
    let raw_body = asn1::raw::field(&plain, REQ_BODY).ok_or(asn1::Asn1Error::Value("req-body"))?.to_vec();
    Ok(FastRequest { armor, options, padata: inner.padata, body: inner.req_body, raw_body, armored_by })
}

impl Drop for FastRequest {
    fn drop(&mut self) {
        asn1::wipe_padata(&mut self.padata);
    }
}

impl FastRequest {
    /// What KDC and client share.
    pub fn armor_key(&self) -> &Key {
        &self.armor
    }

    /// Armor for a reply with a ticket: `padata` goes inside, and the reply key is strengthened with a fresh one.
    pub fn reply(&self, reply_key: &Key, padata: Vec<PaData>, end: Finished<'_>, now: SystemTime, entropy: &mut dyn Entropy) -> FastReply {
        let strengthen = Key::random(reply_key.etype(), entropy);
        let finished = KrbFastFinished {
            timestamp: asn1::time(now),
            usec: asn1::time::microseconds(now),
            crealm: asn1::string(end.realm),
            cname: end.client.to_message(),
            ticket_checksum: checksum(&self.armor, usage::FAST_FINISHED, end.ticket),
        };
        let response =
            KrbFastResponse { padata, strengthen_key: Some(key_to_message(&strengthen)), finished: Some(finished), nonce: self.body.nonce };
        FastReply { padata: self.armored(&response, entropy), reply_key: strengthened(&strengthen, reply_key) }
    }

    /// Armor for an error: the encoded KRB-ERROR `error`, without e-data, and what its METHOD-DATA would hold go inside. The outer error has
    /// this as its only METHOD-DATA.
    pub fn error(&self, error: &[u8], mut padata: Vec<PaData>, entropy: &mut dyn Entropy) -> PaData {
        if !padata.is_empty() && padata.iter().all(|pa| pa.r#type != PA_FX_COOKIE) {
            padata.push(PaData { r#type: PA_FX_COOKIE, value: NO_COOKIE.to_vec().into() });
        }
        padata.push(PaData { r#type: PA_FX_ERROR, value: error.to_vec().into() });
        let response = KrbFastResponse { padata, strengthen_key: None, finished: None, nonce: self.body.nonce };
        self.armored(&response, entropy)
    }

    fn armored(&self, response: &KrbFastResponse, entropy: &mut dyn Entropy) -> PaData {
        let plain = zeroize::Zeroizing::new(asn1::encode(response));
        let enc_fast_rep = seal(&self.armor, usage::FAST_REP, &plain, entropy);
        let value = PaFxFastReply::Armored(KrbFastArmoredRep { enc_fast_rep });
        PaData { r#type: PA_FX_FAST, value: asn1::encode(&value).into() }
    }
}

/// The reply key with the strengthen key mixed in (RFC 6113 §5.4.3).
pub fn strengthened(strengthen: &Key, reply_key: &Key) -> Key {
    Key::combine(strengthen, reply_key, b"strengthenkey", b"replykey")
}
