//! Pre-authentication: what a mechanism sees of a request, and what it says to it.
//!
//! Each way in which a client can prove itself is a [`Mechanism`]; the KDC holds a table of them and knows nothing of what is inside.

use std::time::SystemTime;

use rasn_kerberos::{KdcReqBody, PaData};

use super::earned::{Certified, Earned};
use super::error::Refusal;
use crate::entropy::Entropy;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::{Principal, RealmName};
use crate::lkdc::principals::{Entry, Kind, Strength};

/// Numbers of pre-authentication data.
pub mod pa {
    /// The AP-REQ of a TGS-REQ (RFC 4120).
    pub const TGS_REQ: i32 = 1;
    /// Encrypted timestamp (RFC 4120).
    pub const ENC_TIMESTAMP: i32 = 2;
    /// PKINIT request (RFC 4556).
    pub const PK_AS_REQ: i32 = 16;
    /// PKINIT reply (RFC 4556).
    pub const PK_AS_REP: i32 = 17;
    /// Etypes, salts and parameters (RFC 4120).
    pub const ETYPE_INFO2: i32 = 19;
    /// FAST cookie (RFC 6113).
    pub const FX_COOKIE: i32 = 133;
    /// FAST (RFC 6113).
    pub const FX_FAST: i32 = 136;
    /// An error inside FAST (RFC 6113).
    pub const FX_ERROR: i32 = 137;
    /// Encrypted challenge (RFC 6113).
    pub const ENCRYPTED_CHALLENGE: i32 = 138;
    /// One-time code, challenge (RFC 6560).
    pub const OTP_CHALLENGE: i32 = 141;
    /// One-time code, request (RFC 6560).
    pub const OTP_REQUEST: i32 = 142;
    /// The KDC's contribution to the session key of an anonymous client (RFC 8062).
    pub const PKINIT_KX: i32 = 147;
    /// Protects the request of RFC 6806 §11.
    pub const REQ_ENC_PA_REP: i32 = 149;
    /// PKINIT freshness (RFC 8070).
    pub const AS_FRESHNESS: i32 = 150;
    /// SPAKE (RFC 9588).
    pub const SPAKE: i32 = 151;
}

/// What a mechanism sees of an AS-REQ. Inside FAST, everything is what the armor protected.
pub struct Asked<'a> {
    /// The whole AS-REQ as its sender encoded it.
    pub request: &'a [u8],
    /// The request's body.
    pub body: &'a KdcReqBody,
    /// The same as its sender encoded it: checksums cover these octets.
    pub req_body: &'a [u8],
    /// All pre-authentication data that came along.
    pub padata: &'a [PaData],
    /// The client that is asked for.
    pub client: &'a Principal,
    /// What is known of it. A machine of the account needs no entry: its certificate speaks for it.
    pub entry: Option<&'a Entry>,
    /// The client's long-term key, of the first encryption type in its list for which it has one: a copy for this request, see
    /// [`Key::apart`].
    pub client_key: Option<&'a Key>,
    /// Our realm.
    pub realm: &'a RealmName,
    /// Encryption types that both speak, in the client's order. Never empty.
    pub etypes: &'a [Etype],
    /// The armor key inside FAST.
    pub armor: Option<&'a Key>,
    /// Allowed difference between clocks.
    pub skew: std::time::Duration,
    /// Now.
    pub now: SystemTime,
}

impl Asked<'_> {
    /// The client's long-term key, where that alone proves the client: no second factor is in force.
    pub fn sole_key(&self) -> Option<&Key> {
        self.client_key.filter(|_| self.entry.is_some_and(|entry| entry.totp.is_none()))
    }

    /// The client's long-term keys of the types that are `wanted`, each a copy for this request.
    pub fn long_term(&self, wanted: impl Fn(Etype) -> bool) -> impl Iterator<Item = Key> {
        let keys = self.entry.and_then(Entry::current).map_or(&[][..], |version| &version.keys);
        let copy = |key: &Key| self.client_key.filter(|known| known.etype() == key.etype()).map_or_else(|| key.apart(), Key::clone);
        keys.iter().filter(move |key| wanted(key.etype())).map(copy)
    }
}

/// What a mechanism says to data that it was sent.
pub enum Verdict {
    /// The client is who it says.
    Proven(Proof),
    /// So far so good: the next message of the mechanism. The client is told KDC_ERR_MORE_PREAUTH_DATA_REQUIRED.
    More(Vec<PaData>),
}

/// A client that has proven itself.
pub struct Proof {
    /// What encrypts the reply, when it is not the client's long-term key.
    pub reply_key: Option<Key>,
    /// What the reply carries.
    pub padata: Vec<PaData>,
    /// What the ticket will say of it.
    pub earned: Earned,
    /// Whether a device took part (ticket flag `hw-authent`).
    pub hardware: bool,
    /// The session key of the ticket, when the mechanism has a say in it (RFC 8062 §7).
    pub session_key: Option<Key>,
    /// The part of it that is good once, and that nobody but the client could have written in another way: encrypted, or signed.
    pub once: Vec<u8>,
}

impl Proof {
    /// A proof with the client's long-term key, of which `once` is good once. A person's is a password's; a service's, out of its keytab,
    /// proves nothing that another service could ask for.
    pub fn by_key(asked: &Asked<'_>, once: &[u8]) -> Self {
        let is_person = asked.entry.is_some_and(|entry| matches!(entry.kind, Kind::User { .. }));
        Self::by(is_person.then_some(Strength::Password), once)
    }

    /// A proof of this strength, of which `once` is good once.
    pub fn by(strength: Option<Strength>, once: &[u8]) -> Self {
        Self {
            reply_key: None,
            padata: Vec::new(),
            earned: Earned { strengths: strength.into_iter().collect(), machine: None },
            hardware: false,
            session_key: None,
            once: once.to_vec(),
        }
    }
}

/// A way in which a client can prove itself.
pub trait Mechanism: Send + Sync {
    /// The number of the data that it takes.
    fn takes(&self) -> i32;

    /// What it puts into METHOD-DATA when a proof is asked for. Empty when it is not for this client.
    fn offer(&self, asked: &Asked<'_>, entropy: &mut dyn Entropy) -> Vec<PaData>;

    /// Judges the `value` of data of its number.
    fn judge(&self, asked: &Asked<'_>, value: &[u8], entropy: &mut dyn Entropy) -> Result<Verdict, Refusal>;

    /// Whether what was proven by this machine's certificate still counts. A mechanism that knows nothing of machines has no objection.
    fn still_believes(&self, _machine: &Certified) -> bool {
        true
    }
}
