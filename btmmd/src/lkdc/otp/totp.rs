//! One-time codes from the time of day (RFC 6238) with HMAC-SHA-1, as every authenticator makes them.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::lkdc::asn1::time::seconds;
use crate::lkdc::principals::TotpSecret;

/// How many steps a clock may be off, either way.
pub const WINDOW: u64 = 1;

/// Which step of [`TotpSecret::PERIOD`] seconds this is.
pub fn step(now: SystemTime) -> u64 {
    seconds(now) / TotpSecret::PERIOD
}

/// The code of one step (RFC 4226 §5.3), of up to nine digits.
pub fn code(secret: &[u8], step: u64, digits: u32) -> Zeroizing<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(&step.to_be_bytes());
    let hash: Zeroizing<[u8; 20]> = Zeroizing::new(mac.finalize().into_bytes().into());
    let offset = usize::from(hash[19] & 0xf);
    let word = hash[offset..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word) & 0x7fff_ffff);
    let number = word % 10_u32.pow(digits.min(9));
    Zeroizing::new(format!("{number:0width$}", width = usize::try_from(digits).unwrap_or(9)))
}

/// The step within the window around `now` whose code this is. All are compared, each in constant time.
pub fn matching_step(secret: &TotpSecret, given: &[u8], now: SystemTime) -> Option<u64> {
    let current = step(now);
    let mut found = 0;
    for step in current.saturating_sub(WINDOW)..=current.saturating_add(WINDOW) {
        let code = code(secret.bytes(), step, TotpSecret::DIGITS);
        // Step 0 was over half a minute after 1970 began: it stands for none.
        found.conditional_assign(&step, code.as_bytes().ct_eq(given));
    }
    (found != 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_codes_of_rfc_6238_appendix_b_are_made() {
        let vectors = [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ];
        for (time, expected) in vectors {
            assert_eq!(code(SECRET, step(at(time)), 8).as_str(), expected, "{time}");
        }
    }

    #[test]
    fn the_codes_of_rfc_4226_appendix_d_are_made() {
        let vectors = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (count, expected) in (0..).zip(vectors) {
            assert_eq!(code(SECRET, count, 6).as_str(), expected, "{count}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_not_two() {
        let secret = TotpSecret::from_bytes(SECRET);
        let made = step(at(1_800_000_000));
        let code = code(SECRET, made, TotpSecret::DIGITS);
        let good = |seconds| matching_step(&secret, code.as_bytes(), at(seconds));
        assert_eq!([1_799_999_970, 1_800_000_000, 1_800_000_059].map(good), [Some(made); 3]);
        assert_eq!([1_799_999_969, 1_800_000_060].map(good), [None; 2]);
    }

    proptest! {
        #[test]
        fn what_is_no_code_matches_no_step(given: Vec<u8>, time in 60..4_000_000_000_u64) {
            let secret = TotpSecret::from_bytes(SECRET);
            let mut near = (step(at(time)) - 1)..=(step(at(time)) + 1);
            let right = near.any(|step| code(SECRET, step, 6).as_bytes() == given);
            prop_assert_eq!(matching_step(&secret, &given, at(time)).is_some(), right);
        }
    }
}
