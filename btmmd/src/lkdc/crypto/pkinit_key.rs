//! The reply key of PKINIT from the agreed secret: octetstring2key (RFC 4556 §3.2.3.1) and the key derivations of RFC 8636.

use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{Etype, Key};

const ENOUGH: &str = "as many octets were made as the type wants";

/// octetstring2key(x): without agility, x = the agreed secret, the client's nonce and the KDC's nonce in a row.
pub fn octetstring2key(etype: Etype, parts: &[&[u8]]) -> Key {
    Key::new(etype, &expand_sha1(parts, etype.key_length())).expect(ENOUGH)
}

fn expand_sha1(parts: &[&[u8]], length: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(length + 20));
    for count in 0..=u8::MAX {
        if out.len() >= length {
            break;
        }
        let mut hash = Sha1::new_with_prefix([count]);
        parts.iter().for_each(|part| hash.update(part));
        out.extend_from_slice(&hash.finalize());
    }
    out.truncate(length);
    out
}

/// A key derivation function of RFC 8636 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PkinitKdf {
    /// id-pkinit-kdf-ah-sha1.
    Sha1,
    /// id-pkinit-kdf-ah-sha256, which everybody must have.
    Sha256,
    /// id-pkinit-kdf-ah-sha512.
    Sha512,
    /// id-pkinit-kdf-ah-sha384.
    Sha384,
}

/// What goes into a derivation beside the secret: all of it DER.
#[derive(Clone, Copy, Debug)]
pub struct KdfContext<'a> {
    /// The client as KRB5PrincipalName.
    pub client: &'a [u8],
    /// The ticket-granting service as KRB5PrincipalName.
    pub service: &'a [u8],
    /// The whole AS-REQ, as it was sent.
    pub as_req: &'a [u8],
    /// The whole PA-PK-AS-REP, as it was sent.
    pub pk_as_rep: &'a [u8],
}

impl PkinitKdf {
    /// All, the one we like best first.
    pub const ALL: [Self; 4] = [Self::Sha256, Self::Sha512, Self::Sha384, Self::Sha1];

    /// The arcs of its object identifier, 1.3.6.1.5.2.3.6.n.
    pub fn arcs(self) -> [u32; 9] {
        [1, 3, 6, 1, 5, 2, 3, 6, self.number().into()]
    }

    /// The function with these arcs.
    pub fn from_arcs(arcs: &[u32]) -> Option<Self> {
        Self::ALL.into_iter().find(|kdf| kdf.arcs() == arcs)
    }

    fn number(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha512 => 3,
            Self::Sha384 => 4,
        }
    }

    /// The reply key.
    pub fn derive(self, secret: &[u8], etype: Etype, context: &KdfContext<'_>) -> Key {
        Key::new(etype, &self.expand(secret, etype.number(), etype.key_length(), context)).expect(ENOUGH)
    }

    pub(super) fn expand(self, secret: &[u8], etype: i32, length: usize, context: &KdfContext<'_>) -> Zeroizing<Vec<u8>> {
        let info = self.other_info(etype, context);
        match self {
            Self::Sha1 => concatenate::<Sha1>(secret, &info, length),
            Self::Sha256 => concatenate::<Sha256>(secret, &info, length),
            Self::Sha512 => concatenate::<Sha512>(secret, &info, length),
            Self::Sha384 => concatenate::<Sha384>(secret, &info, length),
        }
    }

    /// OtherInfo with PkinitSuppPubInfo in it.
    fn other_info(self, etype: i32, context: &KdfContext<'_>) -> Vec<u8> {
        let oid = element(OID, &[&[0x2b, 6, 1, 5, 2, 3, 6, self.number()]]);
        let [number, ..] = etype.to_le_bytes();
        let supplement = element(
            SEQUENCE,
            &[
                &element(EXPLICIT_0, &[&element(INTEGER, &[&[number]])]),
                &element(EXPLICIT_0 + 1, &[&element(OCTET_STRING, &[context.as_req])]),
                &element(EXPLICIT_0 + 2, &[&element(OCTET_STRING, &[context.pk_as_rep])]),
            ],
        );
        element(
            SEQUENCE,
            &[
                &element(SEQUENCE, &[&oid]),
                &element(EXPLICIT_0, &[&element(OCTET_STRING, &[context.client])]),
                &element(EXPLICIT_0 + 1, &[&element(OCTET_STRING, &[context.service])]),
                &element(EXPLICIT_0 + 2, &[&element(OCTET_STRING, &[&supplement])]),
            ],
        )
    }
}

/// The concatenation KDF of SP 800-56A: hashes of a counter, the secret and the rest.
fn concatenate<H: Digest>(secret: &[u8], info: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(length + 64));
    for count in 1u32.. {
        if out.len() >= length {
            break;
        }
        out.extend_from_slice(&H::new().chain_update(count.to_be_bytes()).chain_update(secret).chain_update(info).finalize());
    }
    out.truncate(length);
    out
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;

/// A DER element.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    let octets = length.to_be_bytes();
    let significant = octets.iter().skip_while(|octet| **octet == 0);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            out.push(0x80 | u8::try_from(significant.clone().count()).unwrap_or_default());
            out.extend(significant);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
