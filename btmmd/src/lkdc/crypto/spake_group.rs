//! The arithmetic of SPAKE pre-authentication (RFC 9588 §4 to §6, §10.2): the KDC sends T = xG + wM, the client S = yG + wN, and both know K = xyG.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar as EdScalar;
use p256::elliptic_curve::group::Group as _;
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::sec1::{FromSec1Point, ToSec1Point};
use p256::elliptic_curve::{Field, PrimeField};
use p256::{AffinePoint, ProjectivePoint, Scalar as PScalar};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{CryptoError, Key};
use crate::entropy::Entropy;

/// A group of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpakeGroup {
    /// edwards25519, which everybody must have.
    Edwards25519,
    /// NIST P-256.
    P256,
}

/// Who we are in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpakeRole {
    /// Masks with M.
    Kdc,
    /// Masks with N.
    Client,
}

const ED_M: [u8; 32] =
    *b"\xd0\x48\x03\x2c\x6e\xa0\xb6\xd6\x97\xdd\xc2\xe8\x6b\xda\x85\xa3\x3a\xda\xc9\x20\xf1\xbf\x18\xe1\xb0\xc6\xd1\x66\xa5\xce\xcd\xaf";
const ED_N: [u8; 32] =
    *b"\xd3\xbf\xb5\x18\xf4\x4f\x34\x30\xf2\x9d\x0c\x92\xaf\x50\x38\x65\xa1\xed\x32\x81\xdc\x69\xb3\x5d\xd8\x68\xba\x85\xf8\x86\xc4\xab";
const P_M: [u8; 33] = *b"\x02\x88\x6e\x2f\x97\xac\xe4\x6e\x55\xba\x9d\xd7\x24\x25\x79\xf2\x99\x3b\x64\xe1\x6e\xf3\xdc\xab\x95\xaf\xd4\x97\x33\x3d\x8f\xa1\x2f";
const P_N: [u8; 33] = *b"\x03\xd8\xbb\xd6\xc6\x39\xc6\x29\x37\xb0\x4d\x99\x7f\x38\xc3\x77\x07\x19\xc6\x29\xd7\x01\x4d\x49\xa2\x4b\x4f\x98\xba\xa1\x29\x2b\x49";

const CONSTANT: &str = "M and N are points of the group";

impl SpakeGroup {
    /// All, the one we like best first.
    pub const ALL: [Self; 2] = [Self::Edwards25519, Self::P256];

    /// The registry's number.
    pub fn number(self) -> i32 {
        match self {
            Self::Edwards25519 => 1,
            Self::P256 => 2,
        }
    }

    /// The group of this number, if we know it.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.number() == number)
    }
}

/// w: what both sides know from the client's key. Everything secret in an exchange hangs on it.
pub struct SpakeSecret {
    group: SpakeGroup,
    octets: Zeroizing<Vec<u8>>,
}

/// An element of either group.
#[derive(Clone, Copy)]
enum Element {
    Ed(EdwardsPoint),
    P(ProjectivePoint),
}

/// Octets of a scalar in both groups.
const SCALAR: usize = 32;

impl SpakeSecret {
    /// From the client's long-term key (RFC 9588 §4).
    pub fn new(group: SpakeGroup, key: &Key) -> Self {
        let input = [b"SPAKEsecret".as_slice(), &group.number().to_be_bytes()].concat();
        Self { group, octets: key.prf_plus(&input, SCALAR).expect("two blocks at most") }
    }

    /// wM or wN.
    fn mask(&self, of: SpakeRole) -> Element {
        let w: [u8; SCALAR] = *self.octets.first_chunk().expect("that many were made");
        let w = Zeroizing::new(w);
        match self.group {
            SpakeGroup::Edwards25519 => {
                let point = if of == SpakeRole::Kdc { ED_M } else { ED_N };
                Element::Ed(EdScalar::from_bytes_mod_order(*w) * CompressedEdwardsY(point).decompress().expect(CONSTANT))
            }
            SpakeGroup::P256 => {
                let point = if of == SpakeRole::Kdc { P_M } else { P_N };
                let point = decode_p256(&point).expect(CONSTANT);
                Element::P(point * <PScalar as Reduce<p256::FieldBytes>>::reduce(&(*w).into()))
            }
        }
    }
}

/// A compressed point; the point at infinity has no such form.
fn decode_p256(octets: &[u8]) -> Option<ProjectivePoint> {
    let octets: &[u8; 33] = octets.try_into().ok()?;
    let point = p256::Sec1Point::from_bytes(octets).ok()?;
    AffinePoint::from_sec1_point(&point).into_option().map(ProjectivePoint::from)
}

/// One side's half: a secret number and the public element that hides it.
pub struct SpakeShare {
    role: SpakeRole,
    scalar: Zeroizing<[u8; SCALAR]>,
    public: Vec<u8>,
}

