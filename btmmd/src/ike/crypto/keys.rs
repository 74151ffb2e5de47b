//! SKEYSEED, the keys of an IKE SA, and KEYMAT of its children (RFC 7296 §2.14, §2.17, §2.18).

use zeroize::Zeroizing;

use super::aead::{KEY_LEN, SkCipher};
use super::prf::{PRF_LEN, PrfOutput, prf, prf_plus};
use crate::esp::EspKey;

/// What an IKE SA is keyed with. Ciphers are named by the original initiator (i) and responder (r).
pub struct IkeKeys {
    /// Seeds children and successors.
    pub d: PrfOutput,
    /// Protects what the initiator sends.
    pub ei: SkCipher,
    /// Protects what the responder sends.
    pub er: SkCipher,
    /// Covers the initiator's identity in AUTH.
    pub pi: PrfOutput,
    /// Covers the responder's identity in AUTH.
    pub pr: PrfOutput,
}

/// The public inputs of a derivation.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged<'a> {
    /// Initiator's nonce.
    pub ni: &'a [u8],
    /// Responder's nonce.
    pub nr: &'a [u8],
    /// Initiator's SPI.
    pub spi_i: u64,
    /// Responder's SPI.
    pub spi_r: u64,
}

impl IkeKeys {
    /// From IKE_SA_INIT.
    pub fn initial(shared: &[u8], exchanged: &Exchanged<'_>) -> Self {
        let nonces = [exchanged.ni, exchanged.nr].concat();
        Self::expand(&prf(&nonces, &[shared]), exchanged)
    }

    /// From CREATE_CHILD_SA that rekeys the SA whose SK_d is `old_d`.
    pub fn successor(old_d: &PrfOutput, shared: &[u8], exchanged: &Exchanged<'_>) -> Self {
        Self::expand(&prf(old_d.as_slice(), &[shared, exchanged.ni, exchanged.nr]), exchanged)
    }

    fn expand(skeyseed: &PrfOutput, exchanged: &Exchanged<'_>) -> Self {
        let (spi_i, spi_r) = (exchanged.spi_i.to_be_bytes(), exchanged.spi_r.to_be_bytes());
        let seed = [exchanged.ni, exchanged.nr, &spi_i, &spi_r];
        let stream = prf_plus(skeyseed.as_slice(), &seed, 3 * PRF_LEN + 2 * KEY_LEN);
        let mut rest = stream.as_slice();
        // The AEAD needs no SK_ai and SK_ar.
        let d = take(&mut rest);
        let (ei, er) = (take::<KEY_LEN>(&mut rest), take::<KEY_LEN>(&mut rest));
        Self { d, ei: SkCipher::new(&ei), er: SkCipher::new(&er), pi: take(&mut rest), pr: take(&mut rest) }
    }
}

impl std::fmt::Debug for IkeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IkeKeys(..)")
    }
}

/// Keys of a child: what the initiator of the exchange sends with, then what its responder sends with. `shared` is empty without a new key exchange.
pub fn child_keys(d: &PrfOutput, shared: &[u8], ni: &[u8], nr: &[u8]) -> (EspKey, EspKey) {
    let stream = prf_plus(d.as_slice(), &[shared, ni, nr], 2 * KEY_LEN);
    let mut rest = stream.as_slice();
    (EspKey(take(&mut rest)), EspKey(take(&mut rest)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Zeroizing<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().expect("prf+ was asked for the sum of all parts");
    *rest = tail;
    Zeroizing::new(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// Computed independently with Python's hmac module from RFC 7296 §2.14 and §2.17.
    #[test]
    fn keys_are_cut_from_prf_plus_in_the_order_of_the_rfc() {
        let exchanged = Exchanged { ni: &[1; 32], nr: &[2; 32], spi_i: 0x0102_0304_0506_0708, spi_r: 0x1112_1314_1516_1718 };
        let mut keys = IkeKeys::initial(&[9; 32], &exchanged);
        assert_eq!(keys.d.as_slice(), hex("c21a12f1c72d8d14bf692633f39a427da48287419dd546ca9f66e059850f69e9"));
        assert_eq!(keys.pi.as_slice(), hex("5eb82180f46c9a65debfeb705ef11d1ea706ff55033f09da6fe7905c682c5409"));
        assert_eq!(keys.pr.as_slice(), hex("431276c101d239c555a0604f14f16195f4c215e2ee73823ed85f58462920d75d"));
        let mut ei =
            SkCipher::new(hex("bcb9d6090371719ef9d2cc74b2019a4bfc37efb29767cf7125239d04dee91432f9fc0dac").as_slice().try_into().unwrap());
        let mut er =
            SkCipher::new(hex("4be0b4a007e5f14c38a49fa05967f42ebeaf10d48d929b080e39e38ac3a62495051b3396").as_slice().try_into().unwrap());
        assert_eq!(keys.ei.seal(b"a", b"b"), ei.seal(b"a", b"b"));
        assert_eq!(keys.er.seal(b"a", b"b"), er.seal(b"a", b"b"));
        let (to_responder, to_initiator) = child_keys(&keys.d, &[], &[1; 32], &[2; 32]);
        assert_eq!(to_responder.0.as_slice(), hex("3f365a3956d7a82d668537cb9eddb93de3e426ad8c680a84793fa13f51b29f932ea46f28"));
        assert_eq!(to_initiator.0.as_slice(), hex("237de5bf17a817e8170d723371992b34c2f2389c021d7cd0589c7d09cf327d6fc717dbbb"));
        let successor = IkeKeys::successor(&keys.d, &[8; 32], &exchanged);
        assert_eq!(successor.d.as_slice(), hex("377876de099a5864a60d48d01c02ba1f5943d7c7f48dcdf1741c0fad515fe9bb"));
    }
}
