//! Diffie-Hellman and what PKINIT makes of it.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::super::dh::{DhGroup, DhKeyPair, DhKeyPairs};
use super::super::mod_exp::Modulus;
use super::super::pkinit_key::{KdfContext, PkinitKdf, octetstring2key};
use super::super::{CryptoError, Etype};
use super::hex;
use crate::entropy::SystemEntropy;

/// RFC 4556 appendix B.
#[test]
fn octetstring2key_gives_the_values_of_rfc_4556() {
    let counted: Vec<u8> = (0..=16).cycle().take(128).collect();
    for (input, expected) in [
        (vec![0; 256], "5ee50d675c809fe59e4a7762c54b65837547eafb159bd8cdc75ffca5911e4c41"),
        (vec![0; 128], "acf7707c08973ddfdb27cd361442ccfba355c8884cb472f37da636d07d56787e"),
        (counted.clone(), "c442da585fcb80e43b47946f254093e37329d99001380db78371db3acf5c797e"),
        (counted[..77].to_vec(), "0053953b84c896f4eb385c3f2e751c4a590ed6ffadca6ff64f47ebeb8d780ffc"),
    ] {
        let (front, back) = input.split_at(40);
        assert_eq!(octetstring2key(Etype::Aes256CtsHmacSha1_96, &[front, back]).bytes(), hex(expected));
        assert_eq!(octetstring2key(Etype::Aes128CtsHmacSha1_96, &[&input]).bytes(), &hex(expected)[..16]);
    }
}

/// RFC 8636 §8: lha@SU.SE and krbtgt/SU.SE@SU.SE.
#[test]
fn derived_reply_keys_are_those_of_rfc_8636() {
    let client = hex("301ba0071b0553552e5345a110300ea003020101a10730051b036c6861");
    let service = hex("3025a0071b0553552e5345a11a3018a003020101a111300f1b066b72627467741b0553552e5345");
    let context = KdfContext { client: &client, service: &service, as_req: &[0xaa; 10], pk_as_rep: &[0xbb; 9] };
    for (kdf, expected) in [
        (PkinitKdf::Sha1, "e6ab38c9413e035bb079201ed0b6b73d8d49a814a737c04ee6649614206f73ad"),
        (PkinitKdf::Sha256, "77ef4e48c420ae3fec75109d7981697eed5d295c90c62564f7bfd101fa9bc1d5"),
    ] {
        assert_eq!(kdf.derive(&[0; 256], Etype::Aes256CtsHmacSha1_96, &context).bytes(), hex(expected));
    }
    // The RFC shows SHA-512 with a key for triple DES, which spreads 168 bits over 24 octets.
    let octets = PkinitKdf::Sha512.expand(&[0; 256], 16, 21, &context);
    let key: Vec<u8> = octets.chunks(7).flat_map(des_key).collect();
    assert_eq!(key, hex("d3c78a79d65213efe9a826f75dfb01f72362fb16fb01dad6"));
    assert_eq!(PkinitKdf::from_arcs(&[1, 3, 6, 1, 5, 2, 3, 6, 4]), Some(PkinitKdf::Sha384));
    assert_eq!(PkinitKdf::from_arcs(&[1, 3, 6, 1, 5, 2, 3, 6, 5]), None);
}

/// RFC 3961 §6.3.1: the low bits make an octet of their own, and all get odd parity.
fn des_key(seven: &[u8]) -> [u8; 8] {
    let low = (1..).zip(seven).fold(0, |low, (place, octet)| low | (octet & 1) << place);
    std::array::from_fn(|place| {
        let octet = seven.get(place).unwrap_or(&low) & 0xfe;
        octet | u8::from(octet.count_ones() % 2 == 0)
    })
}

#[test]
fn both_sides_agree_in_every_acceptable_group() {
    for group in DhGroup::ACCEPTABLE {
        let (ours, theirs) =
            (DhKeyPair::generate(group, &mut SystemEntropy).unwrap(), DhKeyPair::generate(group, &mut SystemEntropy).unwrap());
        let shared = ours.agree(theirs.public()).unwrap();
        assert_eq!(shared, theirs.agree(ours.public()).unwrap());
        assert_eq!(shared.len(), group.prime().map_or(32, <[u8]>::len));
        assert_ne!(ours.public(), theirs.public());
    }
}

#[test]
fn numbers_may_come_with_leading_zeros_or_without() {
    let pair = DhKeyPair::generate(DhGroup::Modp14, &mut SystemEntropy).unwrap();
    let plain = pair.agree(&[3]).unwrap();
    assert_eq!(plain, pair.agree(&[0, 0, 3]).unwrap());
    assert_eq!(plain.len(), 256);
}

