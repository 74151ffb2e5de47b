//! The key agreement of PKINIT: Diffie-Hellman in the groups of RFC 4556 §3.2.1, and over curves as RFC 5349.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::CryptoError;
use super::mod_exp::Modulus;
use super::modp_primes::{MODP_1024, MODP_2048, MODP_4096};
use crate::entropy::Entropy;

/// A group that a client may propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DhGroup {
    /// Oakley group 2, 1024 bits: known, so that it can be refused by name.
    Modp2,
    /// RFC 3526 group 14, 2048 bits.
    Modp14,
    /// RFC 3526 group 16, 4096 bits.
    Modp16,
    /// NIST P-256.
    P256,
    /// Curve25519.
    X25519,
}

/// A modular group's numbers.
struct Modp {
    prime: Vec<u8>,
    modulus: Modulus,
}

impl Modp {
    fn new(prime: &str) -> Self {
        let prime = data_encoding::HEXUPPER.decode(prime.as_bytes()).expect("a constant of ours");
        Self { modulus: Modulus::new(&prime), prime }
    }
}

static GROUP_2: LazyLock<Modp> = LazyLock::new(|| Modp::new(MODP_1024));
static GROUP_14: LazyLock<Modp> = LazyLock::new(|| Modp::new(MODP_2048));
static GROUP_16: LazyLock<Modp> = LazyLock::new(|| Modp::new(MODP_4096));

/// The generator of all modular groups.
const GENERATOR: [u8; 1] = [2];

impl DhGroup {
    /// Those we agree to, the one we like best first.
    pub const ACCEPTABLE: [Self; 4] = [Self::X25519, Self::P256, Self::Modp14, Self::Modp16];

    /// The modular group with this prime and generator, big-endian with or without leading zeros.
    pub fn from_parameters(prime: &[u8], generator: &[u8]) -> Option<Self> {
        let prime = without_leading_zeros(prime);
        if without_leading_zeros(generator) != GENERATOR {
            return None;
        }
        [Self::Modp14, Self::Modp16, Self::Modp2].into_iter().find(|group| group.prime() == Some(prime))
    }

    /// Whether its numbers are taken modulo a prime, as in RFC 2412.
    pub fn is_modular(self) -> bool {
        self.modp().is_some()
    }

    fn modp(self) -> Option<&'static Modp> {
        match self {
            Self::Modp2 => Some(&GROUP_2),
            Self::Modp14 => Some(&GROUP_14),
            Self::Modp16 => Some(&GROUP_16),
            Self::P256 | Self::X25519 => None,
        }
    }

    /// The prime p, big-endian; a curve has none.
    pub fn prime(self) -> Option<&'static [u8]> {
        self.modp().map(|modp| modp.prime.as_slice())
    }

    /// The generator g; a curve's goes without saying.
    pub fn generator(self) -> Option<&'static [u8]> {
        self.modp().map(|_| GENERATOR.as_slice())
    }

    /// The order q = (p - 1) / 2 of the subgroup; a curve's goes without saying.
    pub fn order(self) -> Option<Vec<u8>> {
        let mut carry = 0;
        let halve = |octet: &u8| {
            let half = octet >> 1 | carry;
            carry = octet << 7;
            half
        };
        self.prime().map(|prime| prime.iter().map(halve).collect())
    }

    /// Whether an agreement in this group is strong enough.
    pub fn is_acceptable(self) -> bool {
        Self::ACCEPTABLE.contains(&self)
    }

    /// Octets of a secret exponent: at least twice the strength of the group (RFC 3526 §8).
    fn secret_length(self) -> usize {
        match self {
            Self::Modp16 => 48,
            _ => 32,
        }
    }

    fn curve(self) -> &'static agreement::Algorithm {
        match self {
            Self::X25519 => &agreement::X25519,
            _ => &agreement::ECDH_P256,
        }
    }
}

/// One side's half of an agreement. It can be used many times, by many threads.
pub struct DhKeyPair {
    group: DhGroup,
    secret: Secret,
    public: Vec<u8>,
}

