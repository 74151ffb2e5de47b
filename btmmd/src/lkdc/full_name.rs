//! A principal with its realm: what tickets, caches and keytabs name.

use std::fmt;
use std::str::FromStr;

use super::name::{NameError, Principal, full_name};

/// A principal and the realm that it is in, which may be anybody's. The order is by realm first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullName {
    /// The realm.
    pub realm: String,
    /// The name in it.
    pub principal: Principal,
}

impl FullName {
    /// `principal` in `realm`.
    pub fn new(principal: Principal, realm: impl Into<String>) -> Self {
        Self { realm: realm.into(), principal }
    }

    /// The ticket granting service of a realm, in that realm.
    pub fn krbtgt(realm: &str) -> Self {
        Self::new(Principal::krbtgt(realm), realm)
    }

    /// Whether this is a ticket granting service, its own realm's or another's.
    pub fn is_krbtgt(&self) -> bool {
        self.principal.tgs_realm().is_some()
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.principal)?;
        for letter in self.realm.chars() {
            match letter {
                '@' | '\\' => write!(f, "\\{letter}")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for FullName {
    type Err = NameError;

    /// Reads `name@REALM`; both must be there.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match full_name(text)? {
            (principal, Some(realm)) => Ok(Self { realm, principal }),
            (_, None) => Err(NameError::Principal(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_read_as_they_are_written() {
        for text in ["alice@LKDC:SHA256.AB", "host/imac.alice.btmm.internal@EXAMPLE.ORG", r"al\@ice@R\@S"] {
            assert_eq!(text.parse::<FullName>().unwrap().to_string(), text);
        }
        assert!("alice".parse::<FullName>().is_err());
    }

    #[test]
    fn the_ticket_granting_service_is_known_by_its_name() {
        assert!(FullName::krbtgt("A").is_krbtgt());
        assert!("krbtgt/B@A".parse::<FullName>().unwrap().is_krbtgt());
        assert!(!"host/krbtgt@A".parse::<FullName>().unwrap().is_krbtgt());
    }
}
