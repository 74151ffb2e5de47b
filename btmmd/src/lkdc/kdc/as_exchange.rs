//! The AS exchange (RFC 4120 §3.1): a client proves itself and gets its first ticket.

use std::sync::Arc;

use rasn_kerberos::{AsReq, KdcReqBody, PaData};
use zeroize::Zeroizing;

use super::earned::Earned;
use super::error::{EData, ErrorCode, Refusal};
use super::event::Exchange;
use super::message::{self, Reply, ReplyPart};
use super::options::Flags;
use super::policy::{Times, Wanted};
use super::preauth::{Asked, Proof, Verdict, pa};
use super::ticket::{self, Contents};
use super::{
    Kdc, Request, Story, armored, check_named, check_version, common_etypes, demand, etype_info, indicator, malformed, may_be_machine,
    must_have_key, realm_of, replay, sealing_key, session_etype,
};
use crate::entropy::Entropy;
use crate::lkdc::asn1::time::to_seconds;
use crate::lkdc::asn1::{self, Der};
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::{FastRequest, Finished};
use crate::lkdc::name::{ANONYMOUS_REALM, APPLE_LKDC, NT_ENTERPRISE, Principal};
use crate::lkdc::principals::{Entry, Kind};

/// Options that only mean something with a ticket in hand.
const TGS_ONLY: Flags = Flags::RENEW.with(Flags::VALIDATE).with(Flags::PROXY).with(Flags::FORWARDED).with(Flags::ENC_TKT_IN_SKEY);

/// Answers an AS-REQ.
pub fn answer(kdc: &Kdc, request: &Request<'_>, story: &mut Story, entropy: &mut dyn Entropy) -> Result<Vec<u8>, Refusal> {
    let AsReq(message) = asn1::nonce::request(request.bytes, |request: &mut AsReq| &mut request.0.req_body).map_err(malformed)?;
    check_version(&message, Exchange::As)?;
    let outer_body = asn1::req_body(request.bytes).map_err(malformed)?;
    let outer_padata = message.padata.unwrap_or_default();
    let armor = armored::initial(kdc, request, &outer_padata, outer_body)?;
    story.armor.clone_from(&armor);
    let (body, req_body, padata) = match &armor {
        Some(armor) => (&armor.body, armor.raw_body.as_slice(), armor.padata.as_slice()),
        None => (&message.req_body, outer_body, outer_padata.as_slice()),
    };
    let asked = Initial::new(kdc, body, story)?;
    let etypes = common_etypes(&body.etype)?;
    let client_key = asked.entry.as_deref().and_then(|entry| entry.preferred(&etypes)).map(|(_, key)| key.apart());
    let view = Asked {
        request: request.bytes,
        body,
        req_body,
        padata,
        client: &asked.client,
        entry: asked.entry.as_deref(),
        client_key: client_key.as_ref(),
        realm: kdc.realm(),
        etypes: &etypes,
        armor: armor.as_deref().map(FastRequest::armor_key),
        skew: kdc.settings.policy.skew,
        now: request.now,
    };
    let proof = prove(kdc, &view, request, entropy)?;
    issue(kdc, request, &view, &asked, proof, story, entropy)
}

/// Who asks for what, before anything is proven.
struct Initial {
    client: Principal,
    entry: Option<Arc<Entry>>,
    crealm: String,
    service: Principal,
    service_entry: Arc<Entry>,
    options: Flags,
}

impl Initial {
    fn new(kdc: &Kdc, body: &KdcReqBody, story: &mut Story) -> Result<Self, Refusal> {
        let options = Flags(asn1::flag_bits(&body.kdc_options.0));
        let nobody = || Refusal::new(ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN, "the request names no client");
        let nothing = || Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, "the request names no service");
        let asked = Principal::of_message(body.cname.as_ref().ok_or_else(nobody)?).map_err(malformed)?;
        let service = Principal::of_message(body.sname.as_ref().ok_or_else(nothing)?).map_err(malformed)?;
        let realm = realm_of(body)?;
        story.client = Some((kdc.realm().to_string(), asked.clone()));
        story.service = Some(service.clone());
        own_realm(kdc, realm)?;
        let client = canonical_client(asked, options);
        let (crealm, entry) = find_client(kdc, &client, options)?;
        story.client = Some((crealm.clone(), client.clone()));
        if options.has(TGS_ONLY) {
            return Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "an option that needs a ticket"));
        }
        let (service, service_entry) = kdc.open_service(&service, options.has(Flags::CANONICALIZE))?;
        must_have_key(&service, &service_entry)?;
        check_named(&client, &service_entry)?;
        Ok(Self { client, entry, crealm, service, service_entry, options })
    }
}

