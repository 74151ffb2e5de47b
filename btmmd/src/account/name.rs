//! Names of machines and of the account's zone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused. Carries the name.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum NameError {
    /// Not a single lower-case LDH label.
    #[error("{0:?} is not an account name: use a-z, 0-9 and inner hyphens, at most 63 characters")]
    Account(String),
    /// Not a single lower-case LDH label (RFC 1035 §2.3.1, at most 63 octets).
    #[error("{0:?} is not a machine name: use a-z, 0-9 and inner hyphens, at most 63 characters")]
    Machine(String),
    /// Not a domain name of at least two labels and at most 190 octets.
    #[error("{0:?} is not a zone name: use at least two labels of a-z, 0-9 and inner hyphens")]
    Zone(String),
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The account's name, which is also its owner's Kerberos principal: one label, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

impl AccountName {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The zone an account gets that asked for none: `<account>.btmm.internal`.
    pub fn default_zone(&self) -> ZoneName {
        ZoneName(format!("{}.btmm.internal", self.0))
    }
}

impl FromStr for AccountName {
    type Err = NameError;

    /// Folds upper case.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let folded = text.to_ascii_lowercase();
        if is_label(&folded) { Ok(Self(folded)) } else { Err(NameError::Account(text.to_owned())) }
    }
}

impl TryFrom<String> for AccountName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine's name inside its account: one label, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

impl MachineName {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fully qualified name in `zone`, without a trailing dot.
    pub fn in_zone(&self, zone: &ZoneName) -> String {
        format!("{}.{}", self.0, zone.0)
    }
}

impl FromStr for MachineName {
    type Err = NameError;

    /// Accepts upper case, as host names do, and folds it.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let folded = text.to_ascii_lowercase();
        if is_label(&folded) { Ok(Self(folded)) } else { Err(NameError::Machine(text.to_owned())) }
    }
}

impl TryFrom<String> for MachineName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The account's DNS zone, lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

impl ZoneName {
    /// The zone as text, no trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The machine that `fqdn` names, when it is exactly one label below this zone. Case and a trailing dot do not matter.
    pub fn machine(&self, fqdn: &str) -> Option<MachineName> {
        let folded = fqdn.trim_end_matches('.').to_ascii_lowercase();
        folded.strip_suffix(&self.0)?.strip_suffix('.')?.parse().ok()
    }
}

impl FromStr for ZoneName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let folded = text.trim_end_matches('.').to_ascii_lowercase();
        let labels = folded.split('.').count();
        if (2..=16).contains(&labels) && folded.len() <= 190 && folded.split('.').all(is_label) {
            Ok(Self(folded))
        } else {
            Err(NameError::Zone(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ZoneName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> Self {
        name.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_names_are_one_folded_label() {
        assert_eq!("iMac-2".parse::<MachineName>().unwrap().as_str(), "imac-2");
        for bad in ["", "-a", "a-", "a.b", "a_b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_names_its_default_zone() {
        assert_eq!("Alice".parse::<AccountName>().unwrap().default_zone().as_str(), "alice.btmm.internal");
        assert!("al ice".parse::<AccountName>().is_err());
    }

    #[test]
    fn a_zone_finds_only_machines_directly_below_it() {
        let zone: ZoneName = "Alice.btmm.internal.".parse().unwrap();
        assert_eq!(zone.machine("IMAC.alice.btmm.internal.").unwrap().as_str(), "imac");
        assert!(zone.machine("alice.btmm.internal").is_none());
        assert!(zone.machine("a.b.alice.btmm.internal").is_none());
        assert!(zone.machine("imacalice.btmm.internal").is_none());
    }
}
