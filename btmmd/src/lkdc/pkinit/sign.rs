//! Who signs: the machine's key, wherever it is kept.

use std::fmt;
use std::sync::Arc;

use super::algorithm::VerifyingKey;
use super::certificate::Parts;
use super::cms::CmsError;
use super::der::DerError;
use crate::account::key::MachineKey;

/// A key that signs. The machine's own, or one that never leaves a PKCS#11 token.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs `message` with the digest that its kind of key goes with: SHA-256 for EC and RSA keys (RSA: PKCS #1 v1.5). ECDSA
    /// signatures are DER `Ecdsa-Sig-Value`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The public key, DER SubjectPublicKeyInfo.
    fn spki(&self) -> &[u8];
}

/// The key, or the device that holds it, did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key did not sign: {0}")]
pub struct SignError(pub String);

impl Signer for MachineKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Self::sign(self, message).map_err(|error| SignError(error.to_string()))
    }

    fn spki(&self) -> &[u8] {
        Self::spki(self)
    }
}

/// A key and the certificate that says whose it is.
#[derive(Clone, Debug)]
pub struct Signatory {
    pub(crate) key: Arc<dyn Signer>,
    pub(crate) certificate: Vec<u8>,
}

impl Signatory {
    /// Joins them. A certificate (DER) of another key is refused, and a key that nobody could check.
    pub fn new(key: Arc<dyn Signer>, certificate: Vec<u8>) -> Result<Self, CmsError> {
        VerifyingKey::from_spki(key.spki())?;
        if Parts::of(&certificate)?.spki != key.spki() {
            return Err(CmsError::OtherKey);
        }
        Ok(Self { key, certificate })
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The public key, DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        self.key.spki()
    }

    pub(crate) fn parts(&self) -> Result<Parts<'_>, DerError> {
        Parts::of(&self.certificate)
    }
}