/// Ours, or the name under which machines are asked for their realm: then the client is told the true one (RFC 6806 §7).
fn own_realm(kdc: &Kdc, realm: &str) -> Result<(), Refusal> {
    if realm == kdc.realm().as_str() {
        return Ok(());
    }
    match realm.strip_prefix(APPLE_LKDC) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => {
            Err(Refusal::new(ErrorCode::KDC_ERR_WRONG_REALM, "this machine's realm is the one in crealm"))
        }
        _ => Err(Refusal::new(ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN, format!("this is not the KDC of {realm}"))),
    }
}

/// `alice@zone`, in one component, is `alice` for who lets names be replaced (RFC 6806 §5).
fn canonical_client(asked: Principal, options: Flags) -> Principal {
    match asked.components.as_slice() {
        [name] if asked.name_type == NT_ENTERPRISE && options.has(Flags::CANONICALIZE) => {
            Principal::user(name.split('@').next().unwrap_or(name))
        }
        _ => asked,
    }
}

fn find_client(kdc: &Kdc, client: &Principal, options: Flags) -> Result<(String, Option<Arc<Entry>>), Refusal> {
    if client.is_anonymous() {
        if !options.has(Flags::ANONYMOUS) {
            return Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "the anonymous client must ask to be anonymous"));
        }
        return Ok((ANONYMOUS_REALM.to_owned(), None));
    }
    if options.has(Flags::ANONYMOUS) {
        return Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "a client with a name cannot ask to be anonymous"));
    }
    let entry = kdc.principals().find(client);
    match &entry {
        Some(entry) if !entry.enabled => return Err(Refusal::new(ErrorCode::KDC_ERR_CLIENT_REVOKED, format!("{client} is disabled"))),
        Some(entry) if matches!(entry.kind, Kind::Krbtgt) => {
            return Err(Refusal::new(ErrorCode::KDC_ERR_POLICY, "the ticket granting service is nobody's client"));
        }
        Some(_) => {}
        None if may_be_machine(client) => {}
        None => return Err(Refusal::new(ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN, format!("no client {client} here"))),
    }
    Ok((kdc.realm().to_string(), entry))
}

