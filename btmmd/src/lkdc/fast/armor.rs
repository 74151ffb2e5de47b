//! The armor key: what KDC and client share before the client has proven who it is.

use std::time::{Duration, SystemTime};

use rasn_kerberos::{ApReq, Authenticator, EncTicketPart, Ticket};

use super::envelope::{key_of_message, open};
use super::{ARMOR_AP_REQUEST, FastError, asn1::KrbFastArmor};
use crate::lkdc::asn1::{self, flags};
use crate::lkdc::crypto::{Etype, Key, usage};
use crate::lkdc::name::Principal;

/// Which key opens tickets of this type and version; without a version, the current one.
pub type TicketKeys<'a> = &'a dyn Fn(Etype, Option<u32>) -> Option<Key>;

/// The ticket-granting service that armor must be for.
#[derive(Clone, Copy)]
pub struct Tgs<'a> {
    /// Its realm, which is this KDC's.
    pub realm: &'a str,
    /// Its keys.
    pub keys: TicketKeys<'a>,
    /// How far clocks may be apart.
    pub skew: Duration,
}

/// Whose ticket the armor was made of. Says nothing about the client that asks inside.
#[derive(Clone, Debug)]
pub struct ArmoredBy {
    /// The realm that vouched for them.
    pub realm: String,
    /// Their name; anonymous with anonymous PKINIT.
    pub client: Principal,
}

/// The armor key of a ticket's session key and the subkey sent with it (RFC 6113 §5.4.1.1).
pub fn armor_key(subkey: &Key, session: &Key) -> Key {
    Key::combine(subkey, session, b"subkeyarmor", b"ticketarmor")
}

/// Opens armor made of a ticket for `tgs`.
pub(super) fn accept(armor: &KrbFastArmor, tgs: Tgs<'_>, now: SystemTime) -> Result<(Key, ArmoredBy), FastError> {
    if armor.armor_type != ARMOR_AP_REQUEST {
        return Err(FastError::ArmorType(armor.armor_type));
    }
    let ap_req: ApReq = asn1::decode(&armor.armor_value)?;
    let ticket = open_ticket(&ap_req.ticket, tgs, now)?;
    let session = key_of_message(&ticket.key)?;
    let plain = open(&session, usage::AP_REQ_AUTHENTICATOR, &ap_req.authenticator)?;
    let authenticator: Authenticator = asn1::decode(&plain)?;
    let client = Principal::of_message(&ticket.cname)?;
    if ticket.crealm != authenticator.crealm || client != Principal::of_message(&authenticator.cname)? {
        return Err(FastError::Mismatch);
    }
    let at = asn1::time::joined(&authenticator.ctime, &authenticator.cusec);
    let apart = now.duration_since(at).unwrap_or_else(|early| early.duration());
    if apart > tgs.skew {
        return Err(FastError::Skew(apart));
    }
    let subkey = key_of_message(authenticator.subkey.as_ref().ok_or(FastError::NoSubkey)?)?;
    let by = ArmoredBy { realm: asn1::text(&ticket.crealm)?.to_owned(), client };
    Ok((armor_key(&subkey, &session), by))
}

fn open_ticket(ticket: &Ticket, tgs: Tgs<'_>, now: SystemTime) -> Result<EncTicketPart, FastError> {
    let service = Principal::of_message(&ticket.sname)?;
    if asn1::text(&ticket.realm)? != tgs.realm || service.tgs_realm() != Some(tgs.realm) {
        return Err(FastError::NotTgs(service.to_string()));
    }
    let sealed = &ticket.enc_part;
    let key = Etype::from_number(sealed.etype)
        .and_then(|etype| (tgs.keys)(etype, sealed.kvno))
        .ok_or(FastError::NoKey { etype: sealed.etype, kvno: sealed.kvno })?;
    let part: EncTicketPart = asn1::decode(&open(&key, usage::TICKET, sealed)?)?;
    let start = asn1::system_time(part.start_time.as_ref().unwrap_or(&part.auth_time));
    let invalid = asn1::flag_bits(&part.flags.0) & flags::bit(7) != 0;
    if invalid || start > now + tgs.skew || now > asn1::system_time(&part.end_time) + tgs.skew {
        return Err(FastError::TicketTime);
    }
    Ok(part)
}
