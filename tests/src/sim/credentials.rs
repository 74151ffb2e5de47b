//! Identities for simulations. A "certificate" is a name, an inner address and a key, signed by an authority's Ed25519 key: all that IKE needs to know
//! of certificates, and cheap to verify ten thousand times. The real ones are tested with the account.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use btmmd::ike::{CredentialError, Credentials, PeerIdentity, SignatureAlgorithm};

const SIGNATURE: usize = 64;
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Who signs identities.
pub struct Authority {
    key: Ed25519KeyPair,
    verified: Mutex<HashMap<Vec<u8>, PeerIdentity>>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { key: Ed25519KeyPair::generate().expect("Ed25519 keys can be made"), verified: Mutex::default() })
    }

    fn verify(&self, certificate: &[u8]) -> Result<PeerIdentity, CredentialError> {
        let mut verified = self.verified.lock().expect("no test panics while verifying");
        if let Some(known) = verified.get(certificate) {
            return Ok(known.clone());
        }
        let refused = |why: &str| CredentialError(why.to_owned());
        let (body, signature) =
            certificate.len().checked_sub(SIGNATURE).map(|at| certificate.split_at(at)).ok_or_else(|| refused("too short"))?;
        UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref())
            .verify(body, signature)
            .map_err(|_| refused("not signed by the account's authority"))?;
        let (inner, rest) = body.split_first_chunk::<16>().ok_or_else(|| refused("too short"))?;
        let (length, rest) = rest.split_first().ok_or_else(|| refused("too short"))?;
        let (name, spki) = rest.split_at_checked(usize::from(*length)).ok_or_else(|| refused("too short"))?;
        let identity = PeerIdentity {
            name: String::from_utf8(name.to_vec()).map_err(|_| refused("no name"))?,
            inner: Ipv6Addr::from(*inner),
            spki: spki.to_vec(),
        };
        verified.insert(certificate.to_vec(), identity.clone());
        Ok(identity)
    }
}

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// One machine's identity.
pub struct Identity {
    authority: Arc<Authority>,
    name: String,
    inner: Ipv6Addr,
    key: Key,
    certificate: Vec<u8>,
}

impl Identity {
    /// A machine that `authority` vouches for.
    pub fn new(authority: &Arc<Authority>, name: &str, inner: Ipv6Addr, algorithm: SignatureAlgorithm) -> Arc<Self> {
        let (key, spki) = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("P-256 keys can be made");
                let spki = [&P256_SPKI, pair.public_key().as_ref()].concat();
                (Key::P256(pair), spki)
            }
            SignatureAlgorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate().expect("Ed25519 keys can be made");
                let spki = [ED25519_SPKI.as_slice(), pair.public_key().as_ref()].concat();
                (Key::Ed25519(pair), spki)
            }
        };
        let length = u8::try_from(name.len()).expect("test names are short");
        let body = [inner.octets().as_slice(), &[length], name.as_bytes(), &spki].concat();
        let certificate = [body.as_slice(), authority.key.sign(&body).as_ref()].concat();
        Arc::new(Self { authority: authority.clone(), name: name.to_owned(), inner, key, certificate })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inner address.
    pub fn inner(&self) -> Ipv6Addr {
        self.inner
    }
}

/// What the IKE machine holds; the tests keep the identity itself.
pub struct Held(pub Arc<Identity>);

impl Credentials for Held {
    fn certificate(&self) -> &[u8] {
        &self.0.certificate
    }

    fn name(&self) -> &str {
        &self.0.name
    }

    fn inner(&self) -> Ipv6Addr {
        self.0.inner
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.key {
            Key::P256(_) => SignatureAlgorithm::EcdsaP256Sha256,
            Key::Ed25519(_) => SignatureAlgorithm::Ed25519,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        match &self.0.key {
            Key::P256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Key::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
        .map(Some)
        .map_err(|_| CredentialError("cannot sign".to_owned()))
    }

    fn verify_peer(&self, certificate: &[u8], _intermediates: &[&[u8]]) -> Result<PeerIdentity, CredentialError> {
        self.0.authority.verify(certificate)
    }
}

/// The two machines of most simulations: one signs with P-256, the other with Ed25519.
pub static MACHINES: LazyLock<[Arc<Identity>; 2]> = LazyLock::new(|| {
    let authority = Authority::new();
    let inner = |last| Ipv6Addr::new(0xfd12, 0x3456, 0x789a, 0, 0, 0, 0, last);
    [
        Identity::new(&authority, "imac.alice.btmm.internal", inner(1), SignatureAlgorithm::EcdsaP256Sha256),
        Identity::new(&authority, "laptop.alice.btmm.internal", inner(2), SignatureAlgorithm::Ed25519),
    ]
});
