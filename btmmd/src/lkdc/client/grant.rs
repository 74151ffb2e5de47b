//! A ticket that was granted, with the key to use it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::clock::ClockOffset;
use crate::entropy::Entropy;
use crate::lkdc::asn1::time::seconds;
use crate::lkdc::asn1::{self, Asn1Error};
use crate::lkdc::ccache::{Credential, SessionKey, Times};
use crate::lkdc::crypto::{CryptoError, Etype, Key};
use crate::lkdc::fast::Armor;
use crate::lkdc::fast::client::ArmorTicket;
use crate::lkdc::full_name::FullName;

/// When a ticket may be used, by the KDC's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When the client first proved itself.
    pub authenticated: SystemTime,
    /// From.
    pub start: SystemTime,
    /// Until.
    pub end: SystemTime,
    /// Until when it may be renewed.
    pub renew_till: Option<SystemTime>,
}

/// A ticket with its session key.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who may use it.
    pub client: FullName,
    /// For what.
    pub server: FullName,
    /// The session key.
    pub key: Key,
    /// Ticket flags, bit 0 the most significant.
    pub flags: u32,
    /// When.
    pub times: Life,
    /// The ticket in DER.
    pub ticket: Vec<u8>,
    /// User to user: the ticket under whose session key this one is, in DER.
    pub second: Vec<u8>,
}

/// Why a credential of a cache cannot be used here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCredential {
    /// Its session key is of a type we do not speak.
    #[error("the session key is of encryption type {0}, which btmm does not speak")]
    Etype(i32),
    /// Its session key has a wrong length.
    #[error(transparent)]
    Key(#[from] CryptoError),
}

impl Grant {
    /// What goes into a credential cache.
    pub fn to_credential(&self) -> Credential {
        let second = |at: SystemTime| u32::try_from(seconds(at)).unwrap_or(u32::MAX);
        Credential {
            client: self.client.clone(),
            server: self.server.clone(),
            key: SessionKey { etype: self.key.etype().number(), octets: Zeroizing::new(self.key.bytes().to_vec()) },
            times: Times {
                authenticated: second(self.times.authenticated),
                starts: second(self.times.start),
                ends: second(self.times.end),
                renew_till: self.times.renew_till.map_or(0, second),
            },
            is_session_key_of_second: !self.second.is_empty(),
            flags: self.flags,
            addresses: Vec::new(),
            authorization: Vec::new(),
            ticket: self.ticket.clone(),
            second_ticket: self.second.clone(),
        }
    }

    /// Armor (RFC 6113) of a ticket-granting ticket, for requests to the same KDC. `now` is our clock.
    pub fn armor(&self, offset: ClockOffset, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Armor, Asn1Error> {
        let ticket = asn1::decode(&self.ticket)?;
        let with = ArmorTicket { ticket: &ticket, session: &self.key, realm: &self.client.realm, client: &self.client.principal };
        Ok(Armor::of_ticket(with, offset.kdc_time(now), entropy))
    }

    /// What a credential cache had.
    pub fn from_credential(credential: &Credential) -> Result<Self, UnusableCredential> {
        let at = |second: u32| UNIX_EPOCH + Duration::from_secs(u64::from(second));
        let etype = Etype::from_number(credential.key.etype).ok_or(UnusableCredential::Etype(credential.key.etype))?;
        let times = &credential.times;
        let start = if times.starts == 0 { times.authenticated } else { times.starts };
        Ok(Self {
            client: credential.client.clone(),
            server: credential.server.clone(),
            key: Key::new(etype, &credential.key.octets)?,
            flags: credential.flags,
            times: Life {
                authenticated: at(times.authenticated),
                start: at(start),
                end: at(times.ends),
                renew_till: (times.renew_till != 0).then(|| at(times.renew_till)),
            },
            ticket: credential.ticket.clone(),
            second: credential.second_ticket.clone(),
        })
    }
}
