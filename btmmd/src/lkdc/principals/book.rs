//! What is kept of the realm: keys of the ticket granting service, of services and of users. Pure; [`super::register`] keeps it on disk.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::entry::{Entry, Kind, VersionedKeys};
use super::strength::Strength;
use super::totp::TotpSecret;
use crate::entropy::Entropy;
use crate::lkdc::crypto::{CryptoError, Etype, Key};
use crate::lkdc::full_name::FullName;
use crate::lkdc::keytab::KeytabEntry;
use crate::lkdc::name::{Principal, RealmName};

/// The services that every machine has keys for.
pub const SERVICES: [&str; 6] = ["host", "cifs", "nfs", "vnc", "afpserver", "HTTP"];

/// How old the ticket granting service's keys grow before there are new ones.
pub const ROTATION: Duration = Duration::from_secs(30 * 86_400);

/// The names under which clients know this machine and its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The realm.
    pub realm: RealmName,
    /// The machine's name: one label.
    pub machine: String,
    /// Its zone.
    pub zone: String,
    /// The account's user.
    pub account: String,
    /// Principals of users and the local users that they are here, where these differ.
    pub users: BTreeMap<String, String>,
}

impl Names {
    /// What stands behind `host/`: the name in the zone, the bare one, the one on the local network, and the realm itself as Apple's
    /// clients ask for it.
    pub fn hosts(&self) -> [String; 4] {
        let machine = &self.machine;
        [format!("{machine}.{}", self.zone), machine.clone(), format!("{machine}.local"), self.realm.to_string()]
    }

    /// The local user that a principal is here. Nobody becomes root by having its name: that must be configured.
    pub fn local(&self, user: &str) -> Option<String> {
        self.users.get(user).cloned().or_else(|| (user != "root").then(|| user.to_owned()))
    }
}

/// What is kept of one realm.
#[derive(Clone, Debug)]
pub struct Book {
    /// The realm that the keys were made for.
    pub(super) realm: RealmName,
    /// Keys of the ticket granting service, the newest first.
    pub(super) krbtgt: Vec<VersionedKeys>,
    /// The services.
    pub(super) services: BTreeMap<String, Service>,
    /// The users with a password or a second factor.
    pub(super) users: BTreeMap<String, User>,
}

/// A service: one set of keys under all names of the machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub keys: Vec<VersionedKeys>,
    pub strength: Vec<Strength>,
}

/// A user.
#[derive(Clone, Debug, Default)]
pub(super) struct User {
    pub keys: Vec<VersionedKeys>,
    pub totp: Option<TotpSecret>,
}

impl Book {
    /// A new realm, with keys for all [`SERVICES`].
    pub fn new(realm: RealmName, now: SystemTime, entropy: &mut dyn Entropy) -> Self {
        let mut book = Self { realm, krbtgt: vec![random(1, now, entropy)], services: BTreeMap::new(), users: BTreeMap::new() };
        book.complete(now, entropy);
        book
    }

    /// Makes keys for services that a newer version of this program has; tells whether there were any.
    pub fn complete(&mut self, now: SystemTime, entropy: &mut dyn Entropy) -> bool {
        let mut changed = false;
        for service in SERVICES {
            let service = self.services.entry(service.to_owned()).or_default();
            if service.keys.is_empty() {
                service.keys.push(random(1, now, entropy));
                changed = true;
            }
        }
        changed
    }

    /// Gives the realm another name, because the machine has another key. Every random key is made anew: no ticket of the old realm is
    /// good in the new one. Passwords stay, with the salt of old.
    pub fn rename(&mut self, realm: RealmName, now: SystemTime, entropy: &mut dyn Entropy) {
        self.realm = realm;
        for keys in std::iter::once(&mut self.krbtgt).chain(self.services.values_mut().map(|service| &mut service.keys)) {
            *keys = vec![random(next(keys), now, entropy)];
        }
    }

    /// Makes new keys for the ticket granting service when they are old, and forgets keys whose time has come; tells whether anything
    /// changed. `longest` is how long a ticket can live, renewals included.
    pub fn age(&mut self, longest: Duration, now: SystemTime, entropy: &mut dyn Entropy) -> bool {
        let made = self.krbtgt.first().map_or(SystemTime::UNIX_EPOCH, |version| version.since);
        let due = now.duration_since(made).is_ok_and(|age| age >= ROTATION);
        if due {
            rotate(&mut self.krbtgt, longest, now, entropy);
        }
        let mut forgotten = false;
        for keys in std::iter::once(&mut self.krbtgt).chain(self.services.values_mut().map(|service| &mut service.keys)) {
            let before = keys.len();
            keys.retain(|version| version.until.is_none_or(|until| now < until));
            forgotten |= keys.len() != before;
        }
        due || forgotten
    }

    /// Makes new keys for a service; the old ones stay good for `longest`. `false` when there is no such service.
    #[must_use]
    pub fn rotate(&mut self, service: &str, longest: Duration, now: SystemTime, entropy: &mut dyn Entropy) -> bool {
        let Some(service) = self.services.get_mut(service) else { return false };
        rotate(&mut service.keys, longest, now, entropy);
        true
    }

