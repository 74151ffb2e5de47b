//! The identity in the service of IKE.

use std::net::Ipv6Addr;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::sync::watch;

use super::certificate::{self, CertificateError};
use super::identity::Identity;
use super::key::KeyAlgorithm;
use super::roster::Roster;
use crate::ike::{CredentialError, Credentials, PeerIdentity, SignatureAlgorithm};

/// What IKE shows of this machine, and whom it believes.
#[derive(Debug)]
pub struct IdentityCredentials {
    identity: Identity,
    fqdn: String,
    authority: Option<[u8; 20]>,
    roster: watch::Receiver<Option<Roster>>,
    now: fn() -> SystemTime,
}

impl IdentityCredentials {
    /// The credentials of `identity`. `roster` is the newest one known, `now` the wall clock. Without a roster only the home base is
    /// believed, which can give one.
    pub fn new(identity: Identity, roster: watch::Receiver<Option<Roster>>, now: fn() -> SystemTime) -> Self {
        let authority = identity.trust().authority_key().ok();
        let authority = authority.and_then(|key| digest(&SHA1_FOR_LEGACY_USE_ONLY, key.spki()).as_ref().try_into().ok());
        Self { fqdn: identity.fqdn(), identity, authority, roster, now }
    }

    fn verify(&self, certificate: &[u8]) -> Result<certificate::PeerIdentity, CertificateError> {
        let peer = certificate::verify_peer(certificate, self.identity.trust(), (self.now)())?;
        match self.roster.borrow().as_ref() {
            Some(roster) => roster.check_member(&peer)?,
            None if peer.name == self.identity.base().name => {}
            None => return Err(CertificateError::Unlisted { subject: peer.fqdn }),
        }
        Ok(peer)
    }
}

impl Credentials for IdentityCredentials {
    fn certificate(&self) -> &[u8] {
        self.identity.certificate()
    }

    fn authority(&self) -> Option<[u8; 20]> {
        self.authority
    }

    fn name(&self) -> &str {
        &self.fqdn
    }

    fn inner(&self) -> Ipv6Addr {
        self.identity.inner()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.identity.key().algorithm() {
            KeyAlgorithm::EcdsaP256 => SignatureAlgorithm::EcdsaP256Sha256,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::Ed25519,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        self.identity.key().sign_soon(message).map_err(|error| CredentialError(error.to_string()))
    }

    /// The account's CA issues directly, so that `intermediates` can add nothing.
    fn verify_peer(&self, certificate: &[u8], _intermediates: &[&[u8]]) -> Result<PeerIdentity, CredentialError> {
        let peer = self.verify(certificate).map_err(|error| CredentialError(error.to_string()))?;
        Ok(PeerIdentity { name: peer.fqdn, inner: peer.inner, spki: peer.spki })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::authority::Authority;
    use crate::account::key::MachineKey;
    use crate::account::prefix::UlaPrefix;
    use crate::account::public_key::PublicKey;
    use crate::account::roster::{KeyHash, Machine};
    use crate::account::{AccountOptions, create};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000)
    }

    fn identity() -> Identity {
        let directory = crate::account::driver::tests::directory();
        let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
        create(directory.path(), options, now()).unwrap().0
    }

    #[test]
    fn a_machine_believes_its_own_certificate_and_signs_as_it_says() {
        let identity = identity();
        let (_sender, roster) = watch::channel(None);
        let credentials = IdentityCredentials::new(identity.clone(), roster, now);
        let peer = credentials.verify_peer(credentials.certificate(), &[]).unwrap();
        assert_eq!((peer.name.as_str(), peer.inner), ("base.alice.btmm.internal", credentials.inner()));
        let signature = credentials.sign(b"message").unwrap().unwrap();
        assert!(PublicKey::from_spki(&peer.spki).unwrap().verify(b"message", &signature));
        assert!(credentials.authority().is_some());
    }

    #[test]
    fn a_replaced_machine_is_refused() {
        let identity = identity();
        let machine = |key| Machine { name: identity.name().clone(), inner: identity.inner(), key, joined_at: 0, base: true };
        let roster = |key| Some(Roster::new(identity.trust(), 1, 0, vec![machine(key)]));
        let (sender, receiver) = watch::channel(roster(KeyHash::of(identity.key().spki())));
        let credentials = IdentityCredentials::new(identity.clone(), receiver, now);
        credentials.verify_peer(identity.certificate(), &[]).unwrap();
        sender.send_replace(roster(KeyHash::of(b"another")));
        let refused = credentials.verify_peer(identity.certificate(), &[]).unwrap_err().to_string();
        assert!(refused.contains("base.alice.btmm.internal"), "{refused}");
    }

    #[test]
    fn a_machine_that_the_roster_lacks_was_removed_unless_its_certificate_is_newer() {
        let identity = identity();
        let issued = now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let without = |changed_at| Some(Roster::new(identity.trust(), 2, changed_at, Vec::new()));
        let (sender, receiver) = watch::channel(without(issued - 1));
        let credentials = IdentityCredentials::new(identity.clone(), receiver, now);
        credentials.verify_peer(identity.certificate(), &[]).unwrap();
        for removed_at in [issued, issued + 1, issued + 7 * 24 * 3600] {
            sender.send_replace(without(removed_at));
            let refused = credentials.verify_peer(identity.certificate(), &[]).unwrap_err().to_string();
            assert_eq!(refused, "base.alice.btmm.internal is not in the account any more");
        }
    }

    #[test]
    fn without_a_roster_only_the_home_base_is_believed() {
        let directory = crate::account::driver::tests::directory();
        let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
        let (base, book) = create(directory.path(), options, now()).unwrap();
        let key = PublicKey::from_spki(MachineKey::generate(KeyAlgorithm::Ed25519).unwrap().spki()).unwrap();
        let certificate = book.authority.issue(&key, &"imac".parse().unwrap(), now()).unwrap();
        let (sender, roster) = watch::channel(None);
        let credentials = IdentityCredentials::new(base.clone(), roster, now);
        credentials.verify_peer(base.certificate(), &[]).unwrap();
        let refused = credentials.verify_peer(&certificate, &[]).unwrap_err().to_string();
        assert!(refused.starts_with("imac.alice.btmm.internal is not believed"), "{refused}");
        let inner = base.trust().prefix.inner_address(key.spki());
        let imac = Machine { name: "imac".parse().unwrap(), inner, key: KeyHash::of(key.spki()), joined_at: 0, base: false };
        sender.send_replace(Some(Roster::new(base.trust(), 2, 0, vec![imac])));
        credentials.verify_peer(&certificate, &[]).unwrap();
    }

    #[test]
    fn another_accounts_machine_is_refused() {
        let (_sender, roster) = watch::channel(None);
        let credentials = IdentityCredentials::new(identity(), roster, now);
        let prefix = UlaPrefix::with_global_id([9; 5]);
        let other = Authority::create("alice".parse().unwrap(), credentials.identity.zone().clone(), prefix, now()).unwrap();
        let key = PublicKey::from_spki(MachineKey::generate(KeyAlgorithm::Ed25519).unwrap().spki()).unwrap();
        let certificate = other.issue(&key, &"imac".parse().unwrap(), now()).unwrap();
        assert!(credentials.verify_peer(&certificate, &[]).is_err());
    }
}
