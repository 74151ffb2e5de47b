//! Armor (RFC 6113) as the exchanges meet it: a request may come in it, and then everything that is said goes back in it.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use rasn_kerberos::{PaData, TypedData};

use super::error::{EData, ErrorCode, Refusal};
use super::message::ErrorMessage;
use super::preauth::pa;
use super::{Kdc, Request, Story};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::fast::armor::Tgs;
use crate::lkdc::fast::kdc::{open_as, open_tgs};
use crate::lkdc::fast::{FastError, FastReply, FastRequest, Finished};
use crate::lkdc::name::{ANONYMOUS_REALM, Principal};

/// Takes an AS-REQ out of its armor, if it wears any. `outer_body` is what the armor's checksum covers.
pub fn initial(kdc: &Kdc, request: &Request<'_>, padata: &[PaData], outer_body: &[u8]) -> Result<Option<Arc<FastRequest>>, Refusal> {
    let Some(value) = worn(padata) else { return Ok(None) };
    let krbtgt = kdc.krbtgt_entry()?;
    let keys = |etype: Etype, kvno| krbtgt.key(kvno, etype, request.now).cloned();
    let tgs = Tgs { realm: kdc.realm().as_str(), keys: &keys, skew: kdc.settings.policy.skew };
    open_as(value, outer_body, tgs, request.now).map(Arc::new).map(Some).map_err(refused)
}

/// Takes a TGS-REQ out of its armor, if it wears any. The ticket that pays is the armor as well.
pub fn further(padata: &[PaData], ap_req: &[u8], subkey: Option<&Key>, session: &Key) -> Result<Option<Arc<FastRequest>>, Refusal> {
    let Some(value) = worn(padata) else { return Ok(None) };
    open_tgs(value, ap_req, subkey, session).map(Arc::new).map(Some).map_err(refused)
}

/// An empty PA-FX-FAST: says that armor is understood here.
pub fn welcome() -> PaData {
    PaData { r#type: pa::FX_FAST, value: Vec::new().into() }
}

/// What of a reply is not encrypted with its key, and that key.
pub struct Outside<'a> {
    /// The padata.
    pub padata: Vec<PaData>,
    /// Encrypts the rest.
    pub reply_key: Key,
    /// The client's realm.
    pub crealm: &'a str,
    /// The client.
    pub client: &'a Principal,
}

/// Puts the padata of a reply into the armor of its request, if that had any, and strengthens the reply key then.
pub fn outside<'a>(
    armor: Option<&FastRequest>,
    reply_key: &Key,
    padata: Vec<PaData>,
    end: Finished<'a>,
    now: SystemTime,
    entropy: &mut dyn Entropy,
) -> Outside<'a> {
    let Some(armor) = armor else { return Outside { padata, reply_key: reply_key.clone(), crealm: end.realm, client: end.client } };
    let FastReply { padata, reply_key } = armor.reply(reply_key, padata, end, now, entropy);
    let (crealm, client) = if armor.options.hides_client() { (ANONYMOUS_REALM, &*NOBODY) } else { (end.realm, end.client) };
    Outside { padata: vec![padata], reply_key, crealm, client }
}

static NOBODY: LazyLock<Principal> = LazyLock::new(Principal::anonymous);

/// The KRB-ERROR for a request that came in armor. What it is about is inside; outside is only its number.
pub fn error(kdc: &Kdc, armor: &FastRequest, refusal: &Refusal, story: &Story, now: SystemTime, entropy: &mut dyn Entropy) -> Vec<u8> {
    let bare = Refusal { data: EData::None, ..refusal.clone() };
    let inner = kdc.error(&bare, story, now);
    let outer = Refusal::new(refusal.code, "see inside the armor").with_methods(vec![armor.error(&inner, methods(&refusal.data), entropy)]);
    let client = if armor.options.hides_client() {
        Some((ANONYMOUS_REALM, &*NOBODY))
    } else {
        story.client.as_ref().map(|(realm, client)| (realm.as_str(), client))
    };
    let service = story.service.as_ref().unwrap_or(&kdc.krbtgt);
    ErrorMessage { refusal: &outer, client, realm: kdc.realm().as_str(), service, now }.encode()
}

fn worn(padata: &[PaData]) -> Option<&[u8]> {
    padata.iter().find(|padata| padata.r#type == pa::FX_FAST).map(|padata| &*padata.value).filter(|value| !value.is_empty())
}

/// Inside armor there is only METHOD-DATA: elements of TYPED-DATA become elements of it (RFC 6113 §5.4.3).
fn methods(data: &EData) -> Vec<PaData> {
    match data {
        EData::None => Vec::new(),
        EData::Methods(methods) => methods.clone(),
        EData::Typed(typed) => asn1::decode::<TypedData>(typed)
            .map(|typed| typed.into_iter().map(|item| PaData { r#type: item.r#type, value: item.value.unwrap_or_default() }).collect())
            .unwrap_or_default(),
    }
}

fn refused(error: FastError) -> Refusal {
    Refusal::new(ErrorCode(error.code()), format!("armor: {error}"))
}
