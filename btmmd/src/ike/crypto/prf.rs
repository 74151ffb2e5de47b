//! PRF_HMAC_SHA2_256 and prf+ (RFC 7296 §2.13).

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Octets of the output, and the preferred key length.
pub const PRF_LEN: usize = 32;

/// A value of the PRF, wiped when dropped.
pub type PrfOutput = Zeroizing<[u8; PRF_LEN]>;

/// prf(key, parts joined).
pub fn prf(key: &[u8], parts: &[&[u8]]) -> PrfOutput {
    with_key(&hmac::Key::new(hmac::HMAC_SHA256, key), parts)
}

/// The first `length` octets of prf+(key, seed joined). At most 255 blocks, which no caller comes near.
pub fn prf_plus(key: &[u8], seed: &[&[u8]], length: usize) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut stream = Zeroizing::new(Vec::with_capacity(length + PRF_LEN));
    let mut last: Zeroizing<Vec<u8>> = Zeroizing::default();
    for counter in 1..=u8::MAX {
        if stream.len() >= length {
            break;
        }
        let mut parts = vec![last.as_slice()];
        parts.extend_from_slice(seed);
        let counter = [counter];
        parts.push(&counter);
        let block = with_key(&key, &parts);
        stream.extend_from_slice(block.as_slice());
        last = Zeroizing::new(block.to_vec());
    }
    stream.truncate(length);
    stream
}

fn with_key(key: &hmac::Key, parts: &[&[u8]]) -> PrfOutput {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    let mut output = Zeroizing::new([0; PRF_LEN]);
    output.copy_from_slice(context.sign().as_ref());
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3 and §4.7 (test cases 2 and 6).
    #[test]
    fn prf_is_hmac_sha256_of_rfc_4231() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        assert_eq!(
            prf(b"Jefe", &[b"what do ya ", b"want for nothing?"]).as_slice(),
            hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
        assert_eq!(
            prf(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]).as_slice(),
            hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        );
    }

    #[test]
    fn prf_plus_feeds_each_block_into_the_next() {
        let first = prf(b"key", &[b"seed", &[1]]);
        let second = prf(b"key", &[first.as_slice(), b"seed", &[2]]);
        let third = prf(b"key", &[second.as_slice(), b"seed", &[3]]);
        let expected = [first.as_slice(), second.as_slice(), third.as_slice()].concat();
        assert_eq!(prf_plus(b"key", &[b"se", b"ed"], 70).as_slice(), &expected[..70]);
        assert_eq!(prf_plus(b"key", &[b"seed"], 32).as_slice(), first.as_slice());
        assert!(prf_plus(b"key", &[b"seed"], 0).is_empty());
    }
}
