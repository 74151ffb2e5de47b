//! n-fold (RFC 3961 §5.1).

/// Stretches or folds `input` to the length of `out`: copies of it, each rotated 13 bits further to the right, are added in ones' complement
/// in pieces as long as `out`.
pub(super) fn n_fold(input: &[u8], out: &mut [u8]) {
    out.fill(0);
    if input.is_empty() || out.is_empty() {
        return;
    }
    let mut carry = 0;
    // From the least significant octet of the whole replication to the most significant, so that carries move on by themselves.
    for place in (0..least_common_multiple(input.len(), out.len())).rev() {
        add(&mut carry, out, place, replicated_octet(input, place));
    }
    // Ones' complement: what overflows at the front comes back at the end, once more if need be.
    while carry > 0 {
        for place in (0..out.len()).rev() {
            add(&mut carry, out, place, 0);
        }
    }
}

fn add(carry: &mut u32, out: &mut [u8], place: usize, octet: u8) {
    let length = out.len();
    if let Some(sum) = out.get_mut(place % length) {
        *carry += u32::from(*sum) + u32::from(octet);
        let [low, ..] = carry.to_le_bytes();
        *sum = low;
        *carry >>= 8;
    }
}

/// The same for the constants of key derivation, which are at most eight octets long, into a cipher's block.
pub(super) fn fold_into_block(input: &[u8]) -> Option<[u8; 16]> {
    let length = input.len();
    if length == 0 || length > 8 {
        return None;
    }
    let mut octets = [0; 8];
    octets.get_mut(8 - length..)?.copy_from_slice(input);
    let (number, bits) = (u64::from_be_bytes(octets), length * 8);
    let (mut sum, mut piece, mut filled) = (0u128, 0u128, 0);
    for copy in 0..least_common_multiple(length, 16) / length {
        let right = 13 * copy % bits;
        let rotated = u128::from(number >> right) | u128::from(number) << (bits - right) & ((1 << bits) - 1);
        // What does not fit into this piece begins the next one.
        let over = (filled + bits).saturating_sub(128);
        piece = piece << (bits - over) | rotated >> over;
        filled += bits;
        if filled >= 128 {
            let (total, carried) = sum.overflowing_add(piece);
            // Ones' complement: a total that overflowed has room for the bit that comes back.
            sum = total + u128::from(carried);
            (piece, filled) = (rotated & ((1 << over) - 1), over);
        }
    }
    Some(sum.to_be_bytes())
}

/// Octet `place` of the input repeated, where copy number n is rotated right by 13n bits.
fn replicated_octet(input: &[u8], place: usize) -> u8 {
    let bits = input.len() * 8;
    let (copy, within) = (place / input.len(), place % input.len());
    // Rotated right by r: bit i comes from bit i - r.
    let first = (within * 8 + bits - (13 * copy) % bits) % bits;
    let octet = |index: usize| u16::from(input.get(index % input.len()).copied().unwrap_or(0));
    let pair = octet(first / 8) << 8 | octet(first / 8 + 1);
    let [_, wanted] = (pair >> (8 - first % 8)).to_be_bytes();
    wanted
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3961 appendix A.1.
    #[test]
    fn n_fold_gives_the_values_of_rfc_3961() {
        for (input, folded) in [
            ("012345", "be072631276b1955"),
            ("password", "78a07b6caf85fa"),
            ("Rough Consensus, and Running Code", "bb6ed30870b7f0e0"),
            ("password", "59e4a8ca7c0385c3c37b3f6d2000247cb6e6bd5b3e"),
            ("MASSACHVSETTS INSTITVTE OF TECHNOLOGY", "db3b0d8f0b061e603282b308a50841229ad798fab9540c1b"),
            ("Q", "518a54a215a8452a518a54a215a8452a518a54a215"),
            ("ba", "fb25d531ae8974499f52fd92ea9857c4ba24cf297e"),
            ("kerberos", "6b65726265726f73"),
            ("kerberos", "6b65726265726f737b9b5b2b93132b93"),
            ("kerberos", "8372c236344e5f1550cd0747e15d62ca7a5a3bcea4"),
            ("kerberos", "6b65726265726f737b9b5b2b93132b935c9bdcdad95c9899c4cae4dee6d6cae4"),
        ] {
            let mut out = vec![0; folded.len() / 2];
            n_fold(input.as_bytes(), &mut out);
            assert_eq!(data_encoding::HEXLOWER.encode(&out), folded, "{input}");
        }
    }

    #[test]
    fn the_short_way_gives_the_same() {
        for length in 0..=9_usize {
            for first in [0, 1, 0x55, 0x7f, 0x80, 0xfe, 0xff] {
                let input: Vec<u8> = (0..length).map(|place| first ^ u8::try_from(place * 37 % 256).unwrap()).collect();
                let mut folded = [0; 16];
                n_fold(&input, &mut folded);
                let expected = (1..=8).contains(&length).then_some(folded);
                assert_eq!(fold_into_block(&input), expected, "{input:02x?}");
                let all = vec![first; length];
                n_fold(&all, &mut folded);
                assert_eq!(fold_into_block(&all), (1..=8).contains(&length).then_some(folded), "{all:02x?}");
            }
        }
    }
}