#[test]
fn values_that_tell_the_secret_are_refused() {
    for group in [DhGroup::Modp14, DhGroup::Modp16] {
        let pair = DhKeyPair::generate(group, &mut SystemEntropy).unwrap();
        let prime = group.prime().unwrap();
        let (mut minus_one, mut minus_two) = (prime.to_vec(), prime.to_vec());
        *minus_one.last_mut().unwrap() -= 1;
        *minus_two.last_mut().unwrap() -= 2;
        for bad in [&[][..], &[0], &[1], &minus_one, prime, &[&[1], prime].concat(), &[0xff; 1024]] {
            assert_eq!(pair.agree(bad), Err(CryptoError::PublicValue(group)), "{bad:02x?}");
        }
        assert!(pair.agree(&minus_two).is_ok());
    }
    for (group, bad) in
        [(DhGroup::X25519, [0; 32].as_slice()), (DhGroup::P256, &[4; 65]), (DhGroup::P256, &[0]), (DhGroup::X25519, &[9; 31])]
    {
        let pair = DhKeyPair::generate(group, &mut SystemEntropy).unwrap();
        assert_eq!(pair.agree(bad), Err(CryptoError::PublicValue(group)));
    }
}

#[test]
fn groups_are_known_by_their_numbers_and_the_short_one_is_refused() {
    for group in [DhGroup::Modp2, DhGroup::Modp14, DhGroup::Modp16] {
        let (prime, generator) = (group.prime().unwrap(), group.generator().unwrap());
        assert_eq!(DhGroup::from_parameters(&[&[0], prime].concat(), generator), Some(group));
        assert_eq!(DhGroup::from_parameters(prime, &[5]), None);
        assert_eq!(DhGroup::from_parameters(&prime[1..], generator), None);
        // p = 2q + 1.
        let order = num(&group.order().unwrap());
        assert_eq!(order.wrapping_shl(1).wrapping_add(&crypto_bigint::U4096::ONE), num(prime));
    }
    assert_eq!(DhKeyPair::generate(DhGroup::Modp2, &mut SystemEntropy).unwrap_err(), CryptoError::WeakGroup(DhGroup::Modp2));
}

/// 2^q = 1 and 3^(p-1) = 1 would not hold if a digit were wrong.
#[test]
fn the_primes_are_primes_of_which_two_generates_the_subgroup() {
    for group in [DhGroup::Modp2, DhGroup::Modp14, DhGroup::Modp16] {
        let modulus = Modulus::new(group.prime().unwrap());
        let order = group.order().unwrap();
        let one = [vec![0; order.len() - 1], vec![1]].concat();
        assert_eq!(modulus.power(&[2], &order).unwrap().as_slice(), one);
        let mut minus_one = group.prime().unwrap().to_vec();
        *minus_one.last_mut().unwrap() -= 1;
        assert_eq!(modulus.power(&[3], &minus_one).unwrap().as_slice(), one);
    }
}

fn num(octets: &[u8]) -> crypto_bigint::U4096 {
    let mut wide = [0; 512];
    wide[512 - octets.len()..].copy_from_slice(octets);
    crypto_bigint::U4096::from_be_slice(&wide)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn powers_are_those_of_another_implementation(base in prop::collection::vec(any::<u8>(), 1..=256), exponent in any::<[u8; 32]>()) {
        use crypto_bigint::{Odd, U256, U2048, modular::{FixedMontyForm, FixedMontyParams}};
        let prime = DhGroup::Modp14.prime().unwrap();
        let mut wide = [0; 256];
        wide[256 - base.len()..].copy_from_slice(&base);
        prop_assume!(wide.as_slice() < prime);
        let params = FixedMontyParams::new(Odd::new(U2048::from_be_slice(prime)).unwrap());
        let expected = FixedMontyForm::new(&U2048::from_be_slice(&wide), &params).pow(&U256::from_be_slice(&exponent)).retrieve();
        let ours = Modulus::new(prime).power(&base, &exponent).unwrap();
        prop_assert_eq!(U2048::from_be_slice(&ours), expected);
    }
}

#[test]
fn a_key_pair_is_used_again_until_its_time_is_over() {
    let (life, start) = (Duration::from_secs(300), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let pairs = DhKeyPairs::new(life);
    let at = |time| pairs.pair(DhGroup::X25519, time, &mut SystemEntropy).unwrap();
    let (end, first) = at(start);
    assert_eq!(end, start + life);
    assert_eq!(at(start + life / 2).1.public(), first.public());
    let (_, second) = at(start + life);
    assert_ne!(second.public(), first.public());
    assert_ne!(at(start).1.public(), second.public(), "a clock set back keeps no pair alive");
    assert!(pairs.pair(DhGroup::Modp2, start, &mut SystemEntropy).is_err());
}
