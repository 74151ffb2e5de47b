//! AES-256-GCM-16 protection of SK payloads (RFC 5282).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::wire::Reader;

/// Octets of key material: 32 of key, 4 of salt.
pub const KEY_LEN: usize = 36;
const IV_LEN: usize = 8;
const TAG_LEN: usize = 16;
const PAD_LENGTH_LEN: usize = 1;

/// One direction's cipher. Sealing counts, so that no nonce is ever used twice.
pub struct SkCipher {
    key: LessSafeKey,
    salt: [u8; 4],
    sealed: u64,
}

impl SkCipher {
    /// From 36 octets of key material.
    pub fn new(material: &[u8; KEY_LEN]) -> Self {
        let (key, salt) = material.split_first_chunk::<32>().expect("36 octets hold 32");
        let key = UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key is 32 octets");
        let salt = *salt.first_chunk::<4>().expect("36 octets hold 32 and 4");
        Self { key: LessSafeKey::new(key), salt, sealed: 0 }
    }

    /// Octets that an SK payload's content takes for `plain` octets.
    pub const fn sealed_len(plain: usize) -> usize {
        IV_LEN + plain + PAD_LENGTH_LEN + TAG_LEN
    }

    /// IV, ciphertext of `plain` and its (empty) padding, tag.
    pub fn seal(&mut self, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let iv = self.sealed.to_be_bytes();
        self.sealed += 1;
        let mut content = Vec::with_capacity(Self::sealed_len(plain.len()));
        content.extend_from_slice(&iv);
        content.extend_from_slice(plain);
        content.push(0);
        let (_, body) = content.split_at_mut(IV_LEN);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(associated), body)
            .expect("an IKE message is far below the limit of GCM");
        content.extend_from_slice(tag.as_ref());
        content
    }

    /// What was sealed, without padding; `None` when it is not authentic.
    pub fn open(&self, associated: &[u8], content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut reader = Reader::new(content);
        let iv = reader.array::<IV_LEN>("IV").ok()?;
        let mut body = Zeroizing::new(reader.rest().to_vec());
        let length = self.key.open_in_place(self.nonce(iv), Aad::from(associated), &mut body).ok()?.len();
        body.truncate(length);
        let padding = usize::from(body.pop()?);
        let length = body.len().checked_sub(padding)?;
        body.truncate(length);
        Some(body)
    }

    fn nonce(&self, iv: [u8; IV_LEN]) -> Nonce {
        let mut nonce = [0; 12];
        let (salt, rest) = nonce.split_at_mut(4);
        salt.copy_from_slice(&self.salt);
        rest.copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl std::fmt::Debug for SkCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SkCipher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The GCM specification (McGrew, Viega), test case 16, recast as an SK payload: nonce = salt | IV, the last octet of plaintext is the pad length.
    #[test]
    fn sealing_is_aes_256_gcm_of_the_specification() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308cafebabe");
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let content = hex(concat!(
            "facedbaddecaf888",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b"
        ));
        let cipher = SkCipher::new(key.as_slice().try_into().unwrap());
        // 60 octets of plaintext, the last (0x39) being a pad length of 57: two octets remain.
        assert_eq!(cipher.open(&aad, &content).unwrap().as_slice(), hex("d931"));
        assert!(cipher.open(&aad[1..], &content).is_none());
    }

    #[test]
    fn what_is_sealed_opens_once_and_no_two_ivs_are_equal() {
        let mut cipher = SkCipher::new(&[7; KEY_LEN]);
        let one = cipher.seal(b"aad", b"hello");
        let two = cipher.seal(b"aad", b"hello");
        assert_eq!(one.len(), SkCipher::sealed_len(5));
        assert_ne!(one[..8], two[..8]);
        assert_eq!(cipher.open(b"aad", &one).unwrap().as_slice(), b"hello");
        for at in 0..one.len() {
            let mut bent = one.clone();
            bent[at] ^= 1;
            assert!(cipher.open(b"aad", &bent).is_none());
            assert!(cipher.open(b"aad", &one[..at]).is_none());
        }
    }
}
