//! The invitation code: one line that a person carries from the base to a new machine.
//!
//! ```text
//! btmm1-<base32>      base32 of Crockford's alphabet, no padding; case, spaces and hyphens do not matter, o is 0, i and l are 1
//!   count             1 octet: addresses, 1 to 8
//!   address × count   1 octet: 4 or 6, plus 0x80 if a port follows; 4 or 16 octets; 2 octets port (4500 if absent)
//!   fingerprint       20 octets: which base to believe, see [`Fingerprint`]
//!   secret            16 octets: admits one machine
//!   expiry            4 octets: seconds since 1970
//!   checksum          3 octets: start of the SHA-256 of the above, which tells a typo from a stale code
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256, digest};
use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{KeyError, random};
use super::octets;

/// How long a code admits a machine.
pub const CODE_LIFE: Duration = Duration::from_secs(3600);
/// The most addresses that a code can carry.
pub const MAX_ADDRESSES: usize = 8;

const PREFIX: &str = "btmm1";
const DEFAULT_PORT: u16 = 4500;
const MAX_TEXT: usize = 1024;
const WITH_PORT: u8 = 0x80;
const CHECKSUM: usize = 3;

static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut form = Specification::new();
    form.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    form.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZOoIiLl");
    form.translate.to.push_str("abcdefghjkmnpqrstvwxyz001111");
    form.encoding().expect("32 symbols and a translation into them are an encoding")
});

/// Why text is not an invitation code. Never quotes the code, which is a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum CodeError {
    /// Does not begin with `btmm1-`.
    #[error("this is not an invitation code: one begins with btmm1-")]
    NotACode,
    /// Begins with `btmm` and another number.
    #[error("this invitation code was made by another version of btmm: upgrade btmm on both machines")]
    Version,
    /// The checksum does not fit.
    #[error("the invitation code is mistyped or cut short: copy it again")]
    Mistyped,
    /// No addresses to put in, or too many.
    #[error("an invitation code carries 1 to {MAX_ADDRESSES} addresses, not {0}")]
    Addresses(usize),
    /// Past its end by this machine's clock.
    #[error("the invitation code has expired: run \"btmm invite\" on the base again (or set this machine's clock)")]
    Expired,
}

/// Which base a joining machine believes: the first 160 bits of a SHA-256 over the CA certificate and the base's name, so that no other
/// machine of the account can pose as the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 20]);

impl Fingerprint {
    /// The fingerprint of the account with this CA certificate (DER), whose base is `fqdn`.
    pub fn of(ca: &[u8], fqdn: &str) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(b"btmm base 1\0");
        hash.update(digest(&SHA256, ca).as_ref());
        hash.update(fqdn.as_bytes());
        let mut octets = [0; 20];
        octets.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(octets)
    }
}

/// What admits one machine. Wiped when dropped, never printed; the base keeps only its hash.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InviteSecret(#[serde(with = "octets::secret")] Zeroizing<[u8; 16]>);

impl InviteSecret {
    /// A new random secret.
    pub(super) fn generate() -> Result<Self, KeyError> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// The SHA-256 of the secret. With 128 random bits in it, it needs no salt.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.iter_mut().zip(digest(&SHA256, self.0.as_slice()).as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret")
    }
}

/// An invitation: where the base is, how to know it, and what admits the new machine.
///
/// It is read by [`FromStr`] and written only by [`InvitationCode::reveal`]: there is no `Display` to print it by accident.
#[derive(Clone, Debug)]
pub struct InvitationCode {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) fingerprint: Fingerprint,
    pub(super) secret: InviteSecret,
    pub(super) expires_at: u32,
}

impl InvitationCode {
    /// Where the base answers, best first.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What a [`JoinRequest`](super::enrol::JoinRequest) shows.
    pub fn secret(&self) -> &InviteSecret {
        &self.secret
    }

    /// When the code ceases to admit.
    pub fn expires_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(self.expires_at))
    }

    /// The code as the one line that a person copies.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut octets = Zeroizing::new(vec![u8::try_from(self.addresses.len()).unwrap_or(0)]);
        for address in &self.addresses {
            let with_port = if address.port() == DEFAULT_PORT { 0 } else { WITH_PORT };
            match address.ip() {
                IpAddr::V4(ip) => {
                    octets.push(4 | with_port);
                    octets.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    octets.push(6 | with_port);
                    octets.extend_from_slice(&ip.octets());
                }
            }
            if with_port != 0 {
                octets.extend_from_slice(&address.port().to_be_bytes());
            }
        }
        octets.extend_from_slice(&self.fingerprint.0);
        octets.extend_from_slice(self.secret.0.as_slice());
        octets.extend_from_slice(&self.expires_at.to_be_bytes());
        let check = checksum(&octets);
        octets.extend_from_slice(&check);
        let text = Zeroizing::new(BASE32.encode(&octets));
        Zeroizing::new(format!("{PREFIX}-{}", *text))
    }
}

