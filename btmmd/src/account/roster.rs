//! The roster: which machines the account has, signed by its CA.
//!
//! A roster travels and is stored as [`SignedRoster`]; [`SignedRoster::verify`] is the only way from there to a [`Roster`]. Its serial
//! number only grows, so that nobody can bring back a machine by replaying an old one. Approvals and revocations will be further fields
//! under a higher [`FORMAT`]: a machine refuses a roster whose format it does not know rather than overlook who was removed.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::certificate::{AccountTrust, CertificateError, PeerIdentity};
use super::key::KeyError;
use super::name::{MachineName, ZoneName};
use super::octets;
use super::prefix::UlaPrefix;

/// The newest form of roster that this program understands.
pub const FORMAT: u32 = 1;
/// The most machines an account can have.
pub const MAX_MACHINES: usize = 256;
/// The largest signed roster, as JSON, in octets.
pub const MAX_ROSTER: usize = 256 * 1024;

const CONTEXT: &str = "btmm roster 1";

/// Why a roster was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum RosterError {
    /// Longer than [`MAX_ROSTER`].
    #[error("a roster of {0} octets is too long: at most {MAX_ROSTER} are accepted")]
    TooLong(usize),
    /// Not signed by the account's CA.
    #[error("the roster is not signed by this account")]
    Signature,
    /// From a newer btmm.
    #[error("the roster has format {0}, but this btmm knows only formats up to {FORMAT}: upgrade btmm")]
    Format(u32),
    /// Signed, but it contradicts itself or the account.
    #[error("the roster is damaged: {0}")]
    Malformed(String),
    /// Older than the one already known.
    #[error("the roster offered has serial {offered}, older than the known {known}")]
    Older {
        /// Serial of the roster offered.
        offered: u64,
        /// Serial of the roster already known.
        known: u64,
    },
    /// Two different rosters with one serial: the base was restored from a backup, or lies.
    #[error("the roster offered differs from the known one with the same serial {0}: was the base restored from a backup?")]
    Equivocal(u64),
}

/// The SHA-256 of a machine's DER SubjectPublicKeyInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of this key.
    pub fn of(spki: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.iter_mut().zip(digest(&SHA256, spki).as_ref()).for_each(|(to, from)| *to = *from);
        Self(hash)
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(octets: [u8; 32]) -> Self {
        Self(octets)
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let octets = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| "a key hash is lower-case hex")?;
        octets.as_slice().try_into().map(Self).map_err(|_| "a key hash has 64 digits")
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        data_encoding::HEXLOWER.encode(&hash.0)
    }
}

/// A machine of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name in the zone.
    pub name: MachineName,
    /// Its inner address.
    pub inner: Ipv6Addr,
    /// Its key.
    pub key: KeyHash,
    /// When it joined, in seconds since 1970.
    pub joined_at: u64,
    /// Whether it is the home base.
    #[serde(default)]
    pub base: bool,
}

/// The machines of an account, at one moment of its history. In the order in which they joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    format: u32,
    zone: ZoneName,
    prefix: UlaPrefix,
    serial: u64,
    #[serde(default)]
    changed_at: u64,
    machines: Vec<Machine>,
}

impl Roster {
    /// The roster of these machines, as it is since `changed_at`, in seconds since 1970.
    pub fn new(trust: &AccountTrust, serial: u64, changed_at: u64, machines: Vec<Machine>) -> Self {
        Self { format: FORMAT, zone: trust.zone.clone(), prefix: trust.prefix, serial, changed_at, machines }
    }

