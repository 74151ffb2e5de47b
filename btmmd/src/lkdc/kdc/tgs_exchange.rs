//! The TGS exchange (RFC 4120 §3.3): a ticket pays for another one.

use std::net::IpAddr;
use std::sync::Arc;

use rasn_kerberos::{ApReq, Authenticator, HostAddress, KdcReqBody, PaData, TgsReq, Ticket};

use super::error::{ErrorCode, Refusal};
use super::message::{self, Reply, ReplyPart};
use super::options::Flags;
use super::policy::{Ceiling, Times, Wanted};
use super::preauth::pa;
use super::ticket::{self, Contents, Opened, ServiceKey};
use super::{Kdc, Request, Story, armored, common_etypes, indicator, malformed, replay, sealing_key, session_etype};
use crate::entropy::Entropy;
use crate::lkdc::asn1::time::to_seconds;
use crate::lkdc::asn1::{self, Der};
use crate::lkdc::crypto::{Etype, Key, usage};
use crate::lkdc::fast::Finished;
use crate::lkdc::name::Principal;
use crate::lkdc::principals::{Entry, Kind, Strength};

/// Options whose ticket is a changed copy of the one presented.
const COPIES: Flags = Flags::RENEW.with(Flags::VALIDATE);

/// Answers a TGS-REQ.
pub fn answer(kdc: &Kdc, request: &Request<'_>, story: &mut Story, entropy: &mut dyn Entropy) -> Result<Vec<u8>, Refusal> {
    let TgsReq(message) = asn1::decode(request.bytes).map_err(malformed)?;
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

/// The ticket that pays, and who presents it.
struct Payment {
    ticket: Opened,
    /// The service that the ticket is for: our own, unless it is to be renewed or validated.
    service: Principal,
    subkey: Option<Key>,
    strengths: Vec<Strength>,
    /// Elements of authorization data, encoded each.
    authorization: Vec<u8>,
}

impl Payment {
    fn new(
        kdc: &Kdc,
        request: &Request<'_>,
        req_body: &[u8],
        padata: &[PaData],
        story: &mut Story,
        options: Flags,
    ) -> Result<Self, Refusal> {
        let none = || Refusal::new(ErrorCode::KDC_ERR_PADATA_TYPE_NOSUPP, "the request presents no ticket");
        let value = &padata.iter().find(|padata| padata.r#type == pa::TGS_REQ).ok_or_else(none)?.value;
        let presented: ApReq = asn1::decode(value).map_err(malformed)?;
        let service = Principal::of_message(&presented.ticket.sname).map_err(malformed)?;
        let entry = own_ticket(kdc, &presented.ticket, &service, options.has(COPIES))?;
        let ticket = open(&presented.ticket, &entry, request)?;
        story.client = Some((ticket.crealm.clone(), ticket.client.clone()));
        check_ticket(kdc, &ticket, request, options)?;
        let authenticator = authenticate(kdc, &ticket, &presented, req_body, request)?;
        let subkey = authenticator.subkey.map(|key| session_key(key.r#type, &key.value)).transpose()?;
        story.armor = armored::further(padata, value, subkey.as_ref(), &ticket.session)?;
        kdc.spend(replay::proof_digest(pa::TGS_REQ, &presented.authenticator.cipher), request)?;
        kdc.still_welcome(&ticket.crealm, &ticket.client)?;
        let krbtgt = kdc.krbtgt_entry()?;
        let vouching = if matches!(entry.kind, Kind::Krbtgt) {
            key_of(&presented.ticket, &entry, request)?.clone()
        } else {
            sealing_key(&krbtgt)?.key.clone()
        };
        let (strengths, authorization) = indicator::read(&ticket, &vouching);
        Ok(Self { ticket, service, subkey, strengths, authorization })
    }

    /// What encrypts the reply, and for which usage.
    fn reply_key(&self) -> (&Key, u32) {
        match &self.subkey {
            Some(subkey) => (subkey, usage::TGS_REP_SUBKEY),
            None => (&self.ticket.session, usage::TGS_REP_SESSION),
        }
    }
}

fn session_key(etype: i32, octets: &[u8]) -> Result<Key, Refusal> {
    let etype = Etype::from_number(etype)
        .ok_or_else(|| Refusal::new(ErrorCode::KDC_ERR_ETYPE_NOSUPP, format!("a subkey of encryption type {etype}")))?;
    Key::new(etype, octets).map_err(|error| Refusal::new(ErrorCode::KDC_ERR_ETYPE_NOSUPP, error.to_string()))
}

/// The entry of the service that the ticket is for. Other services than our own only matter for renewal and validation.
fn own_ticket(kdc: &Kdc, ticket: &Ticket, service: &Principal, any: bool) -> Result<Arc<Entry>, Refusal> {
    let not_us = || Refusal::new(ErrorCode::KRB_AP_ERR_NOT_US, "the ticket is for somebody else");
    if ticket.realm.as_bytes() != kdc.realm().as_str().as_bytes() {
        return Err(not_us());
    }
    if service.components == kdc.krbtgt.components {
        return kdc.krbtgt_entry();
    }
    if any { kdc.service(service, false).map(|(_, entry)| entry).ok_or_else(not_us) } else { Err(not_us()) }
}

fn key_of<'a>(ticket: &Ticket, entry: &'a Entry, request: &Request<'_>) -> Result<&'a Key, Refusal> {
    let sealed = &ticket.enc_part;
    Etype::from_number(sealed.etype)
        .and_then(|etype| entry.key(sealed.kvno, etype, request.now))
        .ok_or_else(|| Refusal::new(ErrorCode::KRB_AP_ERR_BADKEYVER, "the ticket was sealed with a key that is gone"))
}

fn open(ticket: &Ticket, entry: &Entry, request: &Request<'_>) -> Result<Opened, Refusal> {
    ticket::open(ticket, key_of(ticket, entry, request)?)
}

fn check_ticket(kdc: &Kdc, ticket: &Opened, request: &Request<'_>, options: Flags) -> Result<(), Refusal> {
    let skew = kdc.settings.policy.skew.as_secs();
    let now = request.seconds;
    if now > ticket.times.end.saturating_add(skew) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_EXPIRED, "the ticket has expired"));
    }
    if ticket.times.start > now.saturating_add(skew) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_NYV, "the ticket is not valid yet"));
    }
    if ticket.flags.has(Flags::INVALID) && !options.has(Flags::VALIDATE) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_NYV, "the ticket has not been validated"));
    }
    let listed = |addresses: &[HostAddress]| addresses.iter().any(|address| is_address(address, request.source.address.ip()));
    match &ticket.addresses {
        Some(addresses) if !addresses.is_empty() && !listed(addresses) => {
            Err(Refusal::new(ErrorCode::KRB_AP_ERR_BADADDR, "the ticket may not be used from this address"))
        }
        _ => Ok(()),
    }
}

