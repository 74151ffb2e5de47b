//! What is known of one principal.

use std::time::SystemTime;

use smallvec::SmallVec;

use super::strength::Strength;
use super::totp::TotpSecret;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::Principal;

/// Keys of one version: there are four encryption types.
pub type Keys = SmallVec<[Key; 4]>;

/// Keys of several versions; mostly there is one.
pub type Versions = SmallVec<[VersionedKeys; 1]>;

/// What is known of one principal. It lies in one place as far as it can: of a hundred thousand each is out of every cache when it is asked
/// for, and each place it is in costs a trip to memory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Principal,
    /// What it is.
    pub kind: Kind,
    /// Its keys, the newest version first. Without any it proves itself by a certificate, or not at all.
    pub keys: Versions,
    /// A user's second factor: when there is one, the password alone is not enough.
    pub totp: Option<TotpSecret>,
    /// What a service asks of its clients: any one of these. Empty asks for nothing.
    pub strength: Vec<Strength>,
    /// Whether it may have tickets, and be had tickets for.
    pub enabled: bool,
}

/// What a principal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person.
    User {
        /// The local user that this person is here.
        local: Option<String>,
    },
    /// Something that accepts tickets.
    Service,
    /// The ticket granting service.
    Krbtgt,
    /// A machine of the account, which proves itself by its sharing certificate.
    Machine,
}

/// The keys of one version, at most one for each etype.
#[derive(Clone, Debug)]
pub struct VersionedKeys {
    /// The version, counted from 1.
    pub kvno: u32,
    /// The keys, the strongest first.
    pub keys: Keys,
    /// What the password was salted with; `None` for random keys.
    pub salt: Option<String>,
    /// When they were made.
    pub since: SystemTime,
    /// When they are forgotten; `None` for the newest version.
    pub until: Option<SystemTime>,
}

impl Entry {
    /// An enabled entry without keys, second factor or demands.
    pub fn new(name: Principal, kind: Kind) -> Self {
        Self { name, kind, keys: Versions::new(), totp: None, strength: Vec::new(), enabled: true }
    }

    /// The newest keys.
    pub fn current(&self) -> Option<&VersionedKeys> {
        self.keys.first()
    }

    /// The key of a version; `None` stands for the newest. A version whose time has come is not found.
    pub fn key(&self, kvno: Option<u32>, etype: Etype, now: SystemTime) -> Option<&Key> {
        let version = match kvno {
            None => self.current(),
            Some(kvno) => self.keys.iter().find(|version| version.kvno == kvno && version.until.is_none_or(|until| now < until)),
        };
        version?.key(etype)
    }

    /// The newest version's key of the first of `etypes` that there is one for, with its version.
    pub fn preferred(&self, etypes: &[Etype]) -> Option<(u32, &Key)> {
        let current = self.current()?;
        etypes.iter().find_map(|etype| current.key(*etype)).map(|key| (current.kvno, key))
    }

    /// Whether a ticket earned by these `proofs` is good enough for this service.
    pub fn accepts(&self, proofs: &[Strength]) -> bool {
        self.strength.is_empty() || self.strength.iter().any(|wanted| proofs.iter().any(|proof| proof.satisfies(*wanted)))
    }
}

impl VersionedKeys {
    /// The key of an etype.
    pub fn key(&self, etype: Etype) -> Option<&Key> {
        self.keys.iter().find(|key| key.etype() == etype)
    }
}
