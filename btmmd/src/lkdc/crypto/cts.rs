//! AES in CBC mode with ciphertext stealing (CBC-CS3, as RFC 3962 §5 wants it) and an initial vector of zero.

use aes::{Aes128, Aes128Enc, Aes256, Aes256Enc};
use cbc::cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, consts::U16};

use super::etype::Etype;

pub(super) const BLOCK: usize = 16;

type Block = Array<u8, U16>;

/// An AES key expanded for single blocks, one way only: half the work where nothing is ever decrypted. It wipes itself.
pub(super) enum OneWay {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

impl OneWay {
    /// `key` is as long as keys of `etype` are.
    pub(super) fn new(etype: Etype, key: &[u8]) -> Self {
        match etype.key_length() {
            16 => Self::Aes128(Aes128Enc::new_from_slice(key).expect("the length was checked")),
            _ => Self::Aes256(Aes256Enc::new_from_slice(key).expect("the length was checked")),
        }
    }

    /// A single block, without chaining.
    pub(super) fn encrypt_block(&self, block: &mut [u8; BLOCK]) {
        match self {
            Self::Aes128(aes) => aes.encrypt_block(block.into()),
            Self::Aes256(aes) => aes.encrypt_block(block.into()),
        }
    }
}

/// An expanded AES key. It wipes itself.
pub(super) enum Schedule {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl Schedule {
    /// `key` is as long as keys of `etype` are.
    pub(super) fn new(etype: Etype, key: &[u8]) -> Self {
        match etype.key_length() {
            16 => Self::Aes128(Aes128::new_from_slice(key).expect("the length was checked")),
            _ => Self::Aes256(Aes256::new_from_slice(key).expect("the length was checked")),
        }
    }

    /// In place. `data` is at least one block long.
    pub(super) fn encrypt(&self, data: &mut [u8]) {
        let Some(parts) = Parts::of(data.len()) else { return self.encrypt_chain(data) };
        // The last block is filled up with zeros, and takes the rest of its ciphertext's place in the message from the one before.
        let mut last = [0; BLOCK];
        let (whole, tail) = data.split_at_mut(parts.whole);
        self.encrypt_chain(whole);
        let before = &mut whole[parts.whole - BLOCK..];
        for ((mixed, plain), before) in last.iter_mut().zip(tail.iter().copied().chain(std::iter::repeat(0))).zip(before.iter()) {
            *mixed = plain ^ before;
        }
        self.encrypt_chain(&mut last);
        tail.copy_from_slice(&before[..tail.len()]);
        before.copy_from_slice(&last);
    }

    /// In place. `data` is at least one block long.
    pub(super) fn decrypt(&self, data: &mut [u8]) {
        let Some(parts) = Parts::of(data.len()) else { return self.decrypt_chain(data, &[0; BLOCK]) };
        let (whole, tail) = data.split_at_mut(parts.whole);
        let (front, last) = whole.split_at_mut(parts.whole - BLOCK);
        let previous: [u8; BLOCK] = front.last_chunk().copied().unwrap_or_default();
        // Decrypted without chaining, the last block shows what was stolen from the one before it.
        self.decrypt_chain(last, &[0; BLOCK]);
        let mut stolen: [u8; BLOCK] = last.try_into().expect("a block was split off");
        for (plain, cipher) in stolen.iter_mut().zip(tail) {
            std::mem::swap(plain, cipher);
            *cipher ^= *plain;
        }
        last.copy_from_slice(&stolen);
        self.decrypt_chain(last, &previous);
        self.decrypt_chain(front, &[0; BLOCK]);
    }

    fn encrypt_chain(&self, data: &mut [u8]) {
        let (blocks, _) = Block::slice_as_chunks_mut(data);
        match self {
            Self::Aes128(aes) => cbc::Encryptor::inner_iv_init(aes, &Block::default()).encrypt_blocks(blocks),
            Self::Aes256(aes) => cbc::Encryptor::inner_iv_init(aes, &Block::default()).encrypt_blocks(blocks),
        }
    }

    fn decrypt_chain(&self, data: &mut [u8], iv: &[u8; BLOCK]) {
        let (blocks, _) = Block::slice_as_chunks_mut(data);
        match self {
            Self::Aes128(aes) => cbc::Decryptor::inner_iv_init(aes, iv.into()).decrypt_blocks(blocks),
            Self::Aes256(aes) => cbc::Decryptor::inner_iv_init(aes, iv.into()).decrypt_blocks(blocks),
        }
    }
}

/// How a message of more than one block is cut: all blocks but the last, which may be incomplete.
struct Parts {
    whole: usize,
}

impl Parts {
    /// `None` for a single block, from which nothing is stolen.
    fn of(length: usize) -> Option<Self> {
        let whole = length.checked_sub(1)? / BLOCK * BLOCK;
        (whole > 0).then_some(Self { whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3962 appendix B, with the initial vector of zero that all of them use.
    #[test]
    fn stealing_gives_the_values_of_rfc_3962() {
        let aes = Schedule::new(Etype::Aes128CtsHmacSha1_96, b"chicken teriyaki");
        let plain = b"I would like the General Gau's Chicken, please, and wonton soup.";
        for (length, cipher) in [
            (17, "c6353568f2bf8cb4d8a580362da7ff7f97"),
            (31, "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5"),
            (32, "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584"),
            (47, "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5"),
            (48, "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8"),
            (
                64,
                "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8\
                 4807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8",
            ),
        ] {
            let mut data = plain[..length].to_vec();
            aes.encrypt(&mut data);
            assert_eq!(data_encoding::HEXLOWER.encode(&data), cipher);
            aes.decrypt(&mut data);
            assert_eq!(data, plain[..length]);
        }
    }
}
