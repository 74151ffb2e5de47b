//! Who signs: the machine's key, wherever it is kept.

use std::sync::Arc;

use super::algorithm::VerifyingKey;
use super::certificate::Parts;
use super::cms::CmsError;
use super::der::DerError;
use crate::account::key::Signer;

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