fn is_address(listed: &HostAddress, ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => listed.addr_type == HostAddress::IPV4 && *listed.address == ip.octets(),
        IpAddr::V6(ip) => listed.addr_type == HostAddress::IPV6 && *listed.address == ip.octets(),
    }
}

/// The authenticator: its sender knows the session key, means this request, and means it now.
fn authenticate(kdc: &Kdc, ticket: &Opened, presented: &ApReq, req_body: &[u8], request: &Request<'_>) -> Result<Authenticator, Refusal> {
    let bad = || Refusal::new(ErrorCode::KRB_AP_ERR_BAD_INTEGRITY, "the authenticator was not made with the ticket's key");
    let plain = ticket.session.decrypt(usage::TGS_REQ_AUTHENTICATOR, &presented.authenticator.cipher).map_err(|_| bad())?;
    let authenticator: Authenticator = asn1::decode(&plain).map_err(|_| bad())?;
    let client = Principal::of_message(&authenticator.cname).map_err(|_| bad())?;
    if client != ticket.client || authenticator.crealm.as_bytes() != ticket.crealm.as_bytes() {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_BADMATCH, "ticket and authenticator name different clients"));
    }
    let theirs = to_seconds(&authenticator.ctime);
    if !kdc.settings.policy.agrees(theirs, request.seconds) {
        let seconds = theirs.abs_diff(request.seconds);
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_SKEW, format!("the client's clock differs by {seconds} s")));
    }
    let unsuitable = || Refusal::new(ErrorCode::KRB_AP_ERR_INAPP_CKSUM, "the request's checksum is missing or not keyed");
    let checksum = authenticator.cksum.as_ref().ok_or_else(unsuitable)?;
    if checksum.r#type != ticket.session.etype().checksum_type() {
        return Err(unsuitable());
    }
    ticket
        .session
        .verify_checksum(usage::TGS_REQ_CHECKSUM, req_body, &checksum.checksum)
        .map_err(|_| Refusal::new(ErrorCode::KRB_AP_ERR_MODIFIED, "the request was changed on its way"))?;
    Ok(authenticator)
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
        let realm = asn1::text(&body.realm).map_err(malformed)?;
        if realm != kdc.realm().as_str() {
            return Err(Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, format!("this is not the KDC of {realm}")));
        }
        let (service, entry) = kdc.open_service(&asked, options.has(Flags::CANONICALIZE))?;
        if options.has(COPIES) && asked != payment.service {
            return Err(Refusal::new(ErrorCode::KDC_ERR_SERVER_NOMATCH, "the ticket is for another service"));
        }
        let skey = if options.has(Flags::ENC_TKT_IN_SKEY) { Some(skey(kdc, request, body, &service)?) } else { None };
        if skey.is_none() && matches!(entry.kind, Kind::User { .. }) {
            return Err(Refusal::new(ErrorCode::KDC_ERR_MUST_USE_USER2USER, format!("{service} is a user, not a service")));
        }
        if payment.ticket.client.is_anonymous() && !matches!(entry.kind, Kind::Krbtgt) {
            return Err(Refusal::new(ErrorCode::KDC_ERR_POLICY, "without a name there are no tickets for services"));
        }
        if !entry.accepts(&payment.strengths) {
            return Err(Refusal::new(ErrorCode::KDC_ERR_POLICY, format!("{service} asks for a stronger proof")));
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
    check_second(kdc, &opened, request)?;
    Ok(opened)
}

