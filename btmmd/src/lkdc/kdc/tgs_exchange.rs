//! The TGS exchange (RFC 4120 §3.3): a ticket pays for another one.

use std::sync::Arc;

use rasn_kerberos::{HostAddress, KdcReqBody, TgsReq, Ticket};
use zeroize::Zeroizing;

use super::earned::Earned;
use super::error::{ErrorCode, Refusal};
use super::event::Exchange;
use super::message::{self, Reply, ReplyPart};
use super::options::Flags;
use super::payment::{COPIES, Payment, open, own_ticket};
use super::policy::{Ceiling, Times, Wanted};
use super::ticket::{self, Contents, Opened, ServiceKey};
use super::{
    Kdc, Request, Story, armored, authorization, check_named, check_version, common_etypes, demand, indicator, malformed, must_have_key,
    realm_of, sealing_key, session_etype,
};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::asn1::time::to_seconds;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::Finished;
use crate::lkdc::name::Principal;
use crate::lkdc::principals::{Entry, Kind};

/// Answers a TGS-REQ.
pub fn answer(kdc: &Kdc, request: &Request<'_>, story: &mut Story, entropy: &mut dyn Entropy) -> Result<Vec<u8>, Refusal> {
    let TgsReq(message) = asn1::nonce::request(request.bytes, |request: &mut TgsReq| &mut request.0.req_body).map_err(malformed)?;
    check_version(&message, Exchange::Tgs)?;
    let outer_body = asn1::req_body(request.bytes).map_err(malformed)?;
    let padata = message.padata.unwrap_or_default();
    let body = &message.req_body;
    let options = Flags(asn1::flag_bits(&body.kdc_options.0));
    if let Some(sname) = &body.sname {
        story.service = Some(Principal::of_message(sname).map_err(malformed)?);
    }
    let payment = Payment::new(kdc, request, outer_body, &padata, story, options)?;
    let armor = story.armor.clone();
    let body = armor.as_deref().map_or(body, |armor| &armor.body);
    let outer_options = options;
    let options = Flags(asn1::flag_bits(&body.kdc_options.0));
    if options.among(COPIES) != outer_options.among(COPIES) {
        // Which tickets may pay was judged by the outer options.
        return Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "renewal or validation is asked for on one side of the armor only"));
    }
    if let (Some(_), Some(sname)) = (&armor, &body.sname) {
        story.service = Some(Principal::of_message(sname).map_err(malformed)?);
    }
    let asked = Further::new(kdc, request, body, options, &payment, story)?;
    issue(kdc, request, body, &payment, &asked, story, entropy)
}

/// The service asked for, and what its ticket will be encrypted with.
struct Further {
    service: Principal,
    entry: Arc<Entry>,
    options: Flags,
    /// The session key of the ticket that came along, for user-to-user.
    skey: Option<Key>,
}

impl Further {
    fn new(
        kdc: &Kdc,
        request: &Request<'_>,
        body: &KdcReqBody,
        options: Flags,
        payment: &Payment,
        story: &mut Story,
    ) -> Result<Self, Refusal> {
        let asked = match &story.service {
            Some(asked) => asked.clone(),
            None if options.has(Flags::ENC_TKT_IN_SKEY) => second_ticket(kdc, request, body)?.client,
            None => return Err(Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, "the request names no service")),
        };
        story.service = Some(asked.clone());
        if options.has(Flags::CNAME_IN_ADDL_TKT) {
            return Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "delegation in another's name is not given"));
        }
        let realm = realm_of(body)?;
        if realm != kdc.realm().as_str() {
            return Err(Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, format!("this is not the KDC of {realm}")));
        }
        let (service, entry) = kdc.open_service(&asked, options.has(Flags::CANONICALIZE))?;
        if options.has(COPIES) && asked != payment.service {
            return Err(Refusal::new(ErrorCode::KDC_ERR_SERVER_NOMATCH, "the ticket is for another service"));
        }
        let skey = if options.has(Flags::ENC_TKT_IN_SKEY) { Some(skey(kdc, request, body, &service)?) } else { None };
        if skey.is_none() {
            must_have_key(&service, &entry)?;
        }
        check_named(&payment.ticket.client, &entry)?;
        if !entry.accepts(&payment.earned.strengths) {
            return Err(demand::refusal(&service, &entry.strength));
        }
        Ok(Self { service, entry, options, skey })
    }
}

