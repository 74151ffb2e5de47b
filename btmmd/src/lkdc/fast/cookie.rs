//! PA-FX-COOKIE: what the KDC remembers between two requests of one conversation, kept by the client, sealed with a key that only this KDC has.
//!
//! A cookie is for one client and for ten minutes: as long as somebody may need to find a password and type it.

use std::fmt;
use std::time::{Duration, SystemTime};

use rasn_kerberos::PaData;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{FastError, PA_FX_COOKIE};
use crate::entropy::Entropy;
use crate::lkdc::asn1::time;
use crate::lkdc::crypto::Key;
use crate::lkdc::name::Principal;
use crate::wire::{Reader, WireError, Writer, at_most};

/// How long a conversation may take.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Key usage 1024: the first of those that RFC 4120 §7.5.1 leaves to everybody's own purposes.
const USAGE: u32 = 1024;
const MAX_ENTRIES: usize = 8;
const MAX_ENTRY: usize = 2048;

/// What mechanisms want to find again in the client's next request, under the number of their padata.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookie {
    entries: Vec<(i32, Zeroizing<Vec<u8>>)>,
}

impl Cookie {
    /// A cookie of one mechanism.
    pub fn of(pa_type: i32, value: Zeroizing<Vec<u8>>) -> Self {
        Self { entries: vec![(pa_type, value)] }
    }

    /// Adds what another mechanism wants to find again.
    pub fn push(&mut self, pa_type: i32, value: Zeroizing<Vec<u8>>) {
        self.entries.push((pa_type, value));
    }

    /// What the mechanism has left.
    pub fn get(&self, pa_type: i32) -> Option<&[u8]> {
        self.entries.iter().find(|(number, _)| *number == pa_type).map(|(_, value)| value.as_slice())
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(number, _)| number)).finish()
    }
}

/// Seals and opens cookies.
#[derive(Clone, Debug)]
pub struct CookieJar {
    key: Key,
}

impl CookieJar {
    /// With a key that nobody else has. A fresh one per start of the KDC will do: conversations that a restart breaks begin again.
    pub fn new(key: Key) -> Self {
        Self { key }
    }

    /// The padata to send along to `client`.
    pub fn seal(&self, cookie: &Cookie, client: &Principal, now: SystemTime, entropy: &mut dyn Entropy) -> PaData {
        let mut plain = Writer::new();
        plain.u64(time::seconds(now));
        plain.bytes(&owner(client));
        for (pa_type, value) in &cookie.entries {
            plain.bytes(&pa_type.to_be_bytes());
            let length = plain.len();
            plain.u16(0);
            plain.bytes(value);
            plain.patch_u16(length, value.len());
        }
        let plain = Zeroizing::new(plain.into_bytes());
        PaData { r#type: PA_FX_COOKIE, value: self.key.encrypt(USAGE, &plain, entropy).into() }
    }

    /// The cookie among `padata`, if there is one. It must be ours, recent, and for `client`.
    pub fn open(&self, padata: &[PaData], client: &Principal, now: SystemTime) -> Result<Option<Cookie>, FastError> {
        let Some(sealed) = padata.iter().find(|pa| pa.r#type == PA_FX_COOKIE) else { return Ok(None) };
        let plain = self.key.decrypt(USAGE, &sealed.value).map_err(|_| FastError::ForeignCookie)?;
        let (at, whose, cookie) = read(&plain).map_err(|_| FastError::ForeignCookie)?;
        if !bool::from(whose.ct_eq(&owner(client))) {
            return Err(FastError::ForeignCookie);
        }
        if time::seconds(now).abs_diff(at) > LIFETIME.as_secs() {
            return Err(FastError::CookieExpired);
        }
        Ok(Some(cookie))
    }
}

fn read(plain: &[u8]) -> Result<(u64, [u8; 32], Cookie), WireError> {
    let mut reader = Reader::new(plain);
    let at = reader.u64("time of a cookie")?;
    let whose = reader.array("client of a cookie")?;
    let mut entries = Vec::new();
    while !reader.is_empty() {
        at_most(entries.len() + 1, MAX_ENTRIES, "entries of a cookie")?;
        let pa_type = reader.array("type in a cookie").map(i32::from_be_bytes)?;
        let length = usize::from(reader.u16("length in a cookie")?);
        at_most(length, MAX_ENTRY, "value in a cookie")?;
        entries.push((pa_type, Zeroizing::new(reader.take(length, "value in a cookie")?.to_vec())));
    }
    Ok((at, whose, Cookie { entries }))
}

fn owner(client: &Principal) -> [u8; 32] {
    Sha256::digest(client.to_string()).into()
}