fn check_second(kdc: &Kdc, ticket: &Opened, request: &Request<'_>) -> Result<(), Refusal> {
    if request.seconds > ticket.times.end.saturating_add(kdc.settings.policy.skew.as_secs()) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_EXPIRED, "the other's ticket has expired"));
    }
    if ticket.flags.has(Flags::INVALID) {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_NYV, "the other's ticket has not been validated"));
    }
    kdc.still_welcome(&ticket.crealm, &ticket.client)
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
/// Flags that stay with all tickets that rest on one.
const KEPT: Flags = Flags::PRE_AUTHENT.with(Flags::HW_AUTHENT).with(Flags::ANONYMOUS).with(Flags::FORWARDED);

fn terms(kdc: &Kdc, request: &Request<'_>, body: &KdcReqBody, payment: &Payment, asked: &Further) -> Result<Terms, Refusal> {
    let under: Ceiling = payment.ticket.ceiling();
    let options = asked.options;
    let bad = |reason| Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, reason));
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
    let changed = options.among(Flags::FORWARDED.with(Flags::PROXY));
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
    Ok(values.iter().flat_map(|value| Der::of(|der| der.typed(value.r#type, &value.data)).to_vec()).collect())
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
    let moved = asked.options.has(Flags::FORWARDED.with(Flags::PROXY));
    let addresses = if moved { body.addresses.as_deref() } else { payment.ticket.addresses.as_deref() };
    let contents = Contents {
        flags: terms.flags,
        session: &session,
        crealm: &payment.ticket.crealm,
        client: &payment.ticket.client,
        times: terms.times,
        addresses,
    };
    let krbtgt_entry = kdc.krbtgt_entry()?;
    let krbtgt = sealing_key(&krbtgt_entry)?;
    let service = match &asked.skey {
        Some(skey) => ServiceKey { key: skey, kvno: None },
        None => sealing_key(&asked.entry)?,
    };
    let is_tgs = matches!(asked.entry.kind, Kind::Krbtgt);
    let indicators = indicator::container(&payment.strengths, &contents, &krbtgt, (!is_tgs).then_some(&service));
    let mut elements = restrictions(body, payment)?;
    elements.extend_from_slice(&payment.authorization);
    elements.extend_from_slice(&indicators);
    let sealed = ticket::seal(&contents.encode(&elements), kdc.realm().as_str(), &asked.service, &service, entropy);
    let part = ReplyPart {
        kind: message::TGS,
        session: &session,
        nonce: body.nonce,
        flags: terms.flags,
        times: terms.times,
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
    story.strengths.clone_from(&payment.strengths);
    story.until = terms.times.end;
    story.how = terms.how;
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
