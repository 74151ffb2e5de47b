//! Key exchange: X25519 (RFC 8031) and P-256 (RFC 5903).

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::ike::codec::number::id;

/// Key-exchange groups (IANA IKEv2 transform type 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Curve25519, group 31.
    X25519,
    /// 256-bit random ECP group, group 19.
    P256,
}

impl Group {
    /// The registry's number.
    pub fn number(self) -> u16 {
        match self {
            Self::X25519 => id::KE_X25519,
            Self::P256 => id::KE_P256,
        }
    }

    /// The group of this number, if we know it.
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::X25519, Self::P256].into_iter().find(|group| group.number() == number)
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519 => "X25519",
            Self::P256 => "ECP_256",
        }
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::X25519 => &agreement::X25519,
            Self::P256 => &agreement::ECDH_P256,
        }
    }
}

/// Our half of a key exchange.
pub struct KeyShare {
    group: Group,
    private: PrivateKey,
    public: Vec<u8>,
}

/// SEC 1's mark of an uncompressed point, which IKE leaves out.
const UNCOMPRESSED: u8 = 4;

impl KeyShare {
    /// A fresh one.
    pub fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        loop {
            let mut secret = Zeroizing::new([0; 32]);
            entropy.fill(secret.as_mut_slice());
            // A P-256 scalar must be below the group's order: one in 2^32 is not.
            if let Some(share) = Self::from_secret(group, &secret) {
                return share;
            }
        }
    }

    fn from_secret(group: Group, secret: &[u8; 32]) -> Option<Self> {
        let private = PrivateKey::from_private_key(group.algorithm(), secret).ok()?;
        let public = private.compute_public_key().ok()?;
        let public = match group {
            Group::X25519 => public.as_ref(),
            Group::P256 => public.as_ref().strip_prefix(&[UNCOMPRESSED])?,
        };
        Some(Self { group, public: public.to_vec(), private })
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value as the KE payload carries it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret; `None` when the peer's value is no point of the group, or yields zero (RFC 8031 §3).
    pub fn agree(&self, theirs: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let point = match self.group {
            Group::X25519 => theirs.to_vec(),
            Group::P256 => [&[UNCOMPRESSED], theirs].concat(),
        };
        let theirs = UnparsedPublicKey::new(self.group.algorithm(), point);
        agreement::agree(&self.private, theirs, (), |secret| Ok(Zeroizing::new(secret.to_vec()))).ok()
    }
}

impl std::fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyShare({})", self.group.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    /// RFC 7748 §6.1.
    #[test]
    fn x25519_agrees_with_rfc_7748() {
        let hex = |text: &str| -> [u8; 32] { data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap() };
        let alice = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let (alice, bob) = (KeyShare::from_secret(Group::X25519, &alice).unwrap(), KeyShare::from_secret(Group::X25519, &bob).unwrap());
        assert_eq!(alice.public(), hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        let secret = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(alice.agree(bob.public()).unwrap().as_slice(), secret);
        assert_eq!(bob.agree(alice.public()).unwrap().as_slice(), secret);
    }

    #[test]
    fn both_halves_agree_in_every_group_and_garbage_is_refused() {
        for group in [Group::X25519, Group::P256] {
            let (ours, theirs) = (KeyShare::generate(group, &mut SystemEntropy), KeyShare::generate(group, &mut SystemEntropy));
            assert_eq!(ours.agree(theirs.public()).unwrap(), theirs.agree(ours.public()).unwrap());
            assert!(ours.agree(&theirs.public()[1..]).is_none());
            assert!(ours.agree(&[0; 64]).is_none() && ours.agree(&[0; 32]).is_none() && ours.agree(&[]).is_none());
            assert_eq!(Group::from_number(group.number()), Some(group));
        }
    }
}
