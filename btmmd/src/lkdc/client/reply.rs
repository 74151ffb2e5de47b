//! What a KDC answers, and whether it is an answer to what was asked (RFC 4120 §3.1.5, §3.3.4; RFC 6806 §11).

use std::time::{Duration, SystemTime};

use rasn_kerberos::{AsRep, Checksum, EncAsRepPart, EncKdcRepPart, EncTgsRepPart, KdcRep, TgsRep};

use super::grant::{Grant, Life};
use super::offers::find;
use crate::lkdc::asn1::{self, Asn1Error};
use crate::lkdc::crypto::{CryptoError, Etype, Key, usage};
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::kdc::preauth::pa;
use crate::lkdc::name::Principal;

/// How far clocks may differ (RFC 4120 §8.2).
pub const SKEW: Duration = Duration::from_secs(300);

/// The tag of an AS-REP.
pub const AS_REP: u8 = 0x6b;
/// The tag of a TGS-REP.
pub const TGS_REP: u8 = 0x6d;
/// The tag of a KRB-ERROR.
pub const KRB_ERROR: u8 = 0x7e;
/// The tag of EncASRepPart; some KDCs send EncTGSRepPart's instead (RFC 4120 §5.4.2).
const ENC_AS_REP_PART: u8 = 0x79;

/// Why a reply is not believed. The KDC's fault, or of someone between.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a message of the kind that was due.
    #[error("the KDC's answer is no Kerberos message that fits the question (tag {0:#04x})")]
    Kind(u8),
    /// Not readable.
    #[error("the KDC's answer is malformed: {0}")]
    Malformed(#[from] Asn1Error),
    /// Not made with the key that we hold, or altered.
    #[error("the KDC's answer cannot be decrypted: {0}")]
    Key(#[from] CryptoError),
    /// Encrypted in another way than the key that we hold.
    #[error("the KDC's answer is encrypted with type {got}, not with {want}")]
    Etype {
        /// Ours.
        want: Etype,
        /// Theirs.
        got: i32,
    },
    /// An answer to some other question.
    #[error("the KDC's answer has another {0} than the request")]
    Differs(&'static str),
    /// A key of a type that was not asked for.
    #[error("the KDC chose encryption type {0}, which was not asked for")]
    NotAsked(i32),
    /// A ticket that is over, or not yet begun.
    #[error("the KDC's answer holds a ticket whose times make no sense")]
    Times,
    /// The proof that nobody altered our request is missing.
    #[error("the KDC does not confirm what request it answers (PA-REQ-ENC-PA-REP)")]
    Unconfirmed,
}

/// What the request said that the reply must agree with.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// For what.
    pub server: &'a FullName,
    /// Of the request.
    pub nonce: u32,
    /// That were asked for.
    pub etypes: &'a [Etype],
    /// Now, by the KDC's clock as far as it is known.
    pub now: SystemTime,
}

/// Reads an AS-REP.
pub fn as_rep(bytes: &[u8]) -> Result<KdcRep, ReplyError> {
    match asn1::raw::tag(bytes) {
        Some(AS_REP) => Ok(asn1::decode::<AsRep>(bytes)?.0),
        other => Err(ReplyError::Kind(other.unwrap_or(0))),
    }
}

/// Reads a TGS-REP.
pub fn tgs_rep(bytes: &[u8]) -> Result<KdcRep, ReplyError> {
    match asn1::raw::tag(bytes) {
        Some(TGS_REP) => Ok(asn1::decode::<TgsRep>(bytes)?.0),
        other => Err(ReplyError::Kind(other.unwrap_or(0))),
    }
}

/// The client that a reply names.
pub fn client_of(reply: &KdcRep) -> Result<FullName, ReplyError> {
    Ok(FullName::new(Principal::of_message(&reply.cname)?, asn1::text(&reply.crealm)?.to_owned()))
}

/// Decrypts the part that only the client can read.
pub fn open(reply: &KdcRep, key: &Key, usage: u32) -> Result<EncKdcRepPart, ReplyError> {
    if reply.enc_part.etype != key.etype().number() {
        return Err(ReplyError::Etype { want: key.etype(), got: reply.enc_part.etype });
    }
    let plain = key.decrypt(usage, &reply.enc_part.cipher)?;
    match asn1::raw::tag(&plain) {
        Some(ENC_AS_REP_PART) => Ok(asn1::decode::<EncAsRepPart>(&plain)?.0),
        _ => Ok(asn1::decode::<EncTgsRepPart>(&plain)?.0),
    }
}

/// Checks a decrypted reply against its request, and makes the grant of it. `reply.cname` is not looked at here: who may be meant
/// differs between the exchanges.
pub fn accept(reply: &KdcRep, part: &EncKdcRepPart, expected: &Expected<'_>) -> Result<Grant, ReplyError> {
    if part.nonce != expected.nonce {
        return Err(ReplyError::Differs("nonce"));
    }
    let named = |realm, name| Ok::<_, Asn1Error>(FullName::new(Principal::of_message(name)?, asn1::text(realm)?.to_owned()));
    let server = named(&part.srealm, &part.sname)?;
    if server != *expected.server || named(&reply.ticket.realm, &reply.ticket.sname)? != server {
        return Err(ReplyError::Differs("service"));
    }
    let etype = Etype::from_number(part.key.r#type).filter(|etype| expected.etypes.contains(etype));
    let etype = etype.ok_or(ReplyError::NotAsked(part.key.r#type))?;
    let times = times(part, expected.now)?;
    Ok(Grant {
        client: client_of(reply)?,
        server,
        key: Key::new(etype, &part.key.value)?,
        flags: asn1::flag_bits(&part.flags.0),
        times,
        ticket: asn1::encode(&reply.ticket),
        second: Vec::new(),
    })
}

fn times(part: &EncKdcRepPart, now: SystemTime) -> Result<Life, ReplyError> {
    let authenticated = asn1::system_time(&part.auth_time);
    let start = part.start_time.as_ref().map_or(authenticated, asn1::system_time);
    let end = asn1::system_time(&part.end_time);
    if end <= start || end <= now || start > now + SKEW {
        return Err(ReplyError::Times);
    }
    Ok(Life { authenticated, start, end, renew_till: part.renew_till.as_ref().map(asn1::system_time) })
}

/// How far the KDC's clock is from ours, told by a fresh initial ticket.
pub fn clock_of(part: &EncKdcRepPart) -> SystemTime {
    asn1::system_time(&part.auth_time)
}

/// Checks the KDC's checksum over the request as we sent it. Needed where the answer decided anything: it says that no one stripped
/// offers from, or added to, what both ends saw.
pub fn confirmed(part: &EncKdcRepPart, request: &[u8], key: &Key, demanded: bool) -> Result<(), ReplyError> {
    if !Flags(asn1::flag_bits(&part.flags.0)).has(Flags::ENC_PA_REP) {
        return if demanded { Err(ReplyError::Unconfirmed) } else { Ok(()) };
    }
    let padata = part.encrypted_pa_data.as_deref().unwrap_or_default();
    let value = find(padata, pa::REQ_ENC_PA_REP).ok_or(ReplyError::Unconfirmed)?;
    let checksum: Checksum = asn1::decode(value)?;
    if checksum.r#type != key.etype().checksum_type() {
        return Err(ReplyError::Unconfirmed);
    }
    Ok(key.verify_checksum(usage::AS_REQ, request, &checksum.checksum)?)
}
