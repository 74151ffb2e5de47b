//! Digests and signatures that CMS messages may use: which are accepted, and how they are checked.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::der::{self, DerError, Value};
use super::oid::{self, Oid};

/// Digests that a signature may use. SHA-1 is not among them: its collisions are cheap, and every client knows a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// Those accepted, the one we like best first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its object identifier.
    pub(crate) fn oid(self) -> Oid {
        match self {
            Self::Sha256 => oid::SHA256,
            Self::Sha384 => oid::SHA384,
            Self::Sha512 => oid::SHA512,
        }
    }

    /// The digest with this object identifier, if it is accepted.
    pub(crate) fn from_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|digest| digest.oid() == oid)
    }

    /// The digest of `message`.
    pub(crate) fn of(self, message: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }
}

/// The kinds of key that sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA over P-256.
    P256,
    /// ECDSA over P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits or more.
    Rsa,
}

impl KeyKind {
    /// The digest that a signature by such a key names (RFC 5754, RFC 8419 §3.1), and the identifier of the signature.
    pub(crate) fn signs_with(self) -> (Digest, Oid) {
        match self {
            Self::P256 | Self::P384 => (Digest::Sha256, oid::ECDSA_SHA256),
            Self::Ed25519 => (Digest::Sha512, oid::ED25519),
            Self::Rsa => (Digest::Sha256, oid::SHA256_WITH_RSA),
        }
    }
}

/// A public key that can check signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerifyingKey<'a> {
    pub(crate) kind: KeyKind,
    raw: &'a [u8],
}

impl<'a> VerifyingKey<'a> {
    /// Reads a DER SubjectPublicKeyInfo. Keys of other kinds are malformed to us.
    pub(crate) fn from_spki(spki: &'a [u8]) -> Result<Self, DerError> {
        const WHAT: &str = "the signer's public key";
        let mut info = Value::only(spki, der::SEQUENCE, WHAT)?.values();
        let mut algorithm = info.take(der::SEQUENCE, WHAT)?.values();
        let raw = info.take(der::BIT_STRING, WHAT)?.bits(WHAT)?;
        let name = algorithm.take(der::OID, WHAT)?.contents;
        let curve = algorithm.optional(der::OID, WHAT)?.map(|curve| curve.contents);
        let kind = match (name, curve) {
            (oid::EC_PUBLIC_KEY, Some(oid::P256)) => KeyKind::P256,
            (oid::EC_PUBLIC_KEY, Some(oid::P384)) => KeyKind::P384,
            (oid::ED25519, None) => KeyKind::Ed25519,
            (oid::RSA, None) => KeyKind::Rsa,
            _ => return Err(DerError(WHAT)),
        };
        Ok(Self { kind, raw })
    }

    /// Whether `signature` is this key's over `message` with `digest`.
    ///
    /// `padding` is the object identifier of the signature algorithm that the message names. Only RSA keys look at it, to tell PSS:
    /// MIT krb5 up to 1.21 says sha256WithRSAEncryption whatever key it signs with.
    pub(crate) fn verifies(&self, digest: Digest, padding: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match (self.kind, digest) {
            (KeyKind::P256, Digest::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (KeyKind::P256, Digest::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (KeyKind::P256, Digest::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
            (KeyKind::P384, Digest::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (KeyKind::P384, Digest::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (KeyKind::P384, Digest::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
            (KeyKind::Ed25519, _) => &signature::ED25519,
            (KeyKind::Rsa, digest) => return self.rsa_verifies(digest, padding == oid::RSA_PSS, message, signature),
        };
        UnparsedPublicKey::new(algorithm, self.raw).verify(message, signature).is_ok()
    }

    fn rsa_verifies(&self, digest: Digest, pss: bool, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match (digest, pss) {
            (Digest::Sha256, false) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Digest::Sha384, false) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Digest::Sha512, false) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Digest::Sha256, true) => &signature::RSA_PSS_2048_8192_SHA256,
            (Digest::Sha384, true) => &signature::RSA_PSS_2048_8192_SHA384,
            (Digest::Sha512, true) => &signature::RSA_PSS_2048_8192_SHA512,
        };
        UnparsedPublicKey::new(algorithm, self.raw).verify(message, signature).is_ok()
    }
}
