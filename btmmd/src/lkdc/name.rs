//! Names: realms that authenticate their key, and principals.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::HEXUPPER;
use rasn_kerberos::PrincipalName;
use smallvec::{SmallVec, smallvec};
use subtle::ConstantTimeEq;

use super::asn1;
use crate::account::roster::KeyHash;

/// `NT-PRINCIPAL` (RFC 4120 §6.2): a user.
pub const NT_PRINCIPAL: i32 = 1;
/// `NT-SRV-INST`: a service and its instance, as `krbtgt`.
pub const NT_SRV_INST: i32 = 2;
/// `NT-SRV-HST`: a service and its host.
pub const NT_SRV_HST: i32 = 3;
/// `NT-ENTERPRISE`: a name such as an e-mail address, in one component.
pub const NT_ENTERPRISE: i32 = 10;
/// `NT-WELLKNOWN` (RFC 6111).
pub const NT_WELLKNOWN: i32 = 11;

/// The realm under which a client asks a machine for its realm.
pub const APPLE_LKDC: &str = "WELLKNOWN:COM.APPLE.LKDC";
/// The realm of clients that say nothing of themselves (RFC 8062).
pub const ANONYMOUS_REALM: &str = "WELLKNOWN:ANONYMOUS";

/// The most components of a name in a message.
const MAX_COMPONENTS: usize = 8;
/// The most octets of all its components.
const MAX_LENGTH: usize = 1024;

const PREFIX: &str = "LKDC:SHA256.";

/// Why a name was refused. Carries the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `LKDC:SHA256.` and 64 upper-case hexadecimal digits.
    #[error("{0:?} is not the realm of a machine: use {PREFIX} and 64 hexadecimal digits")]
    Realm(String),
    /// Empty, or an escape that means nothing.
    #[error("{0:?} is not a principal")]
    Principal(String),
}

/// The realm of one machine: `LKDC:SHA256.` and the SHA-256 of its public key. The name authenticates the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RealmName(String);

impl RealmName {
    /// The realm that a DER SubjectPublicKeyInfo names.
    pub fn of_key(spki: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, spki);
        Self(format!("{PREFIX}{}", HEXUPPER.encode(hash.as_ref())))
    }

    /// The realm that the key with this hash names.
    pub fn of_hash(hash: KeyHash) -> Self {
        Self(format!("{PREFIX}{}", String::from(hash).to_ascii_uppercase()))
    }

    /// Whether this is the realm that `spki` names. A KDC with any other key is an impostor.
    pub fn matches_key(&self, spki: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(Self::of_key(spki).0.as_bytes()).into()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with the hash cut to its first eight digits, for people.
    pub fn friendly(&self) -> String {
        let digits: String = self.0.chars().skip(PREFIX.len()).take(8).collect();
        format!("LKDC:{digits}…")
    }
}

impl FromStr for RealmName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64);
        match digits {
            Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')) => Ok(Self(text.to_owned())),
            _ => Err(NameError::Realm(text.to_owned())),
        }
    }
}

impl fmt::Display for RealmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Components of a name. Users have one, services two, and these lie in the name itself.
pub type Components = SmallVec<[String; 2]>;

/// A principal without its realm. Two are the same when their components are: the type is a hint (RFC 4120 §6.2).
#[derive(Clone, Debug)]
pub struct Principal {
    /// One of the `NT_` numbers.
    pub name_type: i32,
    /// `host`, `imac.alice.btmm.internal`.
    pub components: Components,
}

impl Principal {
    /// A user.
    pub fn user(name: &str) -> Self {
        Self { name_type: NT_PRINCIPAL, components: smallvec![name.to_owned()] }
    }

    /// A service on a host.
    pub fn service(service: &str, host: &str) -> Self {
        Self { name_type: NT_SRV_HST, components: smallvec![service.to_owned(), host.to_owned()] }
    }

    /// The ticket-granting service of `realm`.
    pub fn krbtgt(realm: &str) -> Self {
        Self { name_type: NT_SRV_INST, components: smallvec!["krbtgt".to_owned(), realm.to_owned()] }
    }

    /// The client that says nothing of itself (RFC 8062 §3).
    pub fn anonymous() -> Self {
        Self { name_type: NT_WELLKNOWN, components: smallvec!["WELLKNOWN".to_owned(), "ANONYMOUS".to_owned()] }
    }

