//! What a key has encrypted or summed, in the message types that say which kind of key it was.

use rasn_kerberos::{Checksum, EncryptedData, EncryptionKey};
use zeroize::Zeroizing;

use super::FastError;
use crate::entropy::Entropy;
use crate::lkdc::crypto::{Etype, Key};

/// `plain`, encrypted with `key` for `usage`.
pub fn seal(key: &Key, usage: u32, plain: &[u8], entropy: &mut dyn Entropy) -> EncryptedData {
    EncryptedData { etype: key.etype().number(), kvno: None, cipher: key.encrypt(usage, plain, entropy).into() }
}

/// The plaintext of `data`, when it was made with `key` for `usage`.
pub fn open(key: &Key, usage: u32, data: &EncryptedData) -> Result<Zeroizing<Vec<u8>>, FastError> {
    if data.etype != key.etype().number() {
        return Err(FastError::Etype { expected: key.etype(), got: data.etype });
    }
    Ok(key.decrypt(usage, &data.cipher)?)
}

/// The checksum of `data` with `key` for `usage`.
pub fn checksum(key: &Key, usage: u32, data: &[u8]) -> Checksum {
    Checksum { r#type: key.etype().checksum_type(), checksum: key.checksum(usage, data).into() }
}

/// Whether `sum` is the checksum of `data` with `key` for `usage`. Any type but the key's own, so also an unkeyed one, is refused.
pub fn verify(key: &Key, usage: u32, data: &[u8], sum: &Checksum) -> Result<(), FastError> {
    if sum.r#type != key.etype().checksum_type() {
        return Err(FastError::ChecksumType(sum.r#type));
    }
    Ok(key.verify_checksum(usage, data, &sum.checksum)?)
}

/// The key in a message.
pub fn key_of_message(key: &EncryptionKey) -> Result<Key, FastError> {
    let etype = Etype::from_number(key.r#type).ok_or(FastError::UnknownEtype(key.r#type))?;
    Ok(Key::new(etype, &key.value)?)
}

/// The key for a message.
pub fn key_to_message(key: &Key) -> EncryptionKey {
    EncryptionKey { r#type: key.etype().number(), value: key.bytes().to_vec().into() }
}
