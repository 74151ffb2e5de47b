use proptest::collection::vec;
use proptest::prelude::*;

use super::number::payload as kind;
use super::payload::{NONCE_LEN, read_inner, write_chain};
use super::*;
use crate::wire::Writer;

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        (0..0x8000u16, any::<u16>()).prop_map(|(tag, value)| Attribute::Short(tag, value)),
        (0..0x8000u16, vec(any::<u8>(), 0..20)).prop_map(|(tag, value)| Attribute::Long(tag, value)),
    ]
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), vec(attribute(), 0..3)).prop_map(|(kind, id, attributes)| Transform { kind, id, attributes })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..9), vec(transform(), 0..6)).prop_map(|(number, protocol, spi, transforms)| Proposal {
        number,
        protocol,
        spi,
        transforms,
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let v4 = (any::<u8>(), any::<(u16, u16)>(), any::<u32>(), any::<u32>()).prop_map(|(protocol, ports, first, last)| Selector::Range {
        protocol,
        ports,
        first: std::net::Ipv4Addr::from(first).into(),
        last: std::net::Ipv4Addr::from(last).into(),
    });
    let v6 = any::<u128>().prop_map(|address| Selector::host(address.into()));
    let unknown =
        (9..=255u8, any::<u8>(), vec(any::<u8>(), 0..9)).prop_map(|(kind, protocol, data)| Selector::Unknown { kind, protocol, data });
    prop_oneof![v4, v6, unknown]
}

fn identity() -> impl Strategy<Value = Identity> {
    (any::<u8>(), any::<[u8; 3]>(), vec(any::<u8>(), 0..40)).prop_map(|(kind, reserved, data)| Identity { kind, reserved, data })
}

pub(crate) fn payload() -> impl Strategy<Value = Payload> {
    let octets = || vec(any::<u8>(), 0..60);
    prop_oneof![
        vec(proposal(), 1..4).prop_map(Payload::Sa),
        (any::<u16>(), octets()).prop_map(|(group, data)| Payload::Ke { group, data }),
        identity().prop_map(Payload::IdI),
        identity().prop_map(Payload::IdR),
        (any::<u8>(), octets()).prop_map(|(encoding, data)| Payload::Cert { encoding, data }),
        (any::<u8>(), octets()).prop_map(|(encoding, data)| Payload::CertReq { encoding, data }),
        (any::<u8>(), octets()).prop_map(|(method, data)| Payload::Auth { method, data }),
        vec(any::<u8>(), NONCE_LEN).prop_map(Payload::Nonce),
        (any::<u8>(), vec(any::<u8>(), 0..9), any::<u16>(), octets()).prop_map(|(protocol, spi, kind, data)| Payload::Notify(Notify {
            protocol,
            spi,
            kind,
            data
        })),
        (any::<u8>(), vec(any::<u32>(), 0..5)).prop_map(|(protocol, spis)| Payload::Delete(Delete { protocol, spis })),
        vec(selector(), 0..4).prop_map(Payload::TsI),
        vec(selector(), 0..4).prop_map(Payload::TsR),
        octets().prop_map(Payload::Vendor),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    (any::<(u64, u64)>(), any::<u8>(), any::<(bool, bool)>(), any::<u32>()).prop_map(|(spis, exchange, flags, message_id)| Header {
        spi_i: spis.0,
        spi_r: spis.1,
        exchange: Exchange(exchange),
        initiator: flags.0,
        response: flags.1,
        message_id,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_back(header in header(), payloads in vec(payload(), 0..6)) {
        let bytes = Message::encode(&header, &payloads);
        prop_assert_eq!(Message::parse(&bytes), Ok(Message { header, clear: payloads, protected: None }));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused_and_so_is_one_with_something_left_over(header in header(), payloads in vec(payload(), 1..4)) {
        let bytes = Message::encode(&header, &payloads);
        for length in 0..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            prop_assert!(Message::parse(&cut).is_err());
            // The same with a header that tells the truth about the length.
            if length >= HEADER_LEN {
                cut[24..28].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
                prop_assert!(Message::parse(&cut).is_err());
            }
        }
        let mut long = bytes;
        long.push(0);
        let length = u32::try_from(long.len()).unwrap();
        long[24..28].copy_from_slice(&length.to_be_bytes());
        prop_assert!(Message::parse(&long).is_err());
    }
}

fn with_payload(kind: u8, critical: bool) -> Vec<u8> {
    let header = Header { spi_i: 1, spi_r: 2, exchange: Exchange::INFORMATIONAL, initiator: true, response: false, message_id: 3 };
    let mut bytes = Message::encode(&header, &[Payload::Vendor(b"mark".to_vec())]);
    bytes[16] = kind;
    bytes[HEADER_LEN + 1] = if critical { 0x80 } else { 0 };
    bytes
}

#[test]
fn an_unknown_payload_is_skipped_unless_it_is_critical() {
    assert_eq!(Message::parse(&with_payload(200, false)).unwrap().clear, []);
    assert_eq!(Message::parse(&with_payload(200, true)), Err(CodecError::Critical(200)));
    assert_eq!(Message::parse(&with_payload(kind::VENDOR, true)).unwrap().clear, [Payload::Vendor(b"mark".to_vec())]);
}

#[test]
fn another_major_version_is_refused_and_another_minor_one_is_not() {
    let mut bytes = with_payload(kind::VENDOR, false);
    bytes[17] = 0x10;
    assert_eq!(Message::parse(&bytes), Err(CodecError::Version(1)));
    bytes[17] = 0x23;
    assert!(Message::parse(&bytes).is_ok());
}

#[test]
fn the_encrypted_payload_is_last_and_what_precedes_it_is_authenticated() {
    let bytes = with_payload(kind::SK, false);
    let protected = Message::parse(&bytes).unwrap().protected.unwrap();
    assert_eq!((protected.kind, protected.content), (kind::SK, b"mark".as_slice()));
    assert_eq!(protected.associated, &bytes[..HEADER_LEN + 4]);
    assert_eq!(Message::parse(&with_payload(kind::SKF, false)).unwrap().protected.unwrap().kind, kind::SKF);
    assert!(read_inner(kind::SK, &bytes[HEADER_LEN..]).is_err());
}

#[test]
fn lists_longer_than_their_maximum_are_refused() {
    let header = Header { spi_i: 1, spi_r: 0, exchange: Exchange::SA_INIT, initiator: true, response: false, message_id: 0 };
    let many = vec![Payload::Vendor(Vec::new()); payload::PAYLOADS_MAX + 1];
    assert!(Message::parse(&Message::encode(&header, &many)).is_err());
    assert!(Message::parse(&Message::encode(&header, &many[1..])).is_ok());
    let short_nonce = Payload::Nonce(vec![0; 15]);
    assert!(Message::parse(&Message::encode(&header, &[short_nonce])).is_err());
    let mut writer = Writer::new();
    write_chain(&[Payload::Delete(Delete { protocol: 3, spis: vec![7; payload::DELETE_MAX + 1] })], &mut writer);
    assert!(read_inner(kind::DELETE, writer.as_slice()).is_err());
}

/// Our own kind of proposal, laid out by hand from §3.3.1 – §3.3.5.
#[test]
fn a_proposal_written_by_hand_is_understood() {
    let bytes = [
        0, 0, 0, 44, 1, 1, 0, 4, // last proposal, 44 octets, number 1, IKE, no SPI, 4 transforms
        3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, // ENCR AES-GCM-16, 256 bits
        3, 0, 0, 8, 2, 0, 0, 5, // PRF HMAC-SHA2-256
        3, 0, 0, 8, 4, 0, 0, 31, // Curve25519
        0, 0, 0, 8, 4, 0, 0, 19, // P-256
    ];
    let chain = [[0, 0, 0, 48].as_slice(), &bytes].concat();
    let expected = Proposal {
        number: 1,
        protocol: 1,
        spi: Vec::new(),
        transforms: vec![Transform::keyed(1, 20, 256), Transform::plain(2, 5), Transform::plain(4, 31), Transform::plain(4, 19)],
    };
    assert_eq!(read_inner(kind::SA, &chain).unwrap(), [Payload::Sa(vec![expected])]);
}
