//! Credential caches: where a user's tickets are, in the form that kinit, klist, ssh and all others share.
//!
//! - [`mod@format`]: the octets. [`place`]: where a cache is, as `KRB5CCNAME` says it. `profile`: and as
//!   `krb5.conf` says it. `linux`: files. `keyring`,
//!   `keyctl`: the kernel's keys.

pub mod format;
mod keyctl;
mod keyring;
mod linux;
pub mod place;
mod profile;

use std::fmt;

use smallvec::smallvec;
use zeroize::Zeroizing;

use super::full_name::FullName;
use super::name::{Components, Principal};
pub use linux::{CacheError, add, add_aside, caches, check_room, configured, destroy, load, members, save, update};
pub use place::CachePlace;

/// The realm of the entries that are not tickets but configuration.
const CONFIG_REALM: &str = "X-CACHECONF:";
/// The realm of removed configuration.
const REMOVED_REALM: &str = "X-RMED-CONF:";
/// The first component of a configuration entry's name.
const CONFIG_NAME: &str = "krb5_ccache_conf_data";

/// One user's tickets in one realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialCache {
    /// How far the KDC's clock is ahead of ours, in seconds and microseconds.
    pub time_offset: Option<(i32, i32)>,
    /// Whose tickets these are.
    pub client: FullName,
    /// Tickets and configuration, in the order in which they were put there.
    pub credentials: Vec<Credential>,
}

/// A ticket, with the key that proves it ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Whose.
    pub client: FullName,
    /// For what.
    pub server: FullName,
    /// The session key.
    pub key: SessionKey,
    /// From when till when.
    pub times: Times,
    /// Whether the ticket is encrypted in the session key of the second one (user-to-user).
    pub is_session_key_of_second: bool,
    /// Ticket flags as RFC 4120 §5.3 numbers them, bit 0 the highest.
    pub flags: u32,
    /// Addresses for which the ticket is good; none stands for all.
    pub addresses: Vec<Typed>,
    /// Authorization data of the client's own.
    pub authorization: Vec<Typed>,
    /// The DER of the Ticket.
    pub ticket: Vec<u8>,
    /// The DER of the second Ticket, empty when there is none.
    pub second_ticket: Vec<u8>,
}

/// A session key, of whatever etype.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The etype's number: others' caches have etypes that we do not.
    pub etype: i32,
    /// The key.
    pub octets: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey").field("etype", &self.etype).finish_non_exhaustive()
    }
}

/// Times of a ticket, in seconds since the epoch; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When the client proved itself.
    pub authenticated: u32,
    /// When the ticket begins to be good; 0 when that was so at once.
    pub starts: u32,
    /// When it ends.
    pub ends: u32,
    /// Until when it can be renewed.
    pub renew_till: u32,
}

/// An address or a piece of authorization data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Its type, as RFC 4120 numbers them.
    pub kind: u16,
    /// Its contents.
    pub octets: Vec<u8>,
}

impl CredentialCache {
    /// An empty cache of `client`.
    pub fn new(client: FullName) -> Self {
        Self { time_offset: None, client, credentials: Vec::new() }
    }

    /// The tickets, without configuration.
    pub fn tickets(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().filter(|credential| !credential.is_config())
    }

    /// The newest ticket for `server` that is good at `now`.
    pub fn find(&self, server: &FullName, now: u32) -> Option<&Credential> {
        self.tickets().filter(|ticket| ticket.server == *server && ticket.times.ends > now).max_by_key(|ticket| ticket.times.ends)
    }

    /// Puts a ticket there, in the place of all for the same server with the same kind of key.
    pub fn store(&mut self, ticket: Credential) {
        self.credentials.retain(|old| {
            old.is_config() || old.server != ticket.server || old.is_session_key_of_second != ticket.is_session_key_of_second
        });
        self.credentials.push(ticket);
    }

    /// Takes out the tickets that are `chosen`; tells how many.
    pub fn remove(&mut self, mut chosen: impl FnMut(&Credential) -> bool) -> usize {
        let before = self.credentials.len();
        self.credentials.retain(|credential| credential.is_config() || !chosen(credential));
        before - self.credentials.len()
    }

    /// The value of a configuration entry, of the cache or about one principal.
    pub fn config(&self, key: &str, about: Option<&FullName>) -> Option<&[u8]> {
        let name = config_name(key, about);
        self.credentials.iter().rev().find(|entry| entry.is_config() && entry.server.principal == name).map(|entry| entry.ticket.as_slice())
    }

    /// Sets a configuration entry.
    pub fn set_config(&mut self, key: &str, about: Option<&FullName>, value: &[u8]) {
        let server = FullName::new(config_name(key, about), CONFIG_REALM);
        self.credentials.retain(|entry| entry.server != server);
        let mut entry = Credential::empty(self.client.clone(), server);
        entry.ticket = value.to_vec();
        // Before the tickets, where a reader that stops at the first one finds it.
        let place = self.credentials.iter().position(|entry| !entry.is_config()).unwrap_or(self.credentials.len());
        self.credentials.insert(place, entry);
    }
}

fn config_name(key: &str, about: Option<&FullName>) -> Principal {
    let mut components: Components = smallvec![CONFIG_NAME.to_owned(), key.to_owned()];
    components.extend(about.map(ToString::to_string));
    Principal { name_type: 0, components }
}

impl Credential {
    /// A credential of nothing, to be filled in.
    pub fn empty(client: FullName, server: FullName) -> Self {
        Self {
            client,
            server,
            key: SessionKey { etype: 0, octets: Zeroizing::new(Vec::new()) },
            times: Times::default(),
            is_session_key_of_second: false,
            flags: 0,
            addresses: Vec::new(),
            authorization: Vec::new(),
            ticket: Vec::new(),
            second_ticket: Vec::new(),
        }
    }

    /// Whether this is not a ticket but configuration.
    pub fn is_config(&self) -> bool {
        self.server.realm == CONFIG_REALM && self.server.principal.components.first().is_some_and(|first| first == CONFIG_NAME)
    }

    /// Whether another program has struck this out.
    fn is_removed(&self) -> bool {
        self.server.realm == REMOVED_REALM || (self.times.ends == 0 && self.times.authenticated == u32::MAX)
    }

    /// Whether flag `number` of RFC 4120 §5.3 is set.
    pub fn has_flag(&self, number: u32) -> bool {
        number < 32 && self.flags & (0x8000_0000 >> number) != 0
    }
}

#[cfg(test)]
#[path = "ccache/tests.rs"]
mod tests;