/// The ticket granting ticket of the service, which it gave to the client.
fn second_ticket(kdc: &Kdc, request: &Request<'_>, body: &KdcReqBody) -> Result<Opened, Refusal> {
    let none = || Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "user-to-user needs the other's ticket");
    let ticket = body.additional_tickets.as_deref().and_then(<[Ticket]>::first).ok_or_else(none)?;
    let service = Principal::of_message(&ticket.sname).map_err(malformed)?;
    let entry = own_ticket(kdc, ticket, &service, false)?;
    let opened = open(ticket, &entry, request)?;
    let (earned, _) = indicator::read(&opened, &entry, request.now)?;
    check_second(kdc, &opened, &earned, request)?;
    Ok(opened)
}

fn check_second(kdc: &Kdc, ticket: &Opened, earned: &Earned, request: &Request<'_>) -> Result<(), Refusal> {
    if request.seconds > ticket.times.end.saturating_add(kdc.settings.policy.skew.as_secs()) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_EXPIRED, "the other's ticket has expired"));
    }
    if ticket.flags.has(Flags::INVALID) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_NYV, "the other's ticket has not been validated"));
    }
    kdc.still_welcome(&ticket.crealm, &ticket.client, earned)
}

fn skey(kdc: &Kdc, request: &Request<'_>, body: &KdcReqBody, service: &Principal) -> Result<Key, Refusal> {
    let second = second_ticket(kdc, request, body)?;
    if second.client != *service || second.crealm != kdc.realm().as_str() {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_BADMATCH, "the ticket that came along is not the service's"));
    }
    Ok(second.session)
}

/// Flags and times of the new ticket, and what is told of it.
struct Terms {
    flags: Flags,
    times: Times,
    how: &'static str,
}

/// Flags that a ticket hands down, when they are asked for again.
const HANDED_DOWN: Flags = Flags::FORWARDABLE.with(Flags::PROXIABLE).with(Flags::MAY_POSTDATE);
/// Options whose ticket may be used elsewhere than the one that pays.
const MOVES: Flags = Flags::FORWARDED.with(Flags::PROXY);
/// Flags that stay with all tickets that rest on one.
const KEPT: Flags = Flags::PRE_AUTHENT.with(Flags::HW_AUTHENT).with(Flags::ANONYMOUS).with(Flags::FORWARDED);

fn terms(kdc: &Kdc, request: &Request<'_>, body: &KdcReqBody, payment: &Payment, asked: &Further) -> Result<Terms, Refusal> {
    let under: Ceiling = payment.ticket.ceiling();
    let options = asked.options;
    let bad = |reason| Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, reason));
    if options.has(COPIES) && options.has(MOVES) {
        return bad("a ticket that is renewed or validated stays where it was");
    }
    if options.has(Flags::VALIDATE) {
        if !under.flags.has(Flags::INVALID) {
            return bad("the ticket needs no validation");
        }
        if under.times.start > request.seconds {
            return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_NYV, "the ticket is not valid yet"));
        }
        return Ok(Terms { flags: under.flags.without(Flags::INVALID), times: under.times, how: "validated" });
    }
    if options.has(Flags::RENEW) {
        let times = kdc.settings.policy.renewed(&under, request.seconds)?;
        return Ok(Terms { flags: under.flags, times, how: "renewed" });
    }
    let is_tgs = matches!(asked.entry.kind, Kind::Krbtgt);
    if options.has(HANDED_DOWN.without(under.flags)) && is_tgs {
        return bad("the ticket does not allow what is asked for");
    }
    if options.has(Flags::FORWARDED) && !under.flags.has(Flags::FORWARDABLE) {
        return bad("the ticket is not forwardable");
    }
    if options.has(Flags::PROXY) && (!under.flags.has(Flags::PROXIABLE) || is_tgs) {
        return bad("the ticket is not proxiable");
    }
    let wanted = Wanted {
        options,
        from: body.from.as_ref().map(to_seconds),
        till: to_seconds(&body.till),
        rtime: body.rtime.as_ref().map(to_seconds),
    };
    let (times, time_flags) = kdc.settings.policy.times(&wanted, Some(&under), request.seconds)?;
    let changed = options.among(MOVES);
    let flags = under
        .flags
        .among(KEPT)
        .with(under.flags.among(options).among(HANDED_DOWN))
        .with(time_flags)
        .with(changed)
        .with(Flags::TRANSITED_CHECKED);
    let how = if options.has(Flags::FORWARDED) {
        "forwarded"
    } else if options.has(Flags::PROXY) {
        "proxied"
    } else if asked.skey.is_some() {
        "user-to-user"
    } else {
        ""
    };
    Ok(Terms { flags, times, how })
}

