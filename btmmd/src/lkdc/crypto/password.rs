//! string-to-key (RFC 3962 §4, RFC 8009 §4).

use hmac::Hmac;
use sha1::Sha1;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

use super::CryptoError;
use super::cts::OneWay;
use super::derive::{KeyOctets, dk, kdf_hmac_sha2};
use super::etype::{Etype, Family};
use super::mac::Mac;

/// The most rounds we are willing to do for a peer: some seconds of work.
pub const MAX_ITERATIONS: u32 = 1 << 20;

const ANY: &str = "HMAC takes keys of any length";

const CONSTANT: &[u8] = b"kerberos";

/// Only the first `key_length` octets count.
pub(super) fn string_to_key(etype: Etype, password: &[u8], salt: &[u8], iterations: u32) -> Result<KeyOctets, CryptoError> {
    if iterations == 0 || iterations > MAX_ITERATIONS {
        return Err(CryptoError::Iterations(iterations));
    }
    let length = etype.key_length();
    let mut stretched = KeyOctets::default();
    let stretched = &mut stretched[..length];
    match etype.family() {
        Family::Simplified => {
            pbkdf2::pbkdf2::<Hmac<Sha1>>(password, salt, iterations, stretched).expect(ANY);
            Ok(dk(etype, &OneWay::new(etype, stretched), CONSTANT))
        }
        Family::Sha2 => {
            let salt = Zeroizing::new([etype.name().as_bytes(), &[0], salt].concat());
            match length {
                16 => pbkdf2::pbkdf2::<Hmac<Sha256>>(password, &salt, iterations, stretched).expect(ANY),
                _ => pbkdf2::pbkdf2::<Hmac<Sha384>>(password, &salt, iterations, stretched).expect(ANY),
            }
            let bits = u32::try_from(length * 8).expect("keys are short");
            let mut key = KeyOctets::default();
            key[..length].copy_from_slice(&kdf_hmac_sha2(&Mac::new(etype, stretched), &[CONSTANT], None, bits)[..length]);
            Ok(key)
        }
    }
}