    /// The position in the account's history; it only grows.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The machines, in the order in which they joined.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The machine with this name.
    pub fn machine(&self, name: &MachineName) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == *name)
    }

    /// When a machine last came or went, by the base's clock, in seconds since 1970. A machine that is not listed and whose certificate is
    /// no newer than this has been removed; one with a newer certificate has joined since, which a newer roster will tell.
    pub fn changed_at(&self) -> u64 {
        self.changed_at
    }

    /// Whether the machine `name` is in the account with this key (DER SubjectPublicKeyInfo).
    pub fn holds(&self, name: &MachineName, spki: &[u8]) -> bool {
        self.machine(name).is_some_and(|machine| machine.key == KeyHash::of(spki))
    }

    /// Whether `peer`, which its certificate has proven, is a machine of the account now.
    pub(crate) fn check_member(&self, peer: &PeerIdentity) -> Result<(), CertificateError> {
        if self.holds(&peer.name, &peer.spki) {
            return Ok(());
        }
        let subject = peer.fqdn.clone();
        if self.machine(&peer.name).is_some() {
            return Err(CertificateError::Replaced { subject });
        }
        if self.precedes(peer.issued_at) { Ok(()) } else { Err(CertificateError::Removed { subject }) }
    }

    /// Whether a machine with this key, certified at `issued_at`, is in the account as far as this roster can tell.
    pub(crate) fn may_hold(&self, key: &KeyHash, issued_at: SystemTime) -> bool {
        self.machines.iter().any(|machine| machine.key == *key) || self.precedes(issued_at)
    }

    /// A machine that this roster lacks may have joined since.
    fn precedes(&self, issued_at: SystemTime) -> bool {
        issued_at > SystemTime::UNIX_EPOCH + Duration::from_secs(self.changed_at)
    }

    /// Signs the roster.
    pub(super) fn sign(&self, authority: &Authority) -> Result<SignedRoster, KeyError> {
        let roster = serde_json::to_vec(self).map_err(|_| KeyError::Library("write the roster"))?;
        let signature = authority.sign(CONTEXT, &roster)?;
        Ok(SignedRoster { roster, signature })
    }

    /// Takes this roster in place of `known`, unless that would be a step back.
    pub fn succeed(self, known: Option<&Self>) -> Result<Self, RosterError> {
        match known {
            Some(known) if self.serial < known.serial => Err(RosterError::Older { offered: self.serial, known: known.serial }),
            Some(known) if self.serial == known.serial && self != *known => Err(RosterError::Equivocal(self.serial)),
            _ => Ok(self),
        }
    }

    fn check(&self, trust: &AccountTrust) -> Result<(), RosterError> {
        let refuse = |why: String| Err(RosterError::Malformed(why));
        if self.zone != trust.zone || self.prefix != trust.prefix {
            return refuse(format!("it is for the zone {} and the prefix {}", self.zone, self.prefix));
        }
        if self.machines.len() > MAX_MACHINES {
            return refuse(format!("it lists more than {MAX_MACHINES} machines"));
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for Machine { name, inner, .. } in &self.machines {
            if !trust.prefix.contains(*inner) {
                return refuse(format!("the address {inner} of {name} lies outside {}", trust.prefix));
            }
            if !names.insert(name) || !addresses.insert(inner) {
                return refuse(format!("{name} or its address {inner} is listed twice"));
            }
        }
        Ok(())
    }
}

/// A roster and the CA's signature over exactly these octets. Believe nothing in it before [`SignedRoster::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRoster {
    #[serde(with = "octets")]
    roster: Vec<u8>,
    #[serde(with = "octets")]
    signature: Vec<u8>,
}

impl SignedRoster {
    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, RosterError> {
        if json.len() > MAX_ROSTER {
            return Err(RosterError::TooLong(json.len()));
        }
        serde_json::from_slice(json).map_err(|error| RosterError::Malformed(error.to_string()))
    }