enum Secret {
    Exponent(Zeroizing<Vec<u8>>, &'static Modulus),
    Curve(PrivateKey),
}

impl DhKeyPair {
    /// A fresh one; a group that is too weak is refused.
    pub fn generate(group: DhGroup, entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        if !group.is_acceptable() {
            return Err(CryptoError::WeakGroup(group));
        }
        let mut secret = Zeroizing::new(vec![0; group.secret_length()]);
        loop {
            entropy.fill(&mut secret);
            // Outside the range of the group's order: hardly ever.
            if let Some(pair) = Self::from_secret(group, &secret) {
                return Ok(pair);
            }
        }
    }

    fn from_secret(group: DhGroup, secret: &[u8]) -> Option<Self> {
        if let Some(modp) = group.modp() {
            let mut secret = Zeroizing::new(secret.to_vec());
            // Full length, and even, so that a peer's value outside the subgroup tells it nothing about the secret.
            *secret.first_mut()? |= 0x80;
            *secret.last_mut()? &= 0xfe;
            let public = modp.modulus.power(&GENERATOR, &secret)?.to_vec();
            return Some(Self { group, public, secret: Secret::Exponent(secret, &modp.modulus) });
        }
        let secret = PrivateKey::from_private_key(group.curve(), secret).ok()?;
        let public = secret.compute_public_key().ok()?.as_ref().to_vec();
        Some(Self { group, public, secret: Secret::Curve(secret) })
    }

    /// The group.
    pub fn group(&self) -> DhGroup {
        self.group
    }

    /// The public value: a big-endian number as long as the prime, an uncompressed point (SEC 1), or 32 octets (RFC 7748).
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret with the one whose public value is `theirs` (a number with or without leading zeros, or a point): as long as the
    /// prime, or one coordinate. Values that are not in the group, or that make the secret known to everybody, are refused.
    pub fn agree(&self, theirs: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let refused = CryptoError::PublicValue(self.group);
        match &self.secret {
            Secret::Exponent(exponent, modulus) => {
                let prime = self.group.prime().unwrap_or_default();
                let theirs = without_leading_zeros(theirs);
                if !is_between_one_and_minus_one(theirs, prime) {
                    return Err(refused);
                }
                modulus.power(theirs, exponent).ok_or(refused)
            }
            Secret::Curve(secret) => {
                let theirs = UnparsedPublicKey::new(self.group.curve(), theirs);
                agreement::agree(secret, theirs, (), |shared| Ok(Zeroizing::new(shared.to_vec()))).map_err(|()| refused)
            }
        }
    }
}

/// 1 < `number` < `prime` - 1. Both public, without leading zeros; the prime is odd.
fn is_between_one_and_minus_one(number: &[u8], prime: &[u8]) -> bool {
    let above_one = number.len() > 1 || number.first().is_some_and(|octet| *octet > 1);
    let mut minus_one = prime.to_vec();
    if let Some(last) = minus_one.last_mut() {
        *last &= 0xfe;
    }
    above_one && (number.len() < prime.len() || number.len() == prime.len() && number < minus_one.as_slice())
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl fmt::Debug for DhKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhKeyPair({:?}, ..)", self.group)
    }
}

/// Key pairs used again for a bounded time, as RFC 4556 §3.2.3.1 lets a KDC do where both sides send a nonce.
#[derive(Debug)]
pub struct DhKeyPairs {
    life: Duration,
    pairs: Mutex<Vec<(SystemTime, Arc<DhKeyPair>)>>,
}

impl DhKeyPairs {
    /// None yet; each will be used for `life`.
    pub fn new(life: Duration) -> Self {
        Self { life, pairs: Mutex::default() }
    }

    /// The pair in use for the group, and when its use ends.
    pub fn pair(&self, group: DhGroup, now: SystemTime, entropy: &mut dyn Entropy) -> Result<(SystemTime, Arc<DhKeyPair>), CryptoError> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock set back must not keep a pair alive.
        pairs.retain(|(end, _)| now < *end && *end <= now + self.life);
        if let Some(entry) = pairs.iter().find(|(_, pair)| pair.group == group) {
            return Ok(entry.clone());
        }
        let entry = (now + self.life, Arc::new(DhKeyPair::generate(group, entropy)?));
        pairs.push(entry.clone());
        Ok(entry)
    }
}
