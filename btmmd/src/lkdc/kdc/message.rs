//! The messages of the KDC: replies and errors.

use std::time::SystemTime;

use rasn_kerberos::{HostAddress, PaData};
use zeroize::Zeroizing;

use super::error::{EData, Refusal};
use super::options::Flags;
use super::policy::Times;
use crate::lkdc::asn1::{Der, time, write};
use crate::lkdc::crypto::Key;
use crate::lkdc::name::Principal;

/// `pvno`.
const VERSION: i64 = 5;

/// Tag numbers of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `msg-type` and tag of the reply.
    reply: u8,
    /// Tag of the reply's encrypted part.
    part: u8,
}

/// AS-REP and EncASRepPart.
pub const AS: Kind = Kind { reply: 11, part: 25 };
/// TGS-REP and EncTGSRepPart.
pub const TGS: Kind = Kind { reply: 13, part: 26 };

/// What the client is told of its ticket, under its own key.
pub struct ReplyPart<'a> {
    /// Which exchange.
    pub kind: Kind,
    /// The session key.
    pub session: &'a Key,
    /// The request's nonce, with the sign it had there.
    pub nonce: i64,
    /// The ticket's flags.
    pub flags: Flags,
    /// The ticket's times.
    pub times: Times,
    /// Our realm.
    pub realm: &'a str,
    /// The service.
    pub service: &'a Principal,
    /// The ticket's addresses.
    pub addresses: Option<&'a [HostAddress]>,
    /// Data for the client's eyes only.
    pub padata: &'a [PaData],
    /// Now, in seconds since 1970.
    pub now: u64,
}

impl ReplyPart<'_> {
    /// EncASRepPart or EncTGSRepPart.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Der::of(|der| der.tagged(write::application(self.kind.part), |der| der.sequence(|der| self.fields(der))))
    }

    fn fields(&self, der: &mut Der) {
        der.field(0, |der| der.typed(self.session.etype().number(), self.session.bytes()));
        // Nothing is kept of former requests: one entry of type 0 says so.
        der.field(1, |der| {
            der.sequence(|der| {
                der.sequence(|der| {
                    der.field(0, |der| der.integer(0));
                    der.field(1, |der| der.time(self.now));
                });
            });
        });
        der.field(2, |der| der.integer(self.nonce));
        der.field(4, |der| der.flags(self.flags.0));
        der.field(5, |der| der.time(self.times.auth));
        der.field(6, |der| der.time(self.times.start));
        der.field(7, |der| der.time(self.times.end));
        if let Some(till) = self.times.renew_till {
            der.field(8, |der| der.time(till));
        }
        der.field(9, |der| der.string(self.realm));
        der.field(10, |der| der.principal(self.service));
        if let Some(addresses) = self.addresses {
            der.field(11, |der| der.addresses(addresses));
        }
        if !self.padata.is_empty() {
            der.field(12, |der| der.padata(self.padata));
        }
    }
}

/// AS-REP or TGS-REP.
pub struct Reply<'a> {
    /// Which exchange.
    pub kind: Kind,
    /// Data in clear.
    pub padata: &'a [PaData],
    /// The client's realm.
    pub crealm: &'a str,
    /// The client.
    pub client: &'a Principal,
    /// The ticket, encoded.
    pub ticket: &'a [u8],
    /// Etype, key version and ciphertext of the encrypted part.
    pub part: (i32, Option<u32>, &'a [u8]),
}

impl Reply<'_> {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let message = Der::of(|der| {
            der.tagged(write::application(self.kind.reply), |der| {
                der.sequence(|der| {
                    der.field(0, |der| der.integer(VERSION));
                    der.field(1, |der| der.integer(self.kind.reply.into()));
                    if !self.padata.is_empty() {
                        der.field(2, |der| der.padata(self.padata));
                    }
                    der.field(3, |der| der.string(self.crealm));
                    der.field(4, |der| der.principal(self.client));
                    der.field(5, |der| der.raw(self.ticket));
                    let (etype, kvno, cipher) = self.part;
                    der.field(6, |der| der.encrypted(etype, kvno, cipher));
                });
            });
        });
        message.to_vec()
    }
}

/// KRB-ERROR.
pub struct ErrorMessage<'a> {
    /// Why.
    pub refusal: &'a Refusal,
    /// The client and its realm, when they could be told.
    pub client: Option<(&'a str, &'a Principal)>,
    /// Our realm.
    pub realm: &'a str,
    /// The service asked for.
    pub service: &'a Principal,
    /// Now.
    pub now: SystemTime,
}

impl ErrorMessage<'_> {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let data = match &self.refusal.data {
            EData::None => Zeroizing::default(),
            EData::Methods(methods) => Der::of(|der| der.padata(methods)),
            EData::Typed(typed) => Zeroizing::new(typed.clone()),
        };
        let message = Der::of(|der| der.tagged(write::application(30), |der| der.sequence(|der| self.fields(der, &data))));
        message.to_vec()
    }

    fn fields(&self, der: &mut Der, data: &[u8]) {
        let micros = i64::try_from(&time::microseconds(self.now)).unwrap_or(0);
        der.field(0, |der| der.integer(VERSION));
        der.field(1, |der| der.integer(30));
        der.field(4, |der| der.time(time::seconds(self.now)));
        der.field(5, |der| der.integer(micros));
        der.field(6, |der| der.integer(self.refusal.code.0.into()));
        if let Some((realm, client)) = self.client {
            der.field(7, |der| der.string(realm));
            der.field(8, |der| der.principal(client));
        }
        der.field(9, |der| der.string(self.realm));
        der.field(10, |der| der.principal(self.service));
        der.field(11, |der| der.string(self.refusal.text()));
        if !data.is_empty() {
            der.field(12, |der| der.octets(data));
        }
    }
}