    /// Sets what a service asks of its clients, any one of these; nothing for any proof. `false` when there is no such service.
    #[must_use]
    pub fn require(&mut self, service: &str, strength: &[Strength]) -> bool {
        let Some(service) = self.services.get_mut(service) else { return false };
        service.strength = strength.to_vec();
        true
    }

    /// Keeps the keys of a user's new password, never the password. Older ones are forgotten: tickets do not need them.
    pub fn set_password(&mut self, user: &str, password: &[u8], now: SystemTime) -> Result<(), CryptoError> {
        // The default salt of RFC 4120 §4: realm and components without anything between.
        let salt = format!("{}{user}", self.realm);
        let keys = Etype::ALL.into_iter().map(|etype| Key::from_password(etype, password, salt.as_bytes(), None));
        let keys = keys.collect::<Result<_, _>>()?;
        let kept = self.users.entry(user.to_owned()).or_default();
        kept.keys = vec![VersionedKeys { kvno: next(&kept.keys), keys, salt: Some(salt), since: now, until: None }];
        Ok(())
    }

    /// Whether `password` is the user's. `false` when there is none.
    pub fn is_password(&self, user: &str, password: &[u8]) -> bool {
        let kept = self.users.get(user).and_then(|user| user.keys.first());
        let Some((kept, salt)) = kept.and_then(|version| Some((version.keys.first()?, version.salt.as_ref()?))) else { return false };
        let tried = Key::from_password(kept.etype(), password, salt.as_bytes(), None);
        tried.is_ok_and(|tried| subtle::ConstantTimeEq::ct_eq(tried.bytes(), kept.bytes()).into())
    }

    /// Whether the user has a password.
    pub fn has_password(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| !user.keys.is_empty())
    }

    /// Sets or removes a user's second factor.
    pub fn set_totp(&mut self, user: &str, secret: Option<TotpSecret>) {
        self.users.entry(user.to_owned()).or_default().totp = secret;
        self.users.retain(|_, user| !user.keys.is_empty() || user.totp.is_some());
    }

    /// Forgets a user's password and second factor; tells whether there were any.
    pub fn forget(&mut self, user: &str) -> bool {
        self.users.remove(user).is_some()
    }

    /// Whom the KDC knows: everything kept, under all names, and the account's machines as clients.
    pub fn entries(&self, names: &Names, machines: &[String]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for machine in machines {
            entries.push(Entry::new(Principal::service("host", machine), Kind::Machine));
        }
        for user in self.users.keys().chain(names.users.keys()).chain([&names.account]) {
            let mut entry = Entry::new(Principal::user(user), Kind::User { local: names.local(user) });
            if let Some(kept) = self.users.get(user) {
                entry.keys = kept.keys.as_slice().into();
                entry.totp.clone_from(&kept.totp);
            }
            entries.push(entry);
        }
        for (service, kept) in &self.services {
            for host in names.hosts() {
                let mut entry = Entry::new(Principal::service(service, &host), Kind::Service);
                entry.keys = kept.keys.as_slice().into();
                entry.strength.clone_from(&kept.strength);
                entries.push(entry);
            }
        }
        let mut krbtgt = Entry::new(Principal::krbtgt(self.realm.as_str()), Kind::Krbtgt);
        krbtgt.keys = self.krbtgt.as_slice().into();
        entries.push(krbtgt);
        entries
    }

    /// The keys of `services`, or of all when none is named, under all names of the machine. An error names the service there is not.
    pub fn keytab(&self, names: &Names, services: &[String]) -> Result<Vec<KeytabEntry>, String> {
        if let Some(unknown) = services.iter().find(|service| !self.services.contains_key(service.as_str())) {
            return Err(unknown.clone());
        }
        let mut entries = Vec::new();
        for (service, kept) in self.services.iter().filter(|(name, _)| services.is_empty() || services.contains(*name)) {
            for host in names.hosts() {
                let name = FullName::new(Principal::service(service, &host), self.realm.as_str());
                for version in &kept.keys {
                    entries.extend(version.keys.iter().map(|key| keytab_entry(&name, version, key)));
                }
            }
        }
        Ok(entries)
    }
}

fn keytab_entry(name: &FullName, version: &VersionedKeys, key: &Key) -> KeytabEntry {
    let since = version.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    KeytabEntry {
        name: name.clone(),
        timestamp: u32::try_from(since).unwrap_or(u32::MAX),
        kvno: version.kvno,
        etype: key.etype().number(),
        key: key.bytes().to_vec().into(),
    }
}

fn random(kvno: u32, now: SystemTime, entropy: &mut dyn Entropy) -> VersionedKeys {
    let keys = Etype::ALL.into_iter().map(|etype| Key::random(etype, entropy)).collect();
    VersionedKeys { kvno, keys, salt: None, since: now, until: None }
}

fn next(keys: &[VersionedKeys]) -> u32 {
    keys.first().map_or(1, |version| version.kvno.saturating_add(1))
}

fn rotate(keys: &mut Vec<VersionedKeys>, longest: Duration, now: SystemTime, entropy: &mut dyn Entropy) {
    for old in keys.iter_mut().filter(|old| old.until.is_none()) {
        old.until = Some(now + longest);
    }
    keys.insert(0, random(next(keys), now, entropy));
}
