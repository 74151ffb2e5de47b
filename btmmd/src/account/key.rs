//! Private keys: the machine's own, made there and never moved, and the account CA's.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey};
use x509_cert::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

/// The PEM label of a PKCS#8 private key (RFC 7468 §10).
const PEM_LABEL: &str = "PRIVATE KEY";
/// The largest key file worth reading, in octets.
pub(super) const MAX_PEM: usize = 4096;

/// What can be wrong with a private key.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum KeyError {
    /// Not PEM with the label `PRIVATE KEY`, or too long.
    #[error("not a PKCS#8 private key in PEM")]
    NotPem,
    /// PKCS#8, but neither ECDSA P-256 nor Ed25519.
    #[error("the private key is neither ECDSA P-256 nor Ed25519")]
    Algorithm,
    /// Not a DER SubjectPublicKeyInfo.
    #[error("not a public key")]
    NotPublic,
    /// A certificate request that its own key did not sign.
    #[error("the certificate request is not signed by the key in it")]
    NotPossessed,
    /// The system's random generator or the key itself failed.
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
}

/// The kinds of machine key (RFC 8247: ECDSA P-256; RFC 8420: Ed25519).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// ECDSA over P-256 with SHA-256: understood by every peer.
    #[default]
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key that signs. The PKCS#8 form is wiped from memory when the key is dropped, and never printed.
pub struct MachineKey {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
}

impl MachineKey {
    /// Makes a new key.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let made = match algorithm {
            KeyAlgorithm::EcdsaP256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random),
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        };
        let document = made.map_err(|_| KeyError::Library("make a key"))?;
        Self::from_pkcs8(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// Takes a key in PKCS#8 DER; which algorithm it is, the key itself says.
    pub fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let pair = if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8) {
            Pair::EcdsaP256(pair)
        } else {
            Pair::Ed25519(Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| KeyError::Algorithm)?)
        };
        let spki = match &pair {
            Pair::EcdsaP256(pair) => pair.public_key().as_der().map(|der| der.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.public_key().as_der().map(|der| der.as_ref().to_vec()),
        };
        let spki = spki.map_err(|_| KeyError::Library("write the public key"))?;
        Ok(Self { pair, pkcs8, spki })
    }

    /// Reads the PEM that [`MachineKey::to_pem`] writes.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > MAX_PEM {
            return Err(KeyError::NotPem);
        }
        let (label, der) = pem::decode_vec(text).map_err(|_| KeyError::NotPem)?;
        let der = Zeroizing::new(der);
        if label != PEM_LABEL {
            return Err(KeyError::NotPem);
        }
        Self::from_pkcs8(der)
    }

    /// The key as PKCS#8 in PEM, for the key file and nothing else.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        pem::encode_string(PEM_LABEL, LineEnding::LF, &self.pkcs8).map(Zeroizing::new).map_err(|_| KeyError::Library("write the key"))
    }

    /// Which algorithm the key is for.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.pair {
            Pair::EcdsaP256(_) => KeyAlgorithm::EcdsaP256,
            Pair::Ed25519(_) => KeyAlgorithm::Ed25519,
        }
    }

    /// The public key: DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), from which the inner address is derived.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// A PKCS#10 request (RFC 2986, DER) that proves possession of the key. It names nobody: the account decides the name.
    pub fn certificate_request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(self).map_err(|_| KeyError::Library("write a certificate request"))?;
        Ok(request.der().to_vec())
    }

    /// Signs `message`. ECDSA signatures are DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) over SHA-256; Ed25519 ones are the 64 octets of RFC 8032.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::EcdsaP256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Library("sign"))?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineKey").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl PublicKeyData for MachineKey {
    fn der_bytes(&self) -> &[u8] {
        match &self.pair {
            Pair::EcdsaP256(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.pair {
            Pair::EcdsaP256(_) => &PKCS_ECDSA_P256_SHA256,
            Pair::Ed25519(_) => &PKCS_ED25519,
        }
    }
}

impl SigningKey for MachineKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        MachineKey::sign(self, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// Random octets for keys, secrets and serial numbers.
pub(super) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| KeyError::Library("give random octets"))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_and_hides_from_debug() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
            let key = MachineKey::generate(algorithm).unwrap();
            let again = MachineKey::from_pem(key.to_pem().unwrap().as_bytes()).unwrap();
            assert_eq!(again.spki(), key.spki());
            assert_eq!(again.algorithm(), algorithm);
            assert_eq!(format!("{key:?}"), format!("MachineKey {{ algorithm: {algorithm:?}, .. }}"));
        }
    }

    #[test]
    fn spki_is_what_the_certificate_library_writes() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
            let key = MachineKey::generate(algorithm).unwrap();
            assert_eq!(key.spki(), key.subject_public_key_info());
        }
    }

    #[test]
    fn a_signature_verifies_under_the_public_key() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
        let p256 = MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let signature = p256.sign(b"message").unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, p256.der_bytes()).verify(b"message", &signature).unwrap();
        let ed = MachineKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let signature = ed.sign(b"message").unwrap();
        UnparsedPublicKey::new(&ED25519, ed.der_bytes()).verify(b"message", &signature).unwrap();
        assert!(UnparsedPublicKey::new(&ED25519, ed.der_bytes()).verify(b"massage", &signature).is_err());
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        assert_eq!(MachineKey::from_pem(b"hello").unwrap_err(), KeyError::NotPem);
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(MachineKey::from_pem(certificate.as_bytes()).unwrap_err(), KeyError::NotPem);
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(MachineKey::from_pem(nonsense.as_bytes()).unwrap_err(), KeyError::Algorithm);
        assert_eq!(MachineKey::from_pem(&[b'a'; MAX_PEM + 1]).unwrap_err(), KeyError::NotPem);
    }
}
