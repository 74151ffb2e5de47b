use std::time::{Duration, SystemTime};

use super::*;
use crate::entropy::SystemEntropy;
use crate::lkdc::crypto::{Etype, Key};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn version(kvno: u32, etypes: &[Etype], until: Option<SystemTime>) -> VersionedKeys {
    let keys = etypes.iter().map(|etype| Key::random(*etype, &mut SystemEntropy)).collect();
    VersionedKeys { kvno, keys, salt: None, since: at(0), until }
}

fn service() -> Entry {
    let mut entry = Entry::new(Principal::service("host", "imac"), Kind::Service);
    entry.keys = smallvec::smallvec![
        version(2, &[Etype::Aes256CtsHmacSha384_192, Etype::Aes128CtsHmacSha1_96], None),
        version(1, &[Etype::Aes128CtsHmacSha1_96], Some(at(100))),
    ];
    entry
}

#[test]
fn a_principal_is_found_by_its_components_whatever_type_the_client_gives_it() {
    let principals = Principals::new();
    assert!(principals.insert(service()).is_none());
    let mut asked = Principal::service("host", "imac");
    asked.name_type = 1;
    assert_eq!(principals.find(&asked).unwrap().kind, Kind::Service);
    assert!(principals.find(&Principal::service("host", "other")).is_none());
    assert!(principals.find(&Principal::user("host/imac")).is_none());
}

#[test]
fn what_was_found_stays_while_the_table_changes() {
    let principals = Principals::new();
    principals.insert(service());
    let found = principals.find(&service().name).unwrap();
    principals.clone().replace([]);
    assert!(principals.is_empty());
    assert_eq!(found.current().unwrap().kvno, 2);
}

#[test]
fn the_newest_keys_are_preferred_and_old_ones_end() {
    let entry = service();
    let etype = Etype::Aes128CtsHmacSha1_96;
    assert_eq!(entry.preferred(&[Etype::Aes256CtsHmacSha1_96, etype]).map(|(kvno, key)| (kvno, key.etype())), Some((2, etype)));
    assert!(entry.preferred(&[Etype::Aes256CtsHmacSha1_96]).is_none());
    let octets = |kvno, now| entry.key(kvno, etype, now).map(|key| key.bytes().to_vec());
    assert_eq!(octets(None, at(99)), octets(Some(2), at(1000)));
    assert_ne!(octets(Some(1), at(99)), octets(Some(2), at(99)));
    assert_eq!(octets(Some(1), at(100)), None);
    assert_eq!(octets(Some(3), at(99)), None);
}

#[test]
fn a_service_takes_any_of_the_strengths_it_asks_for() {
    let mut entry = service();
    assert!(entry.accepts(&[]));
    entry.strength = vec![Strength::Certificate, Strength::Otp];
    assert!(entry.accepts(&[Strength::Otp]));
    assert!(!entry.accepts(&[Strength::Password]));
    assert!(!entry.accepts(&[]));
    entry.strength = vec![Strength::Password];
    assert!(entry.accepts(&[Strength::Otp]), "a code comes with the password");
    assert!(!entry.accepts(&[Strength::Certificate]));
}

#[test]
fn strengths_are_read_as_they_are_written() {
    for strength in Strength::ALL {
        assert_eq!(strength.to_string().parse(), Ok(strength));
    }
    assert!("strong".parse::<Strength>().is_err());
}

#[test]
fn an_authenticator_learns_everything_from_one_line() {
    // The secret of RFC 6238, appendix B.
    let secret = TotpSecret::from_bytes(b"12345678901234567890");
    let expected = "otpauth://totp/imac:al%20ice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=imac&algorithm=SHA1&digits=6&period=30";
    assert_eq!(*secret.uri("al ice", "imac"), expected);
    assert_eq!(format!("{secret:?}"), "TotpSecret(…)");
    assert_ne!(TotpSecret::generate(&mut SystemEntropy), TotpSecret::generate(&mut SystemEntropy));
}
