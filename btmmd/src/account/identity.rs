//! Everything a joined machine knows of itself and of its account.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::certificate::{self, AccountTrust, CertificateError, Purpose};
use super::key::MachineKey;
use super::layout::{self, FORMAT, StateError};
use super::linux::{self, KeyFile, Secrecy};
use super::name::{AccountName, MachineName, ZoneName};
use super::octets;
use super::prefix::UlaPrefix;
use super::tsig::TsigKey;

/// Where the account's home base is reached: DNS over TLS and HTTPS on TCP, told apart by ALPN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseContact {
    /// The base is itself a machine of the account, with this name.
    pub name: MachineName,
    /// Its outer addresses, best first. On the base itself this is empty.
    pub addresses: Vec<SocketAddr>,
}

/// What a machine is, and whom it believes. Made by `account::create` or `account::join`.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) account: AccountName,
    pub(super) name: MachineName,
    pub(super) trust: AccountTrust,
    pub(super) key: Arc<MachineKey>,
    pub(super) certificate: Vec<u8>,
    pub(super) base: BaseContact,
    pub(super) tsig: TsigKey,
}

impl Identity {
    /// The account's name.
    pub fn account(&self) -> &AccountName {
        &self.account
    }

    /// The account's DNS zone.
    pub fn zone(&self) -> &ZoneName {
        &self.trust.zone
    }

    /// The account's /48.
    pub fn prefix(&self) -> UlaPrefix {
        self.trust.prefix
    }

    /// This machine's name.
    pub fn name(&self) -> &MachineName {
        &self.name
    }

    /// This machine's name in the zone, no trailing dot.
    pub fn fqdn(&self) -> String {
        self.name.in_zone(&self.trust.zone)
    }

    /// This machine's inner address.
    pub fn inner(&self) -> Ipv6Addr {
        self.trust.prefix.inner_address(self.key.spki())
    }

    /// This machine's private key.
    pub fn key(&self) -> &Arc<MachineKey> {
        &self.key
    }

    /// This machine's sharing certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Whom this machine believes: CA certificate, zone and prefix of the account.
    pub fn trust(&self) -> &AccountTrust {
        &self.trust
    }

    /// Where the home base is.
    pub fn base(&self) -> &BaseContact {
        &self.base
    }

    /// Whether this machine is itself the home base.
    pub fn is_base(&self) -> bool {
        self.base.name == self.name
    }

    /// The key that signs this machine's DNS messages.
    pub fn tsig(&self) -> &TsigKey {
        &self.tsig
    }

    /// When the certificate begins to be valid.
    pub fn starts_at(&self) -> SystemTime {
        certificate::validity(&self.certificate).map_or(SystemTime::UNIX_EPOCH, |(start, _)| start)
    }

    /// When the certificate ends to be valid.
    pub fn expires_at(&self) -> SystemTime {
        certificate::validity(&self.certificate).map_or(SystemTime::UNIX_EPOCH, |(_, end)| end)
    }

    /// When the certificate should be renewed: at two thirds of its life.
    pub fn renew_at(&self) -> SystemTime {
        certificate::renew_at(&self.certificate).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether to ask for another certificate: in the last third of this one's life, and before it begins, for then it was issued by a clock
    /// that was wrong.
    pub fn is_to_be_renewed(&self, now: SystemTime) -> bool {
        now < self.starts_at() || now >= self.renew_at()
    }

    /// The same machine with the certificate that the base issued in place of the old one. One that is not valid yet by our clock is right
    /// by the base's, which others go by; only in place of one that was not valid yet either it must begin earlier: else it is our clock
    /// that is wrong, and no certificate mends it.
    pub(super) fn renewed(&self, certificate: Vec<u8>, now: SystemTime) -> Result<Self, CertificateError> {
        let renewed = Self { certificate, ..self.clone() };
        let (known, start) = (self.starts_at(), renewed.starts_at());
        renewed.check(now.max(start))?;
        if now < known && known <= start {
            return Err(CertificateError::NotYetValid { subject: self.fqdn() });
        }
        Ok(renewed)
    }

    /// Reads what this machine knows. Expiry of the certificate is not looked at: an expired machine must be able to say so.
    pub fn load(state_dir: &Path) -> Result<Self, StateError> {
        let path = state_dir.join(layout::IDENTITY);
        let json = linux::read(&path, Secrecy::Secret)?.ok_or_else(|| StateError::NoAccount(path.clone()))?;
        let stored: Stored = layout::parse(&path, &json)?;
        let key_path = state_dir.join(layout::MACHINE_KEY);
        let damaged = |error: CertificateError| StateError::damaged(&path, &error.to_string());
        let (start, _) = certificate::validity(&stored.certificate).map_err(damaged)?;
        let trust = AccountTrust { ca: stored.authority, zone: stored.zone, prefix: stored.prefix };
        let key = match linux::key_file(&key_path)?.ok_or_else(|| StateError::damaged(&key_path, "it is missing"))? {
            KeyFile::Key(key) => key,
            // The certificate tells the public key: the token may be in a pocket.
            KeyFile::Token(uri) => {
                let own = certificate::verify(&stored.certificate, &trust, Purpose::Ike, start).map_err(damaged)?;
                MachineKey::on_known_token(uri, &own.spki)?
            }
        };
        let identity = Self {
            account: stored.account,
            name: stored.name,
            trust,
            key: Arc::new(key),
            certificate: stored.certificate,
            base: stored.base,
            tsig: stored.tsig,
        };
        identity.check(start).map_err(damaged)?;
        Ok(identity)
    }

    /// Reads what this machine knows, if it is in an account.
    pub fn load_if_joined(state_dir: &Path) -> Result<Option<Self>, StateError> {
        match Self::load(state_dir) {
            Ok(identity) => Ok(Some(identity)),
            Err(StateError::NoAccount(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The refusal to give this machine another identity.
    pub(super) fn exists(&self, state_dir: &Path) -> StateError {
        StateError::Exists { path: state_dir.join(layout::IDENTITY), account: self.account.to_string(), machine: self.name.to_string() }
    }

    /// Writes what this machine knows, the key excepted: that lies in its file since before the machine joined.
    pub fn save(&self, state_dir: &Path) -> Result<(), StateError> {
        let stored = Stored {
            format: FORMAT,
            account: self.account.clone(),
            zone: self.trust.zone.clone(),
            prefix: self.trust.prefix,
            name: self.name.clone(),
            base: self.base.clone(),
            certificate: self.certificate.clone(),
            authority: self.trust.ca.clone(),
            tsig: self.tsig.clone(),
        };
        let json = Zeroizing::new(serde_json::to_vec_pretty(&stored).expect("an identity always makes JSON"));
        linux::write(&state_dir.join(layout::IDENTITY), &json, Secrecy::Secret)
    }

    /// Whether certificate, key and name belong together, and the certificate is valid at `now`.
    pub(super) fn check(&self, now: SystemTime) -> Result<(), CertificateError> {
        let own = certificate::verify(&self.certificate, &self.trust, Purpose::Ike, now)?;
        if own.spki != self.key.spki() || own.name != self.name || self.tsig.name() != own.fqdn {
            return Err(CertificateError::NotOurs { subject: own.fqdn, name: self.fqdn() });
        }
        Ok(())
    }
}

/// The form of `identity.json`.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    account: AccountName,
    zone: ZoneName,
    prefix: UlaPrefix,
    name: MachineName,
    base: BaseContact,
    #[serde(with = "octets")]
    certificate: Vec<u8>,
    #[serde(with = "octets")]
    authority: Vec<u8>,
    tsig: TsigKey,
}