impl FromStr for InvitationCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        if text.len() > MAX_TEXT {
            return Err(CodeError::NotACode);
        }
        let clean: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect());
        let body = match (clean.get(..4), clean.get(4..5), clean.get(5..)) {
            (Some(name), Some("1"), Some(body)) if name.eq_ignore_ascii_case("btmm") => body,
            (Some(name), Some(digit), _) if name.eq_ignore_ascii_case("btmm") && digit.chars().all(|c| c.is_ascii_digit()) => {
                return Err(CodeError::Version);
            }
            _ => return Err(CodeError::NotACode),
        };
        let octets = Zeroizing::new(BASE32.decode(body.as_bytes()).map_err(|_| CodeError::Mistyped)?);
        let (payload, check) = octets.split_last_chunk::<CHECKSUM>().ok_or(CodeError::Mistyped)?;
        if checksum(payload) != *check {
            return Err(CodeError::Mistyped);
        }
        Self::from_payload(payload).ok_or(CodeError::Mistyped)
    }
}

impl InvitationCode {
    fn from_payload(payload: &[u8]) -> Option<Self> {
        let (&count, mut rest) = payload.split_first()?;
        if !(1..=MAX_ADDRESSES).contains(&usize::from(count)) {
            return None;
        }
        let addresses = (0..count).map(|_| take_address(&mut rest)).collect::<Option<Vec<_>>>()?;
        let fingerprint = Fingerprint(take(&mut rest)?);
        let secret = InviteSecret(Zeroizing::new(take(&mut rest)?));
        let expires_at = u32::from_be_bytes(take(&mut rest)?);
        rest.is_empty().then_some(Self { addresses, fingerprint, secret, expires_at })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let [kind] = take(rest)?;
    let ip = match kind & !WITH_PORT {
        4 => IpAddr::V4(Ipv4Addr::from(take::<4>(rest)?)),
        6 => IpAddr::V6(Ipv6Addr::from(take::<16>(rest)?)),
        _ => return None,
    };
    let port = if kind & WITH_PORT == 0 { DEFAULT_PORT } else { u16::from_be_bytes(take(rest)?) };
    Some(SocketAddr::new(ip, port))
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Context::new(&SHA256);
    hash.update(PREFIX.as_bytes());
    hash.update(payload);
    let mut check = [0; CHECKSUM];
    check.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(addresses: &[&str]) -> InvitationCode {
        InvitationCode {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            fingerprint: Fingerprint::of(b"ca", "base.alice.btmm.internal"),
            secret: InviteSecret::generate().unwrap(),
            expires_at: 1_800_000_000,
        }
    }

    #[test]
    fn a_code_reads_back_what_it_reveals() {
        let code = code(&["192.0.2.1:4500", "[2001:db8::1]:4500", "198.51.100.7:14500"]);
        let text = code.reveal();
        assert!(text.starts_with("btmm1-") && text.lines().count() == 1);
        let read: InvitationCode = text.parse().unwrap();
        assert_eq!(read.addresses, code.addresses);
        assert_eq!(read.fingerprint, code.fingerprint);
        assert_eq!(read.secret.hash(), code.secret.hash());
        assert_eq!(read.expires_at, code.expires_at);
        assert_eq!(format!("{:?}", code.secret), "InviteSecret");
    }

    #[test]
    fn a_code_for_one_public_address_is_short_enough_to_read_out() {
        assert_eq!(code(&["192.0.2.1:4500"]).reveal().len(), 85);
    }

    #[test]
    fn case_spaces_hyphens_and_lookalikes_do_not_matter() {
        let code = code(&["192.0.2.1:4500"]);
        let text = code.reveal();
        let scrambled = text.to_uppercase().replacen("BTMM1", "Btmm1", 1);
        let (prefix, body) = scrambled.split_at(6);
        let body: String = body.replace('0', "O").replace('1', "l").chars().flat_map(|c| [c, ' ']).collect();
        let read: InvitationCode = format!(" {prefix}{body}\n").parse().unwrap();
        assert_eq!(read.secret.hash(), code.secret.hash());
    }

    #[test]
    fn one_wrong_character_anywhere_is_called_a_typo() {
        let text = code(&["192.0.2.1:4500"]).reveal();
        for at in 6..text.len() {
            let wrong = if &text[at..=at] == "7" { "8" } else { "7" };
            let typo = format!("{}{wrong}{}", &text[..at], &text[at + 1..]);
            assert_eq!(typo.parse::<InvitationCode>().unwrap_err(), CodeError::Mistyped, "{at}");
            assert_eq!(text[..at].parse::<InvitationCode>().unwrap_err(), CodeError::Mistyped, "{at}");
        }
    }

    #[test]
    fn what_is_no_code_is_told_from_what_is_one_of_another_version() {
        for text in ["", "btmm", "hello", "btm1-aaaa", "btmmx-aaaa", "bt\u{e9}mm1-"] {
            assert_eq!(text.parse::<InvitationCode>().unwrap_err(), CodeError::NotACode, "{text}");
        }
        assert_eq!("btmm2-aaaa".parse::<InvitationCode>().unwrap_err(), CodeError::Version);
        assert_eq!("a".repeat(5000).parse::<InvitationCode>().unwrap_err(), CodeError::NotACode);
    }

    #[test]
    fn the_fingerprint_depends_on_the_ca_and_on_the_base() {
        let ours = Fingerprint::of(b"ca", "base.alice.btmm.internal");
        assert_ne!(ours, Fingerprint::of(b"CA", "base.alice.btmm.internal"));
        assert_ne!(ours, Fingerprint::of(b"ca", "imac.alice.btmm.internal"));
    }
}
