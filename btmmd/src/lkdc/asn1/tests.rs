use std::time::{Duration, UNIX_EPOCH};

use rasn_kerberos::{AsReq, KdcOptions, KdcReq, KdcReqBody, KerberosTime, PrincipalName};

use super::*;

fn request() -> AsReq {
    AsReq(KdcReq {
        pvno: 5.into(),
        msg_type: 10.into(),
        padata: None,
        req_body: KdcReqBody {
            kdc_options: KdcOptions(flags(0x4080_0010)),
            cname: Some(PrincipalName { r#type: 1, string: vec![string("alice")] }),
            realm: string("LKDC:SHA256.00"),
            sname: None,
            from: None,
            till: time(UNIX_EPOCH),
            rtime: None,
            nonce: 7,
            etype: vec![18, 17],
            addresses: None,
            enc_authorization_data: None,
            additional_tickets: None,
        },
    })
}

#[test]
fn a_request_is_read_back_and_its_body_found_as_sent() {
    let bytes = encode(&request());
    assert_eq!(decode::<AsReq>(&bytes).unwrap(), request());
    let body = req_body(&bytes).unwrap();
    assert_eq!(body, encode(&request().0.req_body));
}

#[test]
fn every_truncation_and_every_trailing_octet_is_refused() {
    let mut bytes = encode(&request());
    for end in 0..bytes.len() {
        assert!(decode::<AsReq>(&bytes[..end]).is_err(), "{end}");
        let _ = req_body(&bytes[..end]);
    }
    bytes.push(0);
    assert!(decode::<AsReq>(&bytes).is_err());
}

#[test]
fn what_is_too_deep_or_too_long_is_not_decoded() {
    let deep = [0x30, 0x80].repeat(5_000);
    assert_eq!(decode::<AsReq>(&deep), Err(Asn1Error::Bounds(der::DerError::NotDer(0))));
    assert_eq!(decode::<AsReq>(&vec![0; MAX_MESSAGE + 1]), Err(Asn1Error::Bounds(der::DerError::TooLong(MAX_MESSAGE + 1))));
    assert!(decode::<AsReq>(&[]).is_err());
}

#[test]
fn what_a_sender_wrote_is_quoted_in_short_and_without_control_characters() {
    let time = Der::of(|der| der.tagged(0x18, |der| der.raw(&b"\x1b[31m\xf0\x9f\x98\x80!".repeat(4_000))));
    let error = decode::<KerberosTime>(&time).unwrap_err().to_string();
    assert!(error.len() < 200 && error.chars().all(|character| character == ' ' || character.is_ascii_graphic()), "{error}");
}

#[test]
fn times_have_no_fractions() {
    let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let encoded = encode(&time(at));
    assert_eq!(encoded, b"\x18\x0f20231114221320Z");
    assert_eq!(system_time(&decode::<KerberosTime>(&encoded).unwrap()), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    assert_eq!(time::microseconds(at), 123_456.into());
    assert_eq!(time::joined(&time(at), &time::microseconds(at)), at);
}

#[test]
fn flags_have_32_bits_and_count_from_the_left() {
    assert_eq!(encode(&flags(flags::bit(1))), [0x03, 0x05, 0x00, 0x40, 0, 0, 0]);
    assert_eq!(flag_bits(&flags(0x4080_0010)), 0x4080_0010);
    assert_eq!(flag_bits(&decode(&[0x03, 0x02, 0x05, 0x60]).unwrap()), 0x6000_0000);
    assert_eq!(flag_bits(&decode(&[0x03, 0x06, 0x00, 0x40, 0, 0, 1, 0xff]).unwrap()), 0x4000_0001);
}

#[test]
fn strings_outside_general_string_do_not_panic() {
    assert_eq!(text(&string("alice")).unwrap(), "alice");
    assert_eq!(string("à").as_bytes(), b"??");
}

#[test]
fn the_writer_agrees_with_the_encoder() {
    for seconds in (0..253_402_300_799_u64).step_by(86_399 * 97).chain([
        951_782_400,
        951_868_799,
        1_709_164_800,
        4_107_542_400,
        253_402_300_799,
        u64::MAX,
    ]) {
        assert_eq!(*Der::of(|der| der.time(seconds)), encode(&time::from_seconds(seconds)), "{seconds}");
    }
    for number in [0, 1, 127, 128, 255, 256, 32_767, 32_768, -1, -128, -129, i64::from(u32::MAX), i64::MAX, i64::MIN] {
        assert_eq!(*Der::of(|der| der.integer(number)), encode(&rasn::types::Integer::from(number)), "{number}");
    }
    for length in [0, 127, 128, 255, 256, 65_535, 65_536] {
        let octets = vec![7; length];
        assert_eq!(*Der::of(|der| der.octets(&octets)), encode(&rasn::types::OctetString::from(octets.clone())), "{length}");
    }
    let name = crate::lkdc::name::Principal::service("host", &"x".repeat(200));
    assert_eq!(*Der::of(|der| der.principal(&name)), encode(&name.to_message()));
    assert_eq!(*Der::of(|der| der.flags(0x4080_0010)), encode(&flags(0x4080_0010)));
    let data = rasn_kerberos::EncryptedData { etype: 18, kvno: Some(3), cipher: vec![1; 300].into() };
    assert_eq!(*Der::of(|der| der.encrypted(18, Some(3), &[1; 300])), encode(&data));
}
