//! PRF+ and KRB-FX-CF2 (RFC 6113 §5.1).

use zeroize::Zeroizing;

use super::{CryptoError, Key};

impl Key {
    /// The pseudo-random function of the encryption type: 16, 32 or 48 octets.
    pub fn prf(&self, input: &[u8]) -> Zeroizing<Vec<u8>> {
        self.derived().prf(input)
    }

    /// PRF+: as many pseudo-random octets as are asked for, up to 255 outputs of the PRF.
    pub fn prf_plus(&self, input: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut out = Zeroizing::new(Vec::with_capacity(length + 48));
        let mut counted = [&[0], input].concat();
        while out.len() < length {
            let count = counted.first_mut().expect("it begins with the counter");
            *count = count.checked_add(1).ok_or(CryptoError::PrfLength(length))?;
            out.extend_from_slice(&self.prf(&counted));
        }
        out.truncate(length);
        Ok(out)
    }

    /// KRB-FX-CF2: a key of `first`'s type that depends on both keys.
    pub fn combine(first: &Self, second: &Self, pepper1: &[u8], pepper2: &[u8]) -> Self {
        const SHORT: &str = "a key is shorter than 255 outputs of a PRF";
        let length = first.etype().key_length();
        let mut octets = first.prf_plus(pepper1, length).expect(SHORT);
        for (octet, other) in octets.iter_mut().zip(second.prf_plus(pepper2, length).expect(SHORT).iter()) {
            *octet ^= other;
        }
        Self::new(first.etype(), &octets).expect("that many octets were asked for")
    }
}
