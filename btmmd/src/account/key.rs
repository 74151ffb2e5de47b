//! Private keys: the machine's own, made there or on its token and never moved, and the account CA's.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey};
use x509_cert::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use super::public_key::PublicKey;
use super::token::{Token, TokenError, TokenUri};

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
    /// The token that has the key.
    #[error(transparent)]
    Token(#[from] TokenError),
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

/// Where a private key is.
enum Kept {
    /// Here. The PKCS#8 form is wiped from memory when the key is dropped.
    Here { pair: Pair, pkcs8: Zeroizing<Vec<u8>> },
    /// On a token that it never leaves.
    Token(Box<Token>),
}

/// A private key that signs: the one way to sign for TLS, IKE, PKINIT, certificate requests and joining, wherever the key is. Never printed.
pub struct MachineKey {
    kept: Kept,
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
        Ok(Self { kept: Kept::Here { pair, pkcs8 }, spki })
    }

    /// Takes a key on a token, or makes one there when there is none of that name. May take seconds.
    pub fn on_token(uri: &TokenUri) -> Result<Self, KeyError> {
        let token = Token::open(uri)?;
        Ok(Self { spki: token.spki().to_vec(), kept: Kept::Token(Box::new(token)) })
    }

    /// The key on a token whose public half (DER SubjectPublicKeyInfo) is known. The token may be missing until the key is needed.
    pub fn on_known_token(uri: TokenUri, spki: &[u8]) -> Result<Self, KeyError> {
        if PublicKey::from_spki(spki)?.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(KeyError::Algorithm);
        }
        Ok(Self { kept: Kept::Token(Box::new(Token::known(uri, spki.to_vec()))), spki: spki.to_vec() })
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

    /// The key as PKCS#8 in PEM, for the key file and nothing else. One on a token cannot be had.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let Kept::Here { pkcs8, .. } = &self.kept else { return Err(KeyError::Library("take the key off its token")) };
        pem::encode_string(PEM_LABEL, LineEnding::LF, pkcs8).map(Zeroizing::new).map_err(|_| KeyError::Library("write the key"))
    }

    /// Which algorithm the key is for.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.kept {
            Kept::Here { pair: Pair::Ed25519(_), .. } => KeyAlgorithm::Ed25519,
            Kept::Here { pair: Pair::EcdsaP256(_), .. } | Kept::Token(_) => KeyAlgorithm::EcdsaP256,
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
        let request = params
            .serialize_request(self)
            .map_err(|_| self.trouble().map_or(KeyError::Library("write a certificate request"), KeyError::Token))?;
        Ok(request.der().to_vec())
    }

    /// Signs `message`. ECDSA signatures are DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) over SHA-256; Ed25519 ones are the 64 octets of RFC 8032.
    ///
    /// Waits for a token, which may take a second; who must not wait asks [`MachineKey::sign_soon`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.kept {
            Kept::Here { pair: Pair::EcdsaP256(pair), .. } => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Library("sign"))?;
                Ok(signature.as_ref().to_vec())
            }
            Kept::Here { pair: Pair::Ed25519(pair), .. } => Ok(pair.sign(message).as_ref().to_vec()),
            Kept::Token(token) => Ok(token.sign(message)?),
        }
    }

    /// Signs `message` for the one use that `context` names, so that a signature made for one use never serves another.
    pub(super) fn sign_for(&self, context: &str, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(&in_context(context, message))
    }

    /// The signature of `message` without waiting: at once, or `None` while a token makes it. [`MachineKey::signed`] tells when to ask again.
    pub fn sign_soon(&self, message: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
        match &self.kept {
            Kept::Here { .. } => self.sign(message).map(Some),
            Kept::Token(token) => Ok(token.sign_soon(message).transpose()?),
        }
    }

    /// Waits until a signature that [`MachineKey::sign_soon`] did not have is made. Cancel safe.
    pub async fn signed(&self) {
        match &self.kept {
            Kept::Here { .. } => std::future::pending().await,
            Kept::Token(token) => token.signed().await,
        }
    }

    /// Begins to look after the token, if the key is on one.
    pub fn attend(&self) {
        if let Kept::Token(token) = &self.kept {
            token.attend();
        }
    }

    /// What keeps the key from signing, as far as is known.
    pub fn trouble(&self) -> Option<TokenError> {
        match &self.kept {
            Kept::Here { .. } => None,
            Kept::Token(token) => token.trouble(),
        }
    }
}

/// Whatever signs with a key that others know the public half of.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs `message`, as [`MachineKey::sign`] does.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// The public key, DER SubjectPublicKeyInfo.
    fn spki(&self) -> &[u8];
}

impl Signer for MachineKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Self::sign(self, message)
    }

    fn spki(&self) -> &[u8] {
        Self::spki(self)
    }
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineKey").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl PublicKeyData for MachineKey {
    fn der_bytes(&self) -> &[u8] {
        match &self.kept {
            Kept::Here { pair: Pair::EcdsaP256(pair), .. } => pair.public_key().as_ref(),
            Kept::Here { pair: Pair::Ed25519(pair), .. } => pair.public_key().as_ref(),
            Kept::Token(token) => token.point(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match MachineKey::algorithm(self) {
            KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Ed25519 => &PKCS_ED25519,
        }
    }
}

impl SigningKey for MachineKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        MachineKey::sign(self, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// What is signed of a message for the use that `context` names.
pub(super) fn in_context(context: &str, message: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], message].concat()
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
