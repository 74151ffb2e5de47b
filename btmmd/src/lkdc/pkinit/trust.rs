//! Whom the KDC believes: machines of its account that are still in the roster, for the names that are theirs.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};

use super::certificate::Parts;
use super::error::PkinitError;
use crate::account::certificate::{self, AccountTrust, CertificateError, PeerIdentity, Purpose};
use crate::account::roster::Roster;
use crate::lkdc::kdc::earned::Certified;
use crate::lkdc::name::Principal;

/// Certificates whose chain is remembered as checked: as many as an account can have machines.
const MAX_REMEMBERED: usize = crate::account::roster::MAX_MACHINES;

/// The account, as a KDC sees it. Roster and users may change while it runs.
#[derive(Debug)]
pub struct Believers {
    trust: AccountTrust,
    roster: RwLock<Option<Arc<Roster>>>,
    users: RwLock<BTreeSet<String>>,
    /// By SHA-256 of the certificate: a chain that was good stays good while the certificate is valid.
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    peer: Arc<PeerIdentity>,
    valid: (SystemTime, SystemTime),
}

impl Believers {
    /// Believes the machines of the account when they ask for one of `users`, or for `host/` and their own name. Without a roster, none
    /// of them: a machine that was removed keeps its certificate.
    pub fn new(trust: AccountTrust, roster: Option<Roster>, users: impl IntoIterator<Item = String>) -> Self {
        let users = RwLock::new(users.into_iter().collect());
        Self { trust, roster: RwLock::new(roster.map(Arc::new)), users, remembered: Mutex::default() }
    }

    /// Whom the account believes.
    pub fn trust(&self) -> &AccountTrust {
        &self.trust
    }

    /// Takes a newer roster.
    pub fn set_roster(&self, roster: Roster) {
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(roster));
    }

    /// Changes the users that a sharing certificate may speak for.
    pub fn set_users(&self, users: impl IntoIterator<Item = String>) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users.into_iter().collect();
    }

    /// The machine that `certificate` (DER) names, if it is one of the account now.
    pub(crate) fn believe(&self, certificate: &[u8], now: SystemTime) -> Result<Arc<PeerIdentity>, PkinitError> {
        let peer = self.check_chain(certificate, now)?;
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner).clone();
        match roster {
            Some(roster) => roster.check_member(&peer)?,
            None => return Err(CertificateError::Unlisted { subject: peer.fqdn.clone() }.into()),
        }
        Ok(peer)
    }

    /// Whether the machine whose certificate earned a ticket is still one of the account.
    pub(crate) fn still_believes(&self, machine: &Certified) -> bool {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        roster.as_ref().is_some_and(|roster| roster.may_hold(&machine.key, machine.issued_at()))
    }

    /// Whether a certificate could prove `client` at all.
    pub(crate) fn knows(&self, client: &Principal) -> bool {
        match client.components.as_slice() {
            [user] => self.users.read().unwrap_or_else(PoisonError::into_inner).contains(user),
            [service, _] => service == "host",
            _ => false,
        }
    }

    /// Whether `peer` may be `client`: one of the users, or the host that it is.
    pub(crate) fn may_be(&self, peer: &PeerIdentity, client: &Principal) -> bool {
        match client.components.as_slice() {
            [user] => self.users.read().unwrap_or_else(PoisonError::into_inner).contains(user),
            [service, host] => service == "host" && (host == peer.name.as_str() || *host == peer.fqdn),
            _ => false,
        }
    }

    fn check_chain(&self, certificate: &[u8], now: SystemTime) -> Result<Arc<PeerIdentity>, PkinitError> {
        let mut hash = [0; 32];
        hash.iter_mut().zip(digest(&SHA256, certificate).as_ref()).for_each(|(to, from)| *to = *from);
        let known = self.remembered().get(&hash).cloned();
        if let Some(known) = known
            && (known.valid.0..=known.valid.1).contains(&now)
        {
            return Ok(known.peer);
        }
        if Parts::of(certificate)?.has_weak_digest() {
            return Err(PkinitError::CertificateDigest);
        }
        let peer = Arc::new(certificate::verify(certificate, &self.trust, Purpose::PkinitClient, now)?);
        let valid = certificate::validity(certificate)?;
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(hash, Remembered { peer: Arc::clone(&peer), valid });
        Ok(peer)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::key::KeyAlgorithm;
    use crate::account::roster::KeyHash;
    use crate::lkdc::pkinit::rig::{account, now, roster, signatory};

    #[test]
    fn without_a_roster_no_certificate_and_no_ticket_that_one_earned_is_believed() {
        let account = account();
        let laptop = signatory(&account, "laptop", KeyAlgorithm::EcdsaP256, now());
        let believers = Believers::new(account.trust().clone(), None, ["alice".to_owned()]);
        let refused = believers.believe(laptop.certificate(), now()).unwrap_err();
        let subject = "laptop.alice.btmm.internal".to_owned();
        assert_eq!(refused, PkinitError::Certificate(CertificateError::Unlisted { subject }));
        let earned = Certified::new(KeyHash::of(laptop.spki()), now());
        assert!(!believers.still_believes(&earned));
        believers.set_roster(roster(&account, &[("laptop", &laptop)]));
        believers.believe(laptop.certificate(), now()).unwrap();
        assert!(believers.still_believes(&earned));
    }
}
