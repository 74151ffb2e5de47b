//! Requests to a KDC, as octets (RFC 4120 §5.4.1). Stateless: load generators use these functions too.

use std::time::{Duration, SystemTime};

use rasn_kerberos::{
    ApOptions, ApReq, AsReq, Authenticator, Checksum, EncryptedData, EncryptionKey, KdcOptions, KdcReq, KdcReqBody, PaData, PaEncTsEnc,
    TgsReq, Ticket,
};
use zeroize::Zeroizing;

use super::grant::Grant;
use super::offers::piece;
use super::wish::{TICKET_LIFE, Wish};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Etype, Key, usage};
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::kdc::preauth::pa;

/// Kerberos version 5.
const VERSION: u8 = 5;
/// The message type of an AS-REQ.
const AS_REQ: u8 = 10;
/// The message type of a TGS-REQ.
const TGS_REQ: u8 = 12;
/// The message type of an AP-REQ.
const AP_REQ: u8 = 14;

/// A number that ties a reply to its request. 31 bits: some KDCs read it as signed.
pub fn nonce(entropy: &mut dyn Entropy) -> u32 {
    let mut octets = [0; 4];
    entropy.fill(&mut octets);
    u32::from_be_bytes(octets) >> 1
}

/// The body of an AS-REQ; `now` is the KDC's time as far as it is known.
pub fn as_body(wish: &Wish, nonce: u32, now: SystemTime) -> KdcReqBody {
    let options = wish.options.with_if(wish.renewable.is_some(), Flags::RENEWABLE);
    KdcReqBody {
        kdc_options: KdcOptions(asn1::flags(options.0)),
        cname: Some(wish.client.principal.to_message()),
        realm: asn1::string(&wish.client.realm),
        sname: Some(wish.server().to_message()),
        from: None,
        till: asn1::time(now + wish.life),
        rtime: wish.renewable.map(|life| asn1::time(now + life)),
        nonce,
        etype: wish.etypes.iter().map(|etype| etype.number()).collect(),
        addresses: None,
        enc_authorization_data: None,
        additional_tickets: None,
    }
}

/// An AS-REQ.
pub fn as_request(padata: Vec<PaData>, req_body: KdcReqBody) -> Vec<u8> {
    let padata = if padata.is_empty() { None } else { Some(padata) };
    asn1::encode(&AsReq(KdcReq { pvno: VERSION.into(), msg_type: AS_REQ.into(), padata, req_body }))
}

/// PA-ENC-TIMESTAMP (RFC 4120 §5.2.7.2): the time, encrypted with the client's key.
pub fn encrypted_timestamp(key: &Key, now: SystemTime, entropy: &mut dyn Entropy) -> PaData {
    piece(pa::ENC_TIMESTAMP, asn1::encode(&timestamp(key, usage::PA_ENC_TIMESTAMP, now, entropy)))
}

/// The time, encrypted with `key` for `usage`.
pub fn timestamp(key: &Key, usage: u32, now: SystemTime, entropy: &mut dyn Entropy) -> EncryptedData {
    let stamp = PaEncTsEnc { patimestamp: asn1::time(now), pausec: Some(asn1::time::microseconds(now)) };
    EncryptedData { etype: key.etype().number(), kvno: None, cipher: key.encrypt(usage, &asn1::encode(&stamp), entropy).into() }
}

/// The whole AS-REQ of a client that knows its key and what the KDC wants: one message, no round trips before it.
pub fn timestamp_request(wish: &Wish, key: &Key, now: SystemTime, entropy: &mut dyn Entropy) -> Vec<u8> {
    let body = as_body(wish, nonce(entropy), now);
    as_request(vec![encrypted_timestamp(key, now, entropy), piece(pa::REQ_ENC_PA_REP, Vec::new())], body)
}

/// What is wished from a ticket-granting service.
#[derive(Clone, Debug)]
pub struct TgsWish {
    /// The service, and its realm.
    pub server: FullName,
    /// KDC options.
    pub options: Flags,
    /// Until when.
    pub life: Duration,
    /// Until when it shall be renewable.
    pub renew_till: Option<SystemTime>,
    /// Encryption types, the best first.
    pub etypes: Vec<Etype>,
    /// User to user: the ticket-granting ticket of whom the ticket is for, in DER.
    pub second: Option<Vec<u8>>,
}

impl TgsWish {
    /// A ticket for a service, as long as the ticket-granting ticket lives.
    pub fn service(server: FullName, tgt: &Grant) -> Self {
        let passed_on = Flags(tgt.flags).among(Flags::FORWARDABLE);
        Self { server, options: passed_on, life: TICKET_LIFE, renew_till: None, etypes: Etype::ALL.to_vec(), second: None }
    }

