//! Public keys of machines and of the account CA.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use data_encoding::HEXUPPER;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use x509_cert::der::Encode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::key::{KeyAlgorithm, KeyError, in_context};
use crate::wire::der;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The largest certificate signing request that is looked at, in octets.
const MAX_REQUEST: usize = 8192;

/// A public key of one of the kinds that machines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    raw: Vec<u8>,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let info = der::x509(der).map_err(|_| KeyError::NotPublic)?;
        Self::from_info(&info)
    }

    /// The key of a PKCS#10 request (RFC 2986), once its signature has proven that the sender holds the private half.
    /// Nothing else is taken from the request.
    pub fn from_request(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_REQUEST {
            return Err(KeyError::NotPossessed);
        }
        let request = der::x509::<CertReq>(der).map_err(|_| KeyError::NotPossessed)?;
        let key = Self::from_info(&request.info.public_key)?;
        let signed = request.info.to_der().map_err(|_| KeyError::NotPossessed)?;
        let signature = request.signature.as_bytes().ok_or(KeyError::NotPossessed)?;
        if key.verify(&signed, signature) { Ok(key) } else { Err(KeyError::NotPossessed) }
    }

    fn from_info(info: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let algorithm = match (info.algorithm.oid, info.algorithm.parameters.as_ref()) {
            (EC_PUBLIC_KEY, Some(curve)) if curve.decode_as::<ObjectIdentifier>() == Ok(PRIME256V1) => KeyAlgorithm::EcdsaP256,
            (ED25519_KEY, None) => KeyAlgorithm::Ed25519,
            _ => return Err(KeyError::Algorithm),
        };
        let raw = info.subject_public_key.as_bytes().ok_or(KeyError::NotPublic)?.to_vec();
        let spki = info.to_der().map_err(|_| KeyError::NotPublic)?;
        Ok(Self { algorithm, raw, spki })
    }

    /// Whether `signature` is one of `message` by this key, in the form that `MachineKey::sign` makes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.raw).verify(message, signature).is_ok(),
            KeyAlgorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.raw).verify(message, signature).is_ok(),
        }
    }

    /// Whether `signature` is one of `message` by this key for the use that `context` names, in the form that `MachineKey::sign_for` makes.
    pub(super) fn signed(&self, context: &str, message: &[u8], signature: &[u8]) -> bool {
        self.verify(&in_context(context, message), signature)
    }

    /// The key as DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The Kerberos realm that this key names: `LKDC:SHA256.` and the SHA-256 of its DER, in upper-case hex.
    pub fn realm(&self) -> String {
        format!("LKDC:SHA256.{}", HEXUPPER.encode(digest(&SHA256, &self.spki).as_ref()))
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.raw
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Ed25519 => &PKCS_ED25519,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::key::MachineKey;

    #[test]
    fn a_request_gives_the_key_that_signed_it() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
            let key = MachineKey::generate(algorithm).unwrap();
            let public = PublicKey::from_request(&key.certificate_request().unwrap()).unwrap();
            assert_eq!(public.spki(), key.spki());
            assert_eq!(public, PublicKey::from_spki(key.spki()).unwrap());
        }
    }

    #[test]
    fn a_request_with_another_key_inside_is_refused() {
        let [mine, other] = [(); 2].map(|()| MachineKey::generate(KeyAlgorithm::Ed25519).unwrap());
        let request = mine.certificate_request().unwrap();
        let at = request.windows(32).position(|octets| octets == mine.der_bytes()).unwrap();
        let mut forged = request.clone();
        forged[at..at + 32].copy_from_slice(other.der_bytes());
        assert_eq!(PublicKey::from_request(&forged), Err(KeyError::NotPossessed));
        assert_eq!(PublicKey::from_request(&request[..request.len() - 1]), Err(KeyError::NotPossessed));
    }

    #[test]
    fn an_rsa_or_p384_key_is_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&p384);
        assert_eq!(PublicKey::from_spki(&spki), Err(KeyError::Algorithm));
    }
}