impl SpakeShare {
    /// A fresh one.
    pub fn generate(secret: &SpakeSecret, role: SpakeRole, entropy: &mut dyn Entropy) -> Self {
        let mut scalar = Zeroizing::new([0; SCALAR]);
        loop {
            entropy.fill(scalar.as_mut_slice());
            if secret.group == SpakeGroup::Edwards25519 {
                // Below 2^252, and so below the order, which hardly is above it: no number is likelier than another.
                scalar[SCALAR - 1] &= 0x0f;
            }
            if let Some(share) = Self::from_scalar(secret, role, &scalar) {
                return share;
            }
        }
    }

    /// The one that [`SpakeShare::scalar`] described, which a KDC keeps in its cookie; `None` for a number that is not in the group's range.
    pub fn from_scalar(secret: &SpakeSecret, role: SpakeRole, scalar: &[u8; SCALAR]) -> Option<Self> {
        let bare = match secret.group {
            SpakeGroup::Edwards25519 => Element::Ed(EdwardsPoint::mul_base(&ed_scalar(scalar)).mul_by_cofactor()),
            SpakeGroup::P256 => Element::P(ProjectivePoint::GENERATOR * p_scalar(scalar)?),
        };
        let public = match (bare, secret.mask(role)) {
            (Element::Ed(bare), Element::Ed(mask)) => (bare + mask).compress().to_bytes().to_vec(),
            (Element::P(bare), Element::P(mask)) => (bare + mask).to_affine().to_sec1_point(true).as_bytes().to_vec(),
            _ => return None,
        };
        Some(Self { role, scalar: Zeroizing::new(*scalar), public })
    }

    /// The secret number.
    pub fn scalar(&self) -> &[u8; SCALAR] {
        &self.scalar
    }

    /// T of the KDC, S of the client, as the messages carry them.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// K, from the other's element.
    pub fn agree(&self, secret: &SpakeSecret, theirs: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        self.shared(secret, theirs).ok_or(CryptoError::SpakeElement(secret.group))
    }

    fn shared(&self, secret: &SpakeSecret, theirs: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let peer = if self.role == SpakeRole::Kdc { SpakeRole::Client } else { SpakeRole::Kdc };
        let shared = match secret.mask(peer) {
            Element::Ed(mask) => {
                let theirs = CompressedEdwardsY::from_slice(theirs).ok()?.decompress()?;
                // The cofactor takes away what a point outside the subgroup might tell about our number.
                let shared = ((theirs - mask) * ed_scalar(&self.scalar)).mul_by_cofactor();
                shared.compress().to_bytes().to_vec()
            }
            Element::P(mask) => {
                let theirs = decode_p256(theirs)?;
                let shared = (theirs - mask) * p_scalar(&self.scalar)?;
                if bool::from(shared.is_identity()) {
                    return None;
                }
                shared.to_affine().to_sec1_point(true).as_bytes().to_vec()
            }
        };
        Some(Zeroizing::new(shared))
    }
}

/// An eighth of x or y: the cofactor is multiplied in at the point.
fn ed_scalar(octets: &[u8; SCALAR]) -> EdScalar {
    EdScalar::from_bytes_mod_order(*octets)
}

fn p_scalar(octets: &[u8; SCALAR]) -> Option<PScalar> {
    PScalar::from_repr((*octets).into()).into_option().filter(|scalar| !bool::from(scalar.is_zero()))
}

/// The running hash over what was said (RFC 9588 §5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpakeTranscript([u8; 32]);

impl SpakeTranscript {
    /// Takes in messages: first the support message (if there was one) and the challenge together, then the client's element.
    pub fn update(&mut self, parts: &[&[u8]]) {
        let mut hash = Sha256::new_with_prefix(self.0);
        parts.iter().for_each(|part| hash.update(part));
        self.0 = hash.finalize().into();
    }

    /// Its value so far, as a cookie keeps it.
    pub fn value(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the value a cookie kept.
    pub fn from_value(value: [u8; 32]) -> Self {
        Self(value)
    }
}

/// `K'[n]` (RFC 9588 §6): 0 is the reply key, 1 and up encrypt factors.
pub fn spake_key(key: &Key, secret: &SpakeSecret, shared: &[u8], transcript: &SpakeTranscript, req_body: &[u8], n: u32) -> Key {
    let etype = key.etype();
    let hash = Sha256::new_with_prefix("SPAKEkey")
        .chain_update(secret.group.number().to_be_bytes())
        .chain_update(etype.number().to_be_bytes())
        .chain_update(secret.octets.as_slice())
        .chain_update(shared)
        .chain_update(transcript.0)
        .chain_update(req_body)
        .chain_update(n.to_be_bytes())
        // The first block of an expansion whose seeds never need a second.
        .chain_update([1]);
    let seed = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
    let hashed = Key::new(etype, &seed[..etype.key_length()]).expect("no key is longer than the hash");
    Key::combine(key, &hashed, b"SPAKE", b"keyderiv")
}