    /// The same ticket, with a new life, and renewable as long as it was.
    pub fn renewal(of: &Grant) -> Self {
        let life = of.times.end.duration_since(of.times.start).unwrap_or(TICKET_LIFE);
        let same = Flags(of.flags).among(Flags::FORWARDABLE.with(Flags::PROXIABLE).with(Flags::RENEWABLE));
        Self { options: same.with(Flags::RENEW), life, renew_till: of.times.renew_till, ..Self::service(of.server.clone(), of) }
    }

    /// A ticket under the session key of another user's ticket-granting ticket `second` (RFC 4120 §3.3.3).
    pub fn user_to_user(server: FullName, second: Vec<u8>, tgt: &Grant) -> Self {
        let wish = Self::service(server, tgt);
        Self { options: wish.options.with(Flags::ENC_TKT_IN_SKEY), second: Some(second), ..wish }
    }
}

/// A TGS-REQ with the key that its reply comes under.
pub struct TgsRequest {
    /// The message.
    pub bytes: Vec<u8>,
    /// The subkey in its authenticator.
    pub subkey: Key,
    /// Ties the reply to it.
    pub nonce: u32,
}

/// A TGS-REQ, proven with `tgt` (or with the ticket to be renewed).
pub fn tgs_request(wish: &TgsWish, tgt: &Grant, now: SystemTime, entropy: &mut dyn Entropy) -> Result<TgsRequest, asn1::Asn1Error> {
    let nonce = nonce(entropy);
    let additional = wish.second.as_deref().map(asn1::decode::<Ticket>).transpose()?;
    let options = wish.options.with_if(wish.renew_till.is_some(), Flags::RENEWABLE);
    let body = KdcReqBody {
        kdc_options: KdcOptions(asn1::flags(options.0)),
        cname: None,
        realm: asn1::string(&wish.server.realm),
        sname: Some(wish.server.principal.to_message()),
        from: None,
        till: asn1::time(now + wish.life),
        rtime: wish.renew_till.map(asn1::time),
        nonce,
        etype: wish.etypes.iter().map(|etype| etype.number()).collect(),
        addresses: None,
        enc_authorization_data: None,
        additional_tickets: additional.map(|ticket| vec![ticket]),
    };
    let subkey = Key::random(tgt.key.etype(), entropy);
    let checksum = tgt.key.checksum(usage::TGS_REQ_CHECKSUM, &asn1::encode(&body));
    let checksum = Checksum { r#type: tgt.key.etype().checksum_type(), checksum: checksum.into() };
    let ap = ApParts { checksum: Some(checksum), subkey: Some(&subkey), usage: usage::TGS_REQ_AUTHENTICATOR, mutual: false };
    let padata = vec![piece(pa::TGS_REQ, ap_request(&ap, tgt, now, entropy)?)];
    let request = KdcReq { pvno: VERSION.into(), msg_type: TGS_REQ.into(), padata: Some(padata), req_body: body };
    Ok(TgsRequest { bytes: asn1::encode(&TgsReq(request)), subkey, nonce })
}

/// What goes into an AP-REQ beside the ticket.
pub struct ApParts<'a> {
    /// Over what it is sent with.
    pub checksum: Option<Checksum>,
    /// A key for what follows.
    pub subkey: Option<&'a Key>,
    /// What the authenticator is encrypted for.
    pub usage: u32,
    /// Whether the other end shall prove itself too.
    pub mutual: bool,
}

/// An AP-REQ (RFC 4120 §5.5.1).
pub fn ap_request(parts: &ApParts<'_>, grant: &Grant, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Vec<u8>, asn1::Asn1Error> {
    let subkey = parts.subkey.map(|key| EncryptionKey { r#type: key.etype().number(), value: key.bytes().to_vec().into() });
    let authenticator = Authenticator {
        authenticator_vno: VERSION.into(),
        crealm: asn1::string(&grant.client.realm),
        cname: grant.client.principal.to_message(),
        cksum: parts.checksum.clone(),
        cusec: asn1::time::microseconds(now),
        ctime: asn1::time(now),
        subkey,
        seq_number: None,
        authorization_data: None,
    };
    let plain = Zeroizing::new(asn1::encode(&authenticator));
    let cipher = grant.key.encrypt(parts.usage, &plain, entropy);
    let options = if parts.mutual { asn1::flags::bit(2) } else { 0 };
    Ok(asn1::encode(&ApReq {
        pvno: VERSION.into(),
        msg_type: AP_REQ.into(),
        ap_options: ApOptions(asn1::flags(options)),
        ticket: asn1::decode(&grant.ticket)?,
        authenticator: EncryptedData { etype: grant.key.etype().number(), kvno: None, cipher: cipher.into() },
    }))
}
