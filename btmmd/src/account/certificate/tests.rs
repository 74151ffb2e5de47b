use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, SanType};

use super::*;
use crate::account::authority::{Authority, CERTIFICATE_LIFE};
use crate::account::key::{KeyAlgorithm, MachineKey};
use crate::account::public_key::PublicKey;

const DAY: Duration = Duration::from_secs(24 * 3600);
const FQDN: &str = "imac.alice.btmm.internal";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn account() -> Authority {
    let prefix = UlaPrefix::with_global_id([1, 2, 3, 4, 5]);
    Authority::create("alice".parse().unwrap(), "alice.btmm.internal".parse().unwrap(), prefix, now()).unwrap()
}

fn key() -> MachineKey {
    MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn issue(account: &Authority, key: &MachineKey) -> Vec<u8> {
    account.issue(&PublicKey::from_spki(key.spki()).unwrap(), &"imac".parse().unwrap(), now()).unwrap()
}

/// A certificate that the account's CA would never issue, signed by it all the same.
fn forge(account: &Authority, key: &MachineKey, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "forged");
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
    params.subject_alt_names = vec![dns(FQDN), address(account.trust().prefix.inner_address(key.spki()))];
    change(&mut params);
    let issuer = Issuer::from_ca_cert_der(&account.trust().ca.as_slice().into(), account.key()).unwrap();
    params.signed_by(key, &issuer).unwrap().der().to_vec()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn address(address: Ipv6Addr) -> SanType {
    SanType::IpAddress(IpAddr::V6(address))
}

#[test]
fn an_issued_certificate_is_believed_for_its_name_and_address() {
    let account = account();
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let key = MachineKey::generate(algorithm).unwrap();
        let certificate = issue(&account, &key);
        for purpose in [Purpose::Ike, Purpose::TlsServer, Purpose::TlsClient, Purpose::PkinitClient, Purpose::PkinitKdc] {
            let peer = verify(&certificate, account.trust(), purpose, now()).unwrap();
            assert_eq!((peer.fqdn.as_str(), peer.name.as_str()), (FQDN, "imac"));
            assert_eq!(peer.spki, key.spki());
            assert_eq!(peer.inner, account.trust().prefix.inner_address(key.spki()));
        }
        assert!(certificate.len() < 1024, "{} octets", certificate.len());
        assert_eq!(claimed_fqdn(&certificate).unwrap(), FQDN);
    }
}

#[test]
fn two_certificates_of_one_key_have_different_serial_numbers() {
    let (account, key) = (account(), key());
    let serial = |der: &[u8]| der::x509::<Certificate>(der).unwrap().tbs_certificate.serial_number;
    assert_ne!(serial(&issue(&account, &key)), serial(&issue(&account, &key)));
}

#[test]
fn a_certificate_is_believed_from_its_start_to_its_end_only() {
    let (account, key) = (account(), key());
    let certificate = issue(&account, &key);
    let subject = format!("CN={FQDN}");
    let at = |time| verify_peer(&certificate, account.trust(), time).map(drop);
    assert_eq!(at(now() - Duration::from_secs(300)), Ok(()));
    assert_eq!(at(now() - Duration::from_secs(301)), Err(CertificateError::NotYetValid { subject: subject.clone() }));
    assert_eq!(at(now() + CERTIFICATE_LIFE), Ok(()));
    assert_eq!(at(now() + CERTIFICATE_LIFE + DAY), Err(CertificateError::Expired { subject }));
    let (start, end) = validity(&certificate).unwrap();
    let renewal = renew_at(&certificate).unwrap();
    assert!(renewal > start + 240 * DAY && renewal < end - 120 * DAY);
}

#[test]
fn another_accounts_certificate_is_refused() {
    let (ours, theirs) = (account(), account());
    let refused = verify_peer(&issue(&theirs, &key()), ours.trust(), now());
    assert!(matches!(refused, Err(CertificateError::OtherAuthority { .. })), "{refused:?}");
}

