//! Tickets: sealed for services, opened when they come back.

use rasn_kerberos::{AuthorizationData, EncTicketPart, HostAddress, HostAddresses, Ticket};
use zeroize::Zeroizing;

use super::error::{ErrorCode, Refusal};
use super::options::Flags;
use super::policy::{Ceiling, Times};
use crate::entropy::Entropy;
use crate::lkdc::asn1::time::to_seconds;
use crate::lkdc::asn1::{self, Asn1Error, Der, write};
use crate::lkdc::crypto::{Etype, Key, usage};
use crate::lkdc::name::Principal;

/// What a ticket says to its service.
pub struct Contents<'a> {
    /// Flags.
    pub flags: Flags,
    /// The session key.
    pub session: &'a Key,
    /// The client's realm.
    pub crealm: &'a str,
    /// The client.
    pub client: &'a Principal,
    /// Times.
    pub times: Times,
    /// Addresses it can be used from; `None` for any.
    pub addresses: Option<&'a [HostAddress]>,
}

impl Contents<'_> {
    /// EncTicketPart with these elements of authorization data, encoded each; none when empty.
    pub fn encode(&self, elements: &[u8]) -> Zeroizing<Vec<u8>> {
        Der::of(|der| {
            der.tagged(write::application(3), |der| der.sequence(|der| self.fields(der, elements)));
        })
    }

    fn fields(&self, der: &mut Der, elements: &[u8]) {
        der.field(0, |der| der.flags(self.flags.0));
        der.field(1, |der| der.typed(self.session.etype().number(), self.session.bytes()));
        der.field(2, |der| der.string(self.crealm));
        der.field(3, |der| der.principal(self.client));
        // One realm, so nothing was transited (RFC 4120 §3.3.3.2); 1 is DOMAIN-X500-COMPRESS.
        der.field(4, |der| der.typed(1, &[]));
        der.field(5, |der| der.time(self.times.auth));
        der.field(6, |der| der.time(self.times.start));
        der.field(7, |der| der.time(self.times.end));
        if let Some(till) = self.times.renew_till {
            der.field(8, |der| der.time(till));
        }
        if let Some(addresses) = self.addresses {
            der.field(9, |der| der.addresses(addresses));
        }
        if !elements.is_empty() {
            der.field(10, |der| der.sequence(|der| der.raw(elements)));
        }
    }
}

/// What encrypts a ticket.
pub struct ServiceKey<'a> {
    /// The key.
    pub key: &'a Key,
    /// Its version; `None` for a session key.
    pub kvno: Option<u32>,
}

/// A Ticket for `service`, encoded.
pub fn seal(part: &[u8], realm: &str, service: &Principal, with: &ServiceKey<'_>, entropy: &mut dyn Entropy) -> Zeroizing<Vec<u8>> {
    let cipher = with.key.encrypt(usage::TICKET, part, entropy);
    Der::of(|der| {
        der.tagged(write::application(1), |der| {
            der.sequence(|der| {
                der.field(0, |der| der.integer(5));
                der.field(1, |der| der.string(realm));
                der.field(2, |der| der.principal(service));
                der.field(3, |der| der.encrypted(with.key.etype().number(), with.kvno, &cipher));
            });
        });
    })
}

/// A ticket that came back, decrypted.
pub struct Opened {
    /// Flags.
    pub flags: Flags,
    /// The session key.
    pub session: Key,
    /// The client's realm.
    pub crealm: String,
    /// The client.
    pub client: Principal,
    /// Times.
    pub times: Times,
    /// Addresses it can be used from.
    pub addresses: Option<HostAddresses>,
    /// Authorization data.
    pub authorization: AuthorizationData,
}

/// Decrypts a ticket with the key it was sealed with.
pub fn open(ticket: &Ticket, key: &Key) -> Result<Opened, Refusal> {
    let wrong = || Refusal::new(ErrorCode::KRB_AP_ERR_BAD_INTEGRITY, "the ticket is not one of ours");
    let plain = key.decrypt(usage::TICKET, &ticket.enc_part.cipher).map_err(|_| wrong())?;
    read(&plain).map_err(|_| wrong())
}

fn read(plain: &[u8]) -> Result<Opened, Asn1Error> {
    let part: EncTicketPart = asn1::decode(plain)?;
    let etype = Etype::from_number(part.key.r#type).ok_or(Asn1Error::Value("session key"))?;
    let auth = to_seconds(&part.auth_time);
    Ok(Opened {
        flags: Flags(asn1::flag_bits(&part.flags.0)),
        session: Key::new(etype, &part.key.value).map_err(|_| Asn1Error::Value("session key"))?,
        crealm: asn1::text(&part.crealm)?.to_owned(),
        client: Principal::of_message(&part.cname)?,
        times: Times {
            auth,
            start: part.start_time.as_ref().map_or(auth, to_seconds),
            end: to_seconds(&part.end_time),
            renew_till: part.renew_till.as_ref().map(to_seconds),
        },
        addresses: part.caddr,
        authorization: part.authorization_data.unwrap_or_default(),
    })
}

impl Opened {
    /// What a ticket that rests on this one can have at most.
    pub fn ceiling(&self) -> Ceiling {
        Ceiling { flags: self.flags, times: self.times }
    }

    /// The same contents, to be encoded as they were.
    pub fn contents(&self) -> Contents<'_> {
        Contents {
            flags: self.flags,
            session: &self.session,
            crealm: &self.crealm,
            client: &self.client,
            times: self.times,
            addresses: self.addresses.as_deref(),
        }
    }
}