/// Restrictions that the client wants in the ticket, encoded each (RFC 4120 §5.4.1, enc-authorization-data).
fn restrictions(body: &KdcReqBody, payment: &Payment) -> Result<Vec<u8>, Refusal> {
    let Some(data) = &body.enc_authorization_data else { return Ok(Vec::new()) };
    let (key, number) = match &payment.subkey {
        Some(subkey) => (subkey, usage::TGS_REQ_AUTH_DATA_SUBKEY),
        None => (&payment.ticket.session, usage::TGS_REQ_AUTH_DATA_SESSION),
    };
    let bad = || Refusal::new(ErrorCode::KRB_AP_ERR_BAD_INTEGRITY, "the authorization data cannot be decrypted");
    let plain = key.decrypt(number, &data.cipher).map_err(|_| bad())?;
    let values: rasn_kerberos::AuthorizationData = asn1::decode(&plain).map_err(|_| bad())?;
    authorization::check(&values)?;
    Ok(authorization::of_client(&values))
}

/// What the new ticket will say.
struct Grant<'a> {
    terms: Terms,
    session: Key,
    addresses: Option<&'a [HostAddress]>,
}

fn issue(
    kdc: &Kdc,
    request: &Request<'_>,
    body: &KdcReqBody,
    payment: &Payment,
    asked: &Further,
    story: &mut Story,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, Refusal> {
    let terms = terms(kdc, request, body, payment, asked)?;
    let common = common_etypes(&body.etype)?;
    let session = Key::random(session_etype(&common, &asked.entry)?, entropy);
    let moved = asked.options.has(MOVES);
    let addresses = if moved { body.addresses.as_deref() } else { payment.ticket.addresses.as_deref() };
    let grant = Grant { terms, session, addresses };
    let sealed = sealed(kdc, body, payment, asked, &grant, entropy)?;
    story.earned.clone_from(&payment.earned);
    story.until = grant.terms.times.end;
    story.how = grant.terms.how;
    let part = ReplyPart {
        kind: message::TGS,
        session: &grant.session,
        nonce: asn1::nonce::in_reply(body.nonce, request.bytes),
        flags: grant.terms.flags,
        times: grant.terms.times,
        realm: kdc.realm().as_str(),
        service: &asked.service,
        addresses,
        padata: &[],
        now: request.seconds,
    };
    let (key, number) = payment.reply_key();
    let end = Finished { realm: &payment.ticket.crealm, client: &payment.ticket.client, ticket: &sealed };
    let outside = armored::outside(story.armor.as_deref(), key, Vec::new(), end, request.now, entropy);
    let cipher = outside.reply_key.encrypt(number, &part.encode(), entropy);
    let reply = Reply {
        kind: message::TGS,
        padata: &outside.padata,
        crealm: outside.crealm,
        client: outside.client,
        ticket: &sealed,
        part: (outside.reply_key.etype().number(), None, &cipher),
    };
    Ok(reply.encode())
}

/// The new ticket, encoded, with the restrictions and indicators that come down from the one that pays.
fn sealed(
    kdc: &Kdc,
    body: &KdcReqBody,
    payment: &Payment,
    asked: &Further,
    grant: &Grant<'_>,
    entropy: &mut dyn Entropy,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let contents = Contents {
        flags: grant.terms.flags,
        session: &grant.session,
        crealm: &payment.ticket.crealm,
        client: &payment.ticket.client,
        times: grant.terms.times,
        addresses: grant.addresses,
    };
    let krbtgt = kdc.krbtgt_entry()?;
    let service = match &asked.skey {
        Some(skey) => ServiceKey { key: skey, kvno: None },
        None => sealing_key(&asked.entry)?,
    };
    let is_tgs = matches!(asked.entry.kind, Kind::Krbtgt);
    let indicators = indicator::container(&payment.earned, &contents, &sealing_key(&krbtgt)?, (!is_tgs).then_some(&service));
    let mut elements = restrictions(body, payment)?;
    elements.extend_from_slice(&payment.authorization);
    elements.extend_from_slice(&indicators);
    Ok(ticket::seal(&contents.encode(&elements), kdc.realm().as_str(), &asked.service, &service, entropy))
}