#[test]
fn a_certificate_for_tls_only_is_refused_for_ike() {
    let account = account();
    let certificate = forge(&account, &key(), |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let refused = verify_peer(&certificate, account.trust(), now()).unwrap_err();
    assert_eq!(refused, CertificateError::WrongPurpose { subject: "CN=forged".into(), purpose: Purpose::Ike });
    let none = forge(&account, &key(), |params| params.extended_key_usages.clear());
    assert!(matches!(verify_peer(&none, account.trust(), now()), Err(CertificateError::WrongPurpose { .. })));
}

#[test]
fn an_address_that_the_key_does_not_give_is_refused() {
    let (account, key, other) = (account(), key(), key());
    let stolen = account.trust().prefix.inner_address(other.spki());
    let own = account.trust().prefix.inner_address(key.spki());
    for addresses in [vec![stolen], vec![own, stolen], vec![stolen, own], vec![]] {
        let certificate = forge(&account, &key, |params| {
            params.subject_alt_names = std::iter::once(dns(FQDN)).chain(addresses.iter().copied().map(address)).collect();
        });
        let refused = verify_peer(&certificate, account.trust(), now()).unwrap_err();
        assert_eq!(refused, CertificateError::WrongAddress { subject: "CN=forged".into(), expected: own }, "{addresses:?}");
    }
}

#[test]
fn anything_but_one_name_directly_in_the_zone_is_refused() {
    let (account, key) = (account(), key());
    let own = account.trust().prefix.inner_address(key.spki());
    for names in [
        vec![],
        vec![FQDN, "laptop.alice.btmm.internal"],
        vec!["alice.btmm.internal"],
        vec!["*.alice.btmm.internal"],
        vec!["a.imac.alice.btmm.internal"],
    ] {
        let certificate = forge(&account, &key, |params| {
            params.subject_alt_names = names.iter().map(|name| dns(name)).chain([address(own)]).collect();
        });
        let refused = verify_peer(&certificate, account.trust(), now()).unwrap_err();
        assert!(matches!(refused, CertificateError::WrongName { .. }), "{names:?}: {refused}");
    }
}

#[test]
fn the_ca_may_not_vouch_outside_its_zone_and_prefix() {
    let (account, key) = (account(), key());
    let own = account.trust().prefix.inner_address(key.spki());
    for names in [vec![dns("imac.bob.btmm.internal"), address(own)], vec![dns(FQDN), address("2001:db8::1".parse().unwrap())]] {
        let certificate = forge(&account, &key, |params| params.subject_alt_names = names);
        let refused = verify_peer(&certificate, account.trust(), now()).unwrap_err();
        assert!(matches!(&refused, CertificateError::Refused { why, .. } if why == "NameConstraintViolation"), "{refused}");
    }
}

#[test]
fn the_ca_certificate_and_a_machines_certificate_do_not_issue() {
    let (account, machine, key) = (account(), key(), key());
    assert!(verify_peer(&account.trust().ca, account.trust(), now()).is_err());
    let machines = Issuer::from_ca_cert_der(&issue(&account, &machine).as_slice().into(), &machine).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![dns(FQDN), address(account.trust().prefix.inner_address(key.spki()))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
    let certificate = params.signed_by(&key, &machines).unwrap().der().to_vec();
    let refused = verify_peer(&certificate, account.trust(), now()).unwrap_err();
    assert!(matches!(refused, CertificateError::OtherAuthority { .. }), "{refused}");
}

#[test]
fn every_damaged_octet_is_noticed() {
    let (account, key) = (account(), key());
    let certificate = issue(&account, &key);
    for at in 0..certificate.len() {
        let mut damaged = certificate.clone();
        damaged[at] ^= 1;
        assert!(verify_peer(&damaged, account.trust(), now()).is_err(), "octet {at}");
        assert!(verify_peer(&certificate[..at], account.trust(), now()).is_err(), "length {at}");
    }
}

#[test]
fn errors_are_one_line_and_bounded() {
    assert_eq!(verify_peer(&[0x30; 9000], account().trust(), now()), Err(CertificateError::TooLong(9000)));
    let account = account();
    let certificate = forge(&account, &key(), |params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("a\nb{}", "x".repeat(500)));
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let refused = verify_peer(&certificate, account.trust(), now()).unwrap_err().to_string();
    assert!(!refused.contains('\n') && refused.len() < 200, "{refused}");
}

#[test]
fn the_san_names_the_owner_and_the_machines_own_realm_as_kerberos_principals() {
    let (account, key) = (account(), key());
    let certificate = issue(&account, &key);
    let names = Reading::of(&certificate).unwrap().general_names().unwrap();
    let principals: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::OtherName(principal) if principal.type_id.to_string() == "1.3.6.1.5.2.2" => {
                Some(principal.value.to_der().unwrap())
            }
            _ => None,
        })
        .map(|der| data_encoding::HEXLOWER.encode(&der))
        .collect();
    // RFC 4556 §3.2.2: SEQUENCE { [0] GeneralString realm, [1] SEQUENCE { [0] INTEGER type, [1] SEQUENCE OF GeneralString } }.
    let realm = PublicKey::from_spki(key.spki()).unwrap().realm();
    assert_eq!((realm.len(), &realm[..12]), (76, "LKDC:SHA256."));
    let realm = data_encoding::HEXLOWER.encode(realm.as_bytes());
    let kdc = format!("3081b3a04e1b4c{realm}a161305fa003020102a15830561b066b72627467741b4c{realm}");
    assert_eq!(principals, [OWNER.to_owned(), kdc]);
}

/// `alice@ALICE.BTMM.INTERNAL`, encoded by hand.
const OWNER: &str = "302ba0151b13414c4943452e42544d4d2e494e5445524e414ca1123010a003020101a10930071b05616c696365";
