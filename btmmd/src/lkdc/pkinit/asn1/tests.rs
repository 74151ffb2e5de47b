use std::time::Duration;

use super::*;
use crate::lkdc::pkinit::oid;

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 999_999_000)
}

#[test]
fn an_auth_pack_survives_its_encoding() {
    let full = AuthPack {
        authenticator: PkAuthenticator {
            at: at(),
            nonce: 0xffff_ffff,
            checksum: Some(&[1; 20]),
            freshness_token: Some(b"token"),
            checksum2: Some((oid::SHA256, &[2; 32])),
        },
        client_public_value: Some(&[0x30, 0]),
        client_dh_nonce: Some(&[3; 32]),
        supported_kdfs: Some(vec![b"one", b"two"]),
    };
    assert_eq!(AuthPack::parse(&full.encode()), Ok(full));
    let bare = AuthPack {
        authenticator: PkAuthenticator { at: at(), nonce: 0, checksum: None, freshness_token: None, checksum2: None },
        client_public_value: None,
        client_dh_nonce: None,
        supported_kdfs: None,
    };
    assert_eq!(AuthPack::parse(&bare.encode()), Ok(bare));
}

#[test]
fn replies_survive_their_encoding() {
    for (server_dh_nonce, kdf) in [(None, None), (Some([4; 32].as_slice()), Some(b"kdf".as_slice()))] {
        let info = DhRepInfo { signed_data: b"signed", server_dh_nonce, kdf };
        assert_eq!(DhRepInfo::parse(&info.encode()), Ok(info));
    }
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for expires in [None, Some(whole)] {
        let key = KdcDhKeyInfo { public_value: b"public", nonce: 7, expires };
        assert_eq!(KdcDhKeyInfo::parse(&key.encode()), Ok(key));
    }
}

#[test]
fn fields_of_later_standards_are_passed_over() {
    let later = der::explicit(9, &der::octets(b"later"));
    let pack = AuthPack {
        authenticator: PkAuthenticator { at: at(), nonce: 1, checksum: None, freshness_token: None, checksum2: None },
        client_public_value: None,
        client_dh_nonce: None,
        supported_kdfs: None,
    };
    let encoded = pack.encode();
    let inside = Value::only(&encoded, der::SEQUENCE, "AuthPack").unwrap().contents;
    assert_eq!(AuthPack::parse(&der::sequence(&[inside, &later])), Ok(pack));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let micros = |number: u64| der::explicit(0, &der::unsigned(number));
    let rest = [der::explicit(1, &asn1::encode(&asn1::time(at()))), der::explicit(2, &der::unsigned(1))].concat();
    let pack = |number| der::sequence(&[&der::explicit(0, &der::sequence(&[&micros(number), &rest]))]);
    assert!(AuthPack::parse(&pack(999_999)).is_ok());
    assert_eq!(AuthPack::parse(&pack(1_000_000)), Err(DerError("cusec")));
    // MIT krb5 writes a nonce above 2^31 as a negative number.
    let nonce = |octets: &[u8]| read_nonce(Value::only(&der::value(der::INTEGER, &[octets]), der::INTEGER, "nonce").unwrap());
    assert_eq!(nonce(&[0xff]), Ok(0xffff_ffff));
    assert_eq!(nonce(&[0, 0xff, 0xff, 0xff, 0xff]), Ok(0xffff_ffff));
    assert_eq!(nonce(&[1, 0, 0, 0, 0]), Err(DerError("nonce")));
}

#[test]
fn lists_have_an_end() {
    let many = vec![b"kdf".as_slice(); MAX_KDFS + 1];
    let pack = AuthPack {
        authenticator: PkAuthenticator { at: at(), nonce: 1, checksum: None, freshness_token: None, checksum2: None },
        client_public_value: None,
        client_dh_nonce: Some(&[0; MAX_DH_NONCE + 1]),
        supported_kdfs: None,
    };
    assert_eq!(AuthPack::parse(&pack.encode()), Err(DerError("clientDHNonce")));
    let pack = AuthPack { supported_kdfs: Some(many), client_dh_nonce: None, ..pack };
    assert_eq!(AuthPack::parse(&pack.encode()), Err(DerError("supportedKDFs")));
}
