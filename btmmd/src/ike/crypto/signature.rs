//! Digital signatures in AUTH (RFC 7427, RFC 8420).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};

use crate::ike::codec::number::{HASH_IDENTITY, HASH_SHA2_256};
use crate::ike::port::SignatureAlgorithm;
use crate::wire::{Reader, Writer};

/// AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 7427 appendix A.3.2).
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// AlgorithmIdentifier of id-Ed25519 (RFC 8410 §3).
const ED25519_ID: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// What stands before the uncompressed point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480).
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
/// What stands before the 32 octets of an Ed25519 key.
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The AUTH payload does not have the form of RFC 7427 §3.
    #[error("the AUTH payload is malformed")]
    Malformed,
    /// Neither ECDSA P-256 with SHA-256 nor Ed25519.
    #[error("the signature algorithm is neither ecdsa-with-SHA256 nor Ed25519")]
    Algorithm,
    /// The certificate's key is of another kind than the signature.
    #[error("the certificate's key does not make this kind of signature")]
    Key,
    /// The signature is wrong.
    #[error("the signature does not verify")]
    Wrong,
}

impl SignatureAlgorithm {
    /// The hash algorithm that the other side must have announced.
    pub fn hash(self) -> u16 {
        match self {
            Self::EcdsaP256Sha256 => HASH_SHA2_256,
            Self::Ed25519 => HASH_IDENTITY,
        }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSA_P256_SHA256",
            Self::Ed25519 => "ED25519",
        }
    }

    fn identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => ECDSA_SHA256,
            Self::Ed25519 => ED25519_ID,
        }
    }

    fn key(self, spki: &[u8]) -> Option<&[u8]> {
        let (prefix, length) = match self {
            Self::EcdsaP256Sha256 => (P256_SPKI, 65),
            Self::Ed25519 => (ED25519_SPKI, 32),
        };
        spki.strip_prefix(prefix).filter(|key| key.len() == length)
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Self::Ed25519 => &ED25519,
        }
    }
}

/// The data of SIGNATURE_HASH_ALGORITHMS: all we can verify.
pub fn hash_algorithms() -> Vec<u8> {
    [HASH_SHA2_256, HASH_IDENTITY].iter().flat_map(|hash| hash.to_be_bytes()).collect()
}

/// Whether the peer's SIGNATURE_HASH_ALGORITHMS holds what `algorithm` needs.
pub fn accepts(theirs: &[u8], algorithm: SignatureAlgorithm) -> bool {
    theirs.chunks_exact(2).any(|hash| hash == algorithm.hash().to_be_bytes())
}

/// The data of AUTH around a signature.
pub fn wrap(algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(u8::try_from(algorithm.identifier().len()).expect("both identifiers are short"));
    writer.bytes(algorithm.identifier());
    writer.bytes(signature);
    writer.into_bytes()
}

/// Verifies the data of AUTH over `message` with the key of a certificate.
pub fn verify(data: &[u8], spki: &[u8], message: &[u8]) -> Result<SignatureAlgorithm, SignatureError> {
    let mut reader = Reader::new(data);
    let length = reader.u8("AlgorithmIdentifier length").map_err(|_| SignatureError::Malformed)?;
    let identifier = reader.take(usize::from(length), "AlgorithmIdentifier").map_err(|_| SignatureError::Malformed)?;
    let algorithm = [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::Ed25519]
        .into_iter()
        .find(|known| known.identifier() == identifier)
        .ok_or(SignatureError::Algorithm)?;
    let key = algorithm.key(spki).ok_or(SignatureError::Key)?;
    UnparsedPublicKey::new(algorithm.verification(), key).verify(message, reader.rest()).map_err(|_| SignatureError::Wrong)?;
    Ok(algorithm)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    use super::*;

    fn signed(algorithm: SignatureAlgorithm, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
                let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), message).unwrap();
                ([P256_SPKI, pair.public_key().as_ref()].concat(), wrap(algorithm, signature.as_ref()))
            }
            SignatureAlgorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate().unwrap();
                ([ED25519_SPKI, pair.public_key().as_ref()].concat(), wrap(algorithm, pair.sign(message).as_ref()))
            }
        }
    }

    #[test]
    fn both_kinds_verify_and_nothing_else_does() {
        for algorithm in [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::Ed25519] {
            let (spki, data) = signed(algorithm, b"message");
            assert_eq!(verify(&data, &spki, b"message"), Ok(algorithm));
            assert_eq!(verify(&data, &spki, b"massage"), Err(SignatureError::Wrong));
            assert_eq!(verify(&data[..3], &spki, b"message"), Err(SignatureError::Malformed));
            assert_eq!(verify(&data, &spki[1..], b"message"), Err(SignatureError::Key));
            assert_eq!(verify(&[&[2, 5, 0], &data[1..]].concat(), &spki, b"message"), Err(SignatureError::Algorithm));
            let (other, _) = signed(algorithm, b"message");
            assert_eq!(verify(&data, &other, b"message"), Err(SignatureError::Wrong));
            assert!(accepts(&hash_algorithms(), algorithm) && !accepts(&[], algorithm));
        }
    }
}
