//! The client's end of FAST.

use std::time::SystemTime;

use rasn_kerberos::{ApOptions, ApReq, Authenticator, KdcReqBody, KrbError, MethodData, PaData, Ticket};

use super::armor::armor_key;
use super::asn1::{KrbFastArmor, KrbFastArmoredReq, KrbFastReq, KrbFastResponse, PaFxFastReply, PaFxFastRequest};
use super::envelope::{checksum, key_of_message, key_to_message, open, seal, verify};
use super::kdc::strengthened;
use super::{ARMOR_AP_REQUEST, FastError, FastOptions, PA_FX_ERROR, PA_FX_FAST};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::name::Principal;

/// Armor around a client's requests of one conversation.
#[derive(Clone, Debug)]
pub struct Armor {
    key: Key,
    ap_req: Option<Vec<u8>>,
}

/// A ticket for the KDC's ticket-granting service, to make armor of.
#[derive(Clone, Copy, Debug)]
pub struct ArmorTicket<'a> {
    /// The ticket.
    pub ticket: &'a Ticket,
    /// Its session key.
    pub session: &'a Key,
    /// The realm of whom it is for.
    pub realm: &'a str,
    /// Whom it is for; anonymous with anonymous PKINIT.
    pub client: &'a Principal,
}

/// What goes inside the armor of a request.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// What is asked of the KDC's behaviour.
    pub options: FastOptions,
    /// The real padata.
    pub padata: &'a [PaData],
    /// The real body.
    pub body: &'a KdcReqBody,
}

/// What an armored reply with a ticket says.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// The real padata.
    pub padata: Vec<PaData>,
    /// The client's realm.
    pub realm: String,
    /// The client.
    pub client: Principal,
    strengthen: Option<Key>,
}

impl Vouched {
    /// What encrypts the reply's secret part, when `reply_key` would without armor.
    pub fn reply_key(&self, reply_key: &Key) -> Key {
        self.strengthen.as_ref().map_or_else(|| reply_key.clone(), |strengthen| strengthened(strengthen, reply_key))
    }
}

impl Armor {
    /// Armor for AS-REQs, of a ticket that one has already.
    pub fn of_ticket(with: ArmorTicket<'_>, now: SystemTime, entropy: &mut dyn Entropy) -> Self {
        let subkey = Key::random(with.session.etype(), entropy);
        let authenticator = Authenticator {
            authenticator_vno: 5.into(),
            crealm: asn1::string(with.realm),
            cname: with.client.to_message(),
            cksum: None,
            cusec: asn1::time::microseconds(now),
            ctime: asn1::time(now),
            subkey: Some(key_to_message(&subkey)),
            seq_number: None,
            authorization_data: None,
        };
        let plain = zeroize::Zeroizing::new(asn1::encode(&authenticator));
        let ap_req = ApReq {
            pvno: 5.into(),
            msg_type: 14.into(),
            ap_options: ApOptions(asn1::flags(0)),
            ticket: with.ticket.clone(),
            authenticator: seal(with.session, usage::AP_REQ_AUTHENTICATOR, &plain, entropy),
        };
        Self { key: armor_key(&subkey, with.session), ap_req: Some(asn1::encode(&ap_req)) }
    }

    /// Armor for the one TGS-REQ whose AP-REQ has this subkey and session key.
    pub fn of_tgs(subkey: &Key, session: &Key) -> Self {
        Self { key: armor_key(subkey, session), ap_req: None }
    }

    /// What client and KDC share.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The PA-FX-FAST of a request. `covered` is the outer KDC-REQ-BODY as it will be sent (AS), or the AP-REQ (TGS).
    pub fn request(&self, inner: &Inside<'_>, covered: &[u8], entropy: &mut dyn Entropy) -> PaData {
        let inner = KrbFastReq { fast_options: asn1::flags(inner.options.0), padata: inner.padata.to_vec(), req_body: inner.body.clone() };
        let plain = zeroize::Zeroizing::new(asn1::encode(&inner));
        let request = KrbFastArmoredReq {
            armor: self.ap_req.as_ref().map(|ap_req| KrbFastArmor { armor_type: ARMOR_AP_REQUEST, armor_value: ap_req.clone().into() }),
            req_checksum: checksum(&self.key, usage::FAST_REQ_CHECKSUM, covered),
            enc_fast_req: seal(&self.key, usage::FAST_ENC, &plain, entropy),
        };
        PaData { r#type: PA_FX_FAST, value: asn1::encode(&PaFxFastRequest::Armored(request)).into() }
    }

    /// Opens a reply with a ticket: its padata, and the encoded ticket that it must vouch for.
    pub fn open_reply(&self, padata: &[PaData], nonce: u32, ticket: &[u8]) -> Result<Vouched, FastError> {
        let response = self.open(padata, nonce)?;
        let finished = response.finished.ok_or(FastError::NotFinished)?;
        verify(&self.key, usage::FAST_FINISHED, ticket, &finished.ticket_checksum)?;
        Ok(Vouched {
            padata: response.padata,
            realm: asn1::text(&finished.crealm)?.to_owned(),
            client: Principal::of_message(&finished.cname)?,
            strengthen: response.strengthen_key.as_ref().map(key_of_message).transpose()?,
        })
    }

    /// Opens an error: the one that the KDC means, and its METHOD-DATA. What an error says outside of the armor, anybody may have written.
    pub fn open_error(&self, error: &KrbError, nonce: u32) -> Result<(KrbError, Vec<PaData>), FastError> {
        let e_data = error.e_data.as_ref().ok_or(FastError::NotArmored)?;
        let outer: MethodData = asn1::decode(e_data)?;
        let mut padata = self.open(&outer, nonce)?.padata;
        let at = padata.iter().position(|pa| pa.r#type == PA_FX_ERROR).ok_or(FastError::NoError)?;
        let inner = asn1::decode(&padata.remove(at).value)?;
        Ok((inner, padata))
    }

    fn open(&self, padata: &[PaData], nonce: u32) -> Result<KrbFastResponse, FastError> {
        let armored = padata.iter().find(|pa| pa.r#type == PA_FX_FAST).ok_or(FastError::NotArmored)?;
        let PaFxFastReply::Armored(reply) = asn1::decode(&armored.value)?;
        let plain = open(&self.key, usage::FAST_REP, &reply.enc_fast_rep)?;
        let response: KrbFastResponse = asn1::decode(&plain)?;
        if response.nonce == nonce { Ok(response) } else { Err(FastError::Nonce) }
    }
}
