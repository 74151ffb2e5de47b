//! Everything a joined machine knows of itself and of its account.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::certificate::AccountTrust;
use super::key::MachineKey;
use super::name::{AccountName, MachineName, ZoneName};
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
}