    /// The JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two strings always make JSON")
    }

    /// The roster inside, once the account's CA is seen to have signed it.
    pub fn verify(&self, trust: &AccountTrust) -> Result<Roster, RosterError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        if !trust.signed(CONTEXT, &self.roster, &self.signature) {
            return Err(RosterError::Signature);
        }
        let malformed = |error: serde_json::Error| RosterError::Malformed(error.to_string());
        let form: Form = serde_json::from_slice(&self.roster).map_err(malformed)?;
        if form.format > FORMAT {
            return Err(RosterError::Format(form.format));
        }
        let roster: Roster = serde_json::from_slice(&self.roster).map_err(malformed)?;
        roster.check(trust)?;
        Ok(roster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Authority {
        let prefix = UlaPrefix::with_global_id([1, 2, 3, 4, 5]);
        Authority::create("alice".parse().unwrap(), "alice.btmm.internal".parse().unwrap(), prefix, SystemTime::now()).unwrap()
    }

    fn machine(name: &str, account: &Authority) -> Machine {
        let inner = account.trust().prefix.inner_address(name.as_bytes());
        Machine { name: name.parse().unwrap(), inner, key: KeyHash::of(name.as_bytes()), joined_at: 1, base: name == "base" }
    }

    fn roster(account: &Authority, serial: u64, names: &[&str]) -> Roster {
        Roster::new(account.trust(), serial, serial, names.iter().map(|name| machine(name, account)).collect())
    }

    #[test]
    fn a_signed_roster_survives_json() {
        let account = account();
        let roster = roster(&account, 7, &["base", "imac"]);
        let json = roster.sign(&account).unwrap().to_json();
        let read = SignedRoster::from_json(&json).unwrap().verify(account.trust()).unwrap();
        assert_eq!(read, roster);
        assert!(read.holds(&"imac".parse().unwrap(), b"imac"));
        assert!(!read.holds(&"imac".parse().unwrap(), b"base"));
    }

    #[test]
    fn a_tampered_or_foreign_roster_is_refused() {
        let (ours, theirs) = (account(), account());
        let mut signed = roster(&ours, 1, &["base"]).sign(&ours).unwrap();
        let text = String::from_utf8(signed.roster.clone()).unwrap();
        signed.roster = text.replace("base\"", "evil\"").into_bytes();
        assert_eq!(signed.verify(ours.trust()), Err(RosterError::Signature));
        let foreign = roster(&theirs, 1, &["base"]).sign(&theirs).unwrap();
        assert_eq!(foreign.verify(ours.trust()), Err(RosterError::Signature));
    }

    #[test]
    fn a_signature_for_another_use_is_no_roster() {
        let account = account();
        let mut signed = roster(&account, 1, &["base"]).sign(&account).unwrap();
        signed.signature = account.sign("something else", &signed.roster).unwrap();
        assert_eq!(signed.verify(account.trust()), Err(RosterError::Signature));
    }

    #[test]
    fn a_roster_from_the_future_is_refused_rather_than_half_read() {
        let account = account();
        let mut future = roster(&account, 1, &["base"]);
        future.format = 2;
        assert_eq!(future.sign(&account).unwrap().verify(account.trust()), Err(RosterError::Format(2)));
    }

    #[test]
    fn a_roster_that_contradicts_itself_is_refused() {
        let account = account();
        let twice = roster(&account, 1, &["base", "base"]).sign(&account).unwrap();
        assert!(matches!(twice.verify(account.trust()), Err(RosterError::Malformed(_))));
        let mut outside = roster(&account, 1, &["base"]);
        outside.machines[0].inner = "2001:db8::1".parse().unwrap();
        let refused = outside.sign(&account).unwrap().verify(account.trust()).unwrap_err();
        assert_eq!(refused.to_string(), "the roster is damaged: the address 2001:db8::1 of base lies outside fd01:203:405::/48");
    }

    #[test]
    fn serial_numbers_only_grow() {
        let account = account();
        let (first, second) = (roster(&account, 1, &["base"]), roster(&account, 2, &["base", "imac"]));
        assert_eq!(second.clone().succeed(Some(&first)).unwrap(), second);
        assert_eq!(first.clone().succeed(Some(&first)).unwrap(), first);
        assert_eq!(first.clone().succeed(Some(&second)), Err(RosterError::Older { offered: 1, known: 2 }));
        let other = roster(&account, 1, &["base", "evil"]);
        assert_eq!(other.succeed(Some(&first)), Err(RosterError::Equivocal(1)));
    }

    #[test]
    fn the_largest_account_fits_in_the_largest_roster() {
        let account = account();
        let names: Vec<String> = (0..MAX_MACHINES).map(|number| format!("{number:063}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let signed = roster(&account, 1, &names).sign(&account).unwrap();
        assert!(signed.to_json().len() < MAX_ROSTER, "{}", signed.to_json().len());
        signed.verify(account.trust()).unwrap();
        assert_eq!(SignedRoster::from_json(&vec![b' '; MAX_ROSTER + 1]), Err(RosterError::TooLong(MAX_ROSTER + 1)));
    }
}
