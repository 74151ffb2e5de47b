//! PKINIT as one of the KDC's ways to prove oneself.

use std::sync::Arc;

use rasn_kerberos::{EncryptedData, EncryptionKey, PaData};

use super::error::{PkinitError, Refused};
use super::kdc::{PkinitKdc, PkinitRequest, Who};
use crate::account::roster::KeyHash;
use crate::entropy::Entropy;
use crate::lkdc::asn1::{self, Der};
use crate::lkdc::crypto::{Etype, Key, usage};
use crate::lkdc::kdc::earned::{Certified, Earned};
use crate::lkdc::kdc::error::{ErrorCode, Refusal};
use crate::lkdc::kdc::preauth::{Asked, Mechanism, Proof, Verdict, pa};
use crate::lkdc::name::Principal;
use crate::lkdc::principals::Strength;

/// Certificates of the account's machines, and clients that do not say who they are.
#[derive(Debug)]
pub struct Pkinit(pub Arc<PkinitKdc>);

impl Mechanism for Pkinit {
    fn takes(&self) -> i32 {
        pa::PK_AS_REQ
    }

    fn offer(&self, asked: &Asked<'_>, _: &mut dyn Entropy) -> Vec<PaData> {
        let anonymous = asked.client.is_anonymous();
        if !anonymous && !self.0.believers().knows(asked.client) {
            return Vec::new();
        }
        let mut offers = vec![PaData { r#type: pa::PK_AS_REQ, value: Vec::new().into() }];
        if anonymous {
            offers.push(PaData { r#type: pa::PKINIT_KX, value: Vec::new().into() });
        }
        // RFC 8070 §2.2: only to those who ask.
        if asked.padata.iter().any(|padata| padata.r#type == pa::AS_FRESHNESS) {
            offers.push(PaData { r#type: pa::AS_FRESHNESS, value: self.0.freshness_token(asked.now).into() });
        }
        offers
    }

    fn judge(&self, asked: &Asked<'_>, value: &[u8], entropy: &mut dyn Entropy) -> Result<Verdict, Refusal> {
        let name = |name: Option<&rasn_kerberos::PrincipalName>| name.and_then(|name| Principal::of_message(name).ok());
        let nameless = || Refusal::new(ErrorCode::KDC_ERR_PREAUTH_FAILED, "the request does not say who asks for what");
        // The names as they were sent: the key is derived from them.
        let (client, server) = name(asked.body.cname.as_ref()).zip(name(asked.body.sname.as_ref())).ok_or_else(nameless)?;
        let request = PkinitRequest {
            value,
            as_req: asked.request,
            req_body: asked.req_body,
            client: &client,
            server: &server,
            realm: asked.realm.as_str(),
            etypes: asked.etypes,
            skew: asked.skew,
        };
        let answer = self.0.answer(&request, asked.now, entropy).map_err(|refused| refusal(&refused))?;
        let mut proof = Proof {
            padata: vec![PaData { r#type: pa::PK_AS_REP, value: answer.padata.into() }],
            earned: Earned::default(),
            hardware: false,
            session_key: None,
            reply_key: None,
            once: answer.content,
        };
        match answer.who {
            Who::Machine(peer) => {
                let machine = Certified::new(KeyHash::of(&peer.spki), peer.issued_at);
                proof.earned = Earned { strengths: vec![Strength::Certificate], machine: Some(machine) };
            }
            Who::Anonymous => {
                let (padata, session) = key_exchange(&answer.reply_key, entropy);
                proof.padata.push(padata);
                proof.session_key = Some(session);
            }
        }
        proof.reply_key = Some(answer.reply_key);
        Ok(Verdict::Proven(proof))
    }

    fn still_believes(&self, machine: &Certified) -> bool {
        self.0.believers().still_believes(machine)
    }
}

/// PA-PKINIT-KX (RFC 8062 §4.2): the session key depends on both sides, so that neither can force one that it has seen elsewhere.
fn key_exchange(reply_key: &Key, entropy: &mut dyn Entropy) -> (PaData, Key) {
    let etype = reply_key.etype();
    let contribution = Key::random(etype, entropy);
    let plain = Der::of(|der| der.typed(etype.number(), contribution.bytes()));
    let cipher = reply_key.encrypt(usage::PA_PKINIT_KX, &plain, entropy);
    let sealed = EncryptedData { etype: etype.number(), kvno: None, cipher: cipher.into() };
    let padata = PaData { r#type: pa::PKINIT_KX, value: asn1::encode(&sealed).into() };
    (padata, session_key(&contribution, reply_key))
}

/// What the client makes of PA-PKINIT-KX: the session key that the ticket must have.
pub fn session_key_of(value: &[u8], reply_key: &Key) -> Option<Key> {
    let sealed: EncryptedData = asn1::decode(value).ok()?;
    let plain = reply_key.decrypt(usage::PA_PKINIT_KX, &sealed.cipher).ok()?;
    let mut message: EncryptionKey = asn1::decode(&plain).ok()?;
    let contribution = Etype::from_number(message.r#type).and_then(|etype| Key::new(etype, &message.value).ok());
    asn1::wipe(&mut message.value);
    Some(session_key(&contribution?, reply_key))
}

fn session_key(contribution: &Key, reply_key: &Key) -> Key {
    Key::combine(contribution, reply_key, b"PKINIT", b"KEYEXCHANGE")
}

fn refusal(refused: &Refused) -> Refusal {
    let reason = match &refused.error {
        PkinitError::Malformed(error) => format!("PKINIT: {error}"),
        error => error.to_string(),
    };
    let refusal = Refusal::new(ErrorCode(refused.code()), reason);
    match refused.typed_data() {
        Some(typed) => refusal.with_typed_data(typed),
        None => refusal,
    }
}