    /// Whether this is the client that says nothing of itself.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.components.as_slice(), [first, second] if first == "WELLKNOWN" && second == "ANONYMOUS")
    }

    /// The realm whose ticket-granting service this is.
    pub fn tgs_realm(&self) -> Option<&str> {
        match self.components.as_slice() {
            [service, realm] if service == "krbtgt" => Some(realm),
            _ => None,
        }
    }

    /// The name in a message, when its components are UTF-8, and no more or longer than any name of ours: it ends in logs and errors.
    pub fn of_message(name: &PrincipalName) -> Result<Self, asn1::Asn1Error> {
        let length: usize = name.string.iter().map(|part| part.as_bytes().len()).sum();
        if !(1..=MAX_COMPONENTS).contains(&name.string.len()) || length > MAX_LENGTH {
            return Err(asn1::Asn1Error::Value("PrincipalName"));
        }
        let components = name.string.iter().map(|part| asn1::text(part).map(str::to_owned)).collect::<Result<_, _>>()?;
        Ok(Self { name_type: name.r#type, components })
    }

    /// The name for a message.
    pub fn to_message(&self) -> PrincipalName {
        PrincipalName { r#type: self.name_type, string: self.components.iter().map(|part| asn1::string(part)).collect() }
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.components == other.components
    }
}

impl Eq for Principal {}

impl std::hash::Hash for Principal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.components.hash(state);
    }
}

impl PartialOrd for Principal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Principal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components.cmp(&other.components)
    }
}

impl fmt::Display for Principal {
    /// Components joined by `/`; `/`, `@` and `\` inside one are quoted with `\`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, component) in self.components.iter().enumerate() {
            if place > 0 {
                f.write_str("/")?;
            }
            for letter in component.chars() {
                match letter {
                    '/' | '@' | '\\' => write!(f, "\\{letter}")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\u{8}' => f.write_str("\\b")?,
                    '\0' => f.write_str("\\0")?,
                    other => write!(f, "{other}")?,
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Principal {
    type Err = NameError;

    /// Reads a name without realm: an `@` must be quoted. One component makes a user, two a service.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match full_name(text)? {
            (principal, None) => Ok(principal),
            (_, Some(_)) => Err(NameError::Principal(text.to_owned())),
        }
    }
}

/// Reads `name@REALM`; the realm may be absent.
pub fn full_name(text: &str) -> Result<(Principal, Option<String>), NameError> {
    let refused = || NameError::Principal(text.to_owned());
    let mut components: Components = smallvec![String::new()];
    let mut realm: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = match letter {
            '\\' => match letters.next().ok_or_else(refused)? {
                'n' => '\n',
                't' => '\t',
                'b' => '\u{8}',
                '0' => '\0',
                other => other,
            },
            '@' if realm.is_none() => {
                realm = Some(String::new());
                continue;
            }
            '@' => return Err(refused()),
            '/' if realm.is_none() => {
                components.push(String::new());
                continue;
            }
            other => other,
        };
        match &mut realm {
            Some(realm) => realm.push(plain),
            None => components.last_mut().ok_or_else(refused)?.push(plain),
        }
    }
    if components.iter().any(String::is_empty) || realm.as_ref().is_some_and(String::is_empty) {
        return Err(refused());
    }
    let name_type = match components.as_slice() {
        [first, _] if first == "krbtgt" => NT_SRV_INST,
        [_, _] => NT_SRV_HST,
        _ => NT_PRINCIPAL,
    };
    Ok((Principal { name_type, components }, realm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_the_hash_of_its_key_and_of_no_other() {
        let realm = RealmName::of_key(b"abc");
        // SHA-256 of "abc": FIPS 180-2, appendix B.1.
        assert_eq!(realm.as_str(), "LKDC:SHA256.BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
        assert!(realm.matches_key(b"abc"));
        assert!(!realm.matches_key(b"abd"));
        assert_eq!(realm.as_str().parse::<RealmName>().unwrap(), realm);
    }

    #[test]
    fn a_realm_of_another_kind_is_refused() {
        for bad in ["", "LKDC:SHA256.", "LKDC:SHA1.BA7816BF", "EXAMPLE.ORG", &format!("{PREFIX}{}", "a".repeat(64))] {
            assert!(bad.parse::<RealmName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn principals_are_quoted_and_read_back() {
        for text in ["alice", "host/imac.alice.btmm.internal", r"al\@ice", r"a\/b/c", r"back\\slash", "WELLKNOWN/ANONYMOUS"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        let (name, realm) = full_name(r"al\@ice@REALM:X/Y").unwrap();
        assert_eq!((name.components, realm.as_deref()), (smallvec!["al@ice".to_owned()], Some("REALM:X/Y")));
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        for bad in ["", "@", "alice@", "a//b", "/", "a@b@c", "a\\"] {
            assert!(full_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_in_messages_are_bounded() {
        let name = |components: Vec<String>| Principal::of_message(&Principal { name_type: 1, components: components.into() }.to_message());
        assert!(name(vec!["x".repeat(MAX_LENGTH)]).is_ok());
        assert!(name(vec!["x".repeat(MAX_LENGTH), "x".to_owned()]).is_err());
        assert!(name(vec!["x".to_owned(); MAX_COMPONENTS + 1]).is_err());
        assert!(name(Vec::new()).is_err());
    }

    #[test]
    fn the_type_of_a_name_does_not_tell_names_apart() {
        let mut other = Principal::user("alice");
        other.name_type = NT_ENTERPRISE;
        assert_eq!(other, Principal::user("alice"));
    }
}
