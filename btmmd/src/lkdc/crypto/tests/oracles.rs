//! kerbcore and picky-krb as judges: what one side makes, the other reads.

use kerbcore::keys::{Enctype, KerberosKey};
use picky_krb::crypto::CipherSuite;
use proptest::prelude::*;

use super::super::{Etype, Key};
use crate::entropy::SystemEntropy;

fn any_etype() -> impl Strategy<Value = Etype> {
    prop::sample::select(Etype::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn kerbcore_reads_what_we_encrypt_and_we_what_it_does(
        etype in any_etype(),
        octets in any::<[u8; 32]>(),
        usage in 0u32..2000,
        confounder in any::<[u8; 16]>(),
        plain in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let octets = &octets[..etype.key_length()];
        let ours = Key::new(etype, octets).unwrap();
        let theirs = KerberosKey::new(Enctype::from_i32(etype.number()).unwrap(), octets.to_vec()).unwrap();
        let cipher = ours.encrypt_after(usage, confounder, &plain);
        prop_assert_eq!(&cipher, &theirs.encrypt_with_confounder(usage, &confounder, &plain));
        prop_assert_eq!(theirs.decrypt(usage, &cipher).unwrap(), plain.clone());
        let back = ours.decrypt(usage, &theirs.encrypt(usage, &plain)).unwrap();
        prop_assert_eq!(back.as_slice(), plain.as_slice());
        prop_assert_eq!(ours.checksum(usage, &plain), theirs.checksum(usage, &plain));
    }

    #[test]
    fn picky_krb_reads_what_we_encrypt_and_we_what_it_does(
        wide in any::<bool>(),
        octets in any::<[u8; 32]>(),
        usage in 0i32..2000,
        plain in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let (etype, suite) = match wide {
            true => (Etype::Aes256CtsHmacSha1_96, CipherSuite::Aes256CtsHmacSha196),
            false => (Etype::Aes128CtsHmacSha1_96, CipherSuite::Aes128CtsHmacSha196),
        };
        let octets = &octets[..etype.key_length()];
        let (ours, theirs, number) = (Key::new(etype, octets).unwrap(), suite.cipher(), u32::try_from(usage).unwrap());
        let back = theirs.decrypt(octets, usage, &ours.encrypt(number, &plain, &mut SystemEntropy)).unwrap();
        prop_assert_eq!(&back, &plain);
        let back = ours.decrypt(number, &theirs.encrypt(octets, usage, &plain).unwrap()).unwrap();
        prop_assert_eq!(back.as_slice(), plain.as_slice());
    }

    #[test]
    fn any_change_to_a_ciphertext_is_noticed(
        etype in any_etype(),
        plain in prop::collection::vec(any::<u8>(), 0..80),
        place in any::<prop::sample::Index>(),
        change in 1u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let key = Key::random(etype, &mut SystemEntropy);
        let good = key.encrypt(7, &plain, &mut SystemEntropy);
        let mut bad = good.clone();
        bad[place.index(good.len())] ^= change;
        prop_assert!(key.decrypt(7, &bad).is_err());
        prop_assert!(key.decrypt(7, &good[..cut.index(good.len())]).is_err());
    }

    #[test]
    fn kerbcore_derives_the_same_keys_from_passwords(
        etype in any_etype(),
        password in "\\PC{0,40}",
        salt in "\\PC{0,40}",
        iterations in 1u32..50,
    ) {
        let theirs = KerberosKey::string_to_key(Enctype::from_i32(etype.number()).unwrap(), &password, salt.as_bytes(), iterations);
        let ours = Key::from_password(etype, password.as_bytes(), salt.as_bytes(), Some(iterations)).unwrap();
        prop_assert_eq!(ours.bytes(), theirs.key());
    }
}

/// More usages than a key remembers derived keys for.
#[test]
fn a_key_serves_more_usages_than_it_remembers() {
    for etype in Etype::ALL {
        let key = Key::random(etype, &mut SystemEntropy);
        for _ in 0..2 {
            for usage in 0..20 {
                let fresh = Key::new(etype, key.bytes()).unwrap();
                let cipher = key.encrypt(usage, b"text", &mut SystemEntropy);
                assert_eq!(fresh.decrypt(usage, &cipher).unwrap().as_slice(), b"text");
                assert_eq!(fresh.checksum(usage, b"text"), key.checksum(usage, b"text"));
            }
        }
    }
}

#[test]
fn keys_say_nothing_when_printed_and_have_the_length_of_their_type() {
    let key = Key::new(Etype::Aes128CtsHmacSha1_96, &[0x5a; 16]).unwrap();
    assert_eq!(format!("{key:?}"), "Key(aes128-cts-hmac-sha1-96, ..)");
    for etype in Etype::ALL {
        assert!(Key::new(etype, &[0; 24]).is_err() && Key::new(etype, &[]).is_err() && Key::new(etype, &[0; 33]).is_err());
        assert_eq!(Etype::from_number(etype.number()), Some(etype));
        assert_eq!(Etype::from_checksum_type(etype.checksum_type()), Some(etype));
        assert_eq!(Etype::from_name(etype.name()), Some(etype));
    }
    assert_eq!(Etype::from_number(23), None);
}
