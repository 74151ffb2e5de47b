//! The ticket that pays for another one, and the proof that who presents it may use it (RFC 4120 §3.3.2).

use std::net::IpAddr;
use std::sync::Arc;

use rasn_kerberos::{ApReq, Authenticator, HostAddress, PaData, Ticket};

use super::earned::Earned;
use super::error::{ErrorCode, Refusal};
use super::options::Flags;
use super::preauth::pa;
use super::ticket::{self, Opened};
use super::{Kdc, Request, Story, armored, authorization, indicator, malformed, replay};
use crate::lkdc::asn1;
use crate::lkdc::asn1::time::to_seconds;
use crate::lkdc::crypto::{Etype, Key, usage};
use crate::lkdc::name::Principal;
use crate::lkdc::principals::Entry;

/// Options whose ticket is a changed copy of the one presented.
pub(super) const COPIES: Flags = Flags::RENEW.with(Flags::VALIDATE);

/// The ticket that pays, and who presents it.
pub(super) struct Payment {
    /// The ticket.
    pub ticket: Opened,
    /// The service that the ticket is for: our own, unless it is to be renewed or validated.
    pub service: Principal,
    /// The key that the client chose for this exchange.
    pub subkey: Option<Key>,
    /// How the client proved itself.
    pub earned: Earned,
    /// Elements of authorization data, encoded each.
    pub authorization: Vec<u8>,
}

impl Payment {
    /// Opens what a request presents and checks all that can be wrong with it.
    pub fn new(
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
        let said = authenticator.authorization_data.unwrap_or_default();
        authorization::check(&said)?;
        authorization::check(&ticket.authorization)?;
        if authorization::was_armored(&said) && story.armor.is_none() {
            return Err(Refusal::new(ErrorCode::KRB_AP_ERR_MODIFIED, "the request was taken out of its armor on its way"));
        }
        let (earned, authorization) = indicator::read(&ticket, &*kdc.krbtgt_entry()?, request.now)?;
        kdc.still_welcome(&ticket.crealm, &ticket.client, &earned)?;
        Ok(Self { ticket, service, subkey, earned, authorization })
    }

    /// What encrypts the reply, and for which usage.
    pub fn reply_key(&self) -> (&Key, u32) {
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
pub(super) fn own_ticket(kdc: &Kdc, ticket: &Ticket, service: &Principal, any: bool) -> Result<Arc<Entry>, Refusal> {
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

/// Decrypts a ticket with its service's key.
pub(super) fn open(ticket: &Ticket, entry: &Entry, request: &Request<'_>) -> Result<Opened, Refusal> {
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
    // Windows lists nothing but its NetBIOS name, which says nothing of addresses.
    let has_addresses = |addresses: &[HostAddress]| addresses.iter().any(|address| address.addr_type != HostAddress::NET_BIOS);
    match &ticket.addresses {
        Some(addresses) if has_addresses(addresses) && !listed(addresses) => {
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