/// Lets each mechanism judge what came along for it, once: a proof costs up to a millisecond, and a message has room for hundreds.
fn prove(kdc: &Kdc, view: &Asked<'_>, request: &Request<'_>, entropy: &mut dyn Entropy) -> Result<Proof, Refusal> {
    let mut first_refusal = None;
    for mechanism in &kdc.mechanisms {
        let Some(padata) = view.padata.iter().find(|padata| padata.r#type == mechanism.takes()) else { continue };
        match mechanism.judge(view, &padata.value, entropy) {
            Ok(Verdict::Proven(proof)) => {
                kdc.spend(replay::proof_digest(padata.r#type, &proof.once), request)?;
                return Ok(proof);
            }
            Ok(Verdict::More(mut methods)) => {
                methods.extend(etype_info::etype_info2(view));
                let reason = "the next message of the exchange";
                return Err(Refusal::new(ErrorCode::KDC_ERR_MORE_PREAUTH_DATA_REQUIRED, reason).with_methods(methods));
            }
            Err(refusal) => {
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    match first_refusal {
        None => {
            let refusal = Refusal::new(ErrorCode::KDC_ERR_PREAUTH_REQUIRED, "a proof is needed");
            Err(refusal.with_methods(methods(kdc, view, entropy)))
        }
        Some(refusal) if refusal.code == ErrorCode::KDC_ERR_PREAUTH_FAILED && matches!(refusal.data, EData::None) => {
            Err(refusal.with_methods(methods(kdc, view, entropy)))
        }
        Some(refusal) => Err(refusal),
    }
}

/// METHOD-DATA: all the ways in which this client can prove itself.
fn methods(kdc: &Kdc, view: &Asked<'_>, entropy: &mut dyn Entropy) -> Vec<PaData> {
    let mut methods: Vec<PaData> = kdc.mechanisms.iter().flat_map(|mechanism| mechanism.offer(view, entropy)).collect();
    methods.push(armored::welcome());
    methods.extend(etype_info::etype_info2(view));
    methods
}

fn wanted(body: &KdcReqBody, options: Flags) -> Wanted {
    Wanted { options, from: body.from.as_ref().map(to_seconds), till: to_seconds(&body.till), rtime: body.rtime.as_ref().map(to_seconds) }
}

/// What the ticket will say.
struct Grant {
    session: Key,
    flags: Flags,
    times: Times,
    /// Whether the reply vouches for the request.
    protects: bool,
}

fn grant(
    kdc: &Kdc,
    request: &Request<'_>,
    view: &Asked<'_>,
    asked: &Initial,
    proof: &Proof,
    entropy: &mut dyn Entropy,
) -> Result<Grant, Refusal> {
    if !asked.service_entry.accepts(&proof.earned.strengths) {
        return Err(demand::refusal(&asked.service, &asked.service_entry.strength));
    }
    let policy = &kdc.settings.policy;
    let (times, time_flags) = policy.times(&wanted(view.body, asked.options), None, request.seconds)?;
    let protects = view.padata.iter().any(|padata| padata.r#type == pa::REQ_ENC_PA_REP);
    let granted = asked.options.among(policy.grants).among(Flags::FORWARDABLE.with(Flags::PROXIABLE).with(Flags::MAY_POSTDATE));
    let flags = granted
        .with(time_flags)
        .with(Flags::INITIAL)
        .with(Flags::PRE_AUTHENT)
        .with_if(proof.hardware, Flags::HW_AUTHENT)
        .with_if(protects, Flags::ENC_PA_REP)
        .with_if(asked.client.is_anonymous(), Flags::ANONYMOUS);
    let session = match &proof.session_key {
        Some(key) => key.clone(),
        None => Key::random(session_etype(view.etypes, &asked.service_entry)?, entropy),
    };
    Ok(Grant { session, flags, times, protects })
}

/// The ticket, encoded.
fn sealed(
    kdc: &Kdc,
    view: &Asked<'_>,
    asked: &Initial,
    grant: &Grant,
    earned: &Earned,
    entropy: &mut dyn Entropy,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let contents = Contents {
        flags: grant.flags,
        session: &grant.session,
        crealm: &asked.crealm,
        client: &asked.client,
        times: grant.times,
        addresses: view.body.addresses.as_deref(),
    };
    let service = sealing_key(&asked.service_entry)?;
    let indicators = if matches!(asked.service_entry.kind, Kind::Krbtgt) {
        indicator::container(earned, &contents, &service, None)
    } else {
        let krbtgt = kdc.krbtgt_entry()?;
        indicator::container(earned, &contents, &sealing_key(&krbtgt)?, Some(&service))
    };
    Ok(ticket::seal(&contents.encode(&indicators), kdc.realm().as_str(), &asked.service, &service, entropy))
}

fn issue(
    kdc: &Kdc,
    request: &Request<'_>,
    view: &Asked<'_>,
    asked: &Initial,
    proof: Proof,
    story: &mut Story,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, Refusal> {
    let grant = grant(kdc, request, view, asked, &proof, entropy)?;
    let sealed = sealed(kdc, view, asked, &grant, &proof.earned, entropy)?;
    let own = view.entry.zip(view.client_key);
    let padata = proof.padata;
    let (reply_key, kvno) = match (&proof.reply_key, own) {
        (Some(key), _) => (key, None),
        // No ETYPE-INFO2: who has proven to know the key needs no salt, and without it the reply fits into a datagram.
        (None, Some((entry, key))) => (key, entry.current().map(|keys| keys.kvno)),
        (None, None) => return Err(Refusal::new(ErrorCode::KDC_ERR_NULL_KEY, "there is no key for the reply")),
    };
    let end = Finished { realm: &asked.crealm, client: &asked.client, ticket: &sealed };
    let outside = armored::outside(story.armor.as_deref(), reply_key, padata, end, request.now, entropy);
    let protected = if grant.protects { protection(request.bytes, &outside.reply_key) } else { Vec::new() };
    story.earned = proof.earned;
    story.until = grant.times.end;
    let part = ReplyPart {
        kind: message::AS,
        session: &grant.session,
        nonce: asn1::nonce::in_reply(view.body.nonce, request.bytes),
        flags: grant.flags,
        times: grant.times,
        realm: kdc.realm().as_str(),
        service: &asked.service,
        addresses: view.body.addresses.as_deref(),
        padata: &protected,
        now: request.seconds,
    };
    let cipher = outside.reply_key.encrypt(usage::AS_REP, &part.encode(), entropy);
    let reply = Reply {
        kind: message::AS,
        padata: &outside.padata,
        crealm: outside.crealm,
        client: outside.client,
        ticket: &sealed,
        part: (outside.reply_key.etype().number(), kvno, &cipher),
    };
    Ok(reply.encode())
}

/// The checksum by which the client sees that its request arrived as it was sent (RFC 6806 §11).
fn protection(request: &[u8], reply_key: &Key) -> Vec<PaData> {
    let checksum = reply_key.checksum(usage::AS_REQ, request);
    let value = Der::of(|der| der.typed(reply_key.etype().checksum_type(), &checksum));
    vec![PaData { r#type: pa::REQ_ENC_PA_REP, value: value.to_vec().into() }, armored::welcome()]
}
