use std::time::Duration;

use netlink_packet_core::{Emitable, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_xfrm::monitor::{AcquireMessage, ExpireMessage, MappingMessage};
use netlink_packet_xfrm::state::ModifyMessage;
use netlink_packet_xfrm::{Address, AlgAead, UserExpire, UserMapping, UserSaId};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::esp::{Direction, EspKey};
use crate::xfrm::encode;
use crate::xfrm::port::{InnerNetwork, PolicyId, PolicySpec, SaSpec};

fn spec(direction: Direction) -> SaSpec {
    SaSpec {
        direction,
        spi: 0x1234_5678,
        local: "192.0.2.1:4500".parse().expect("literal"),
        remote: "198.51.100.2:61234".parse().expect("literal"),
        inner_local: "fd00:1:2::a".parse().expect("literal"),
        inner_remote: "fd00:1:2::b".parse().expect("literal"),
        reqid: 7,
        key: EspKey(Zeroizing::new([0xa5; 36])),
        soft_lifetime: Duration::from_millis(1500),
        hard_lifetime: Duration::from_secs(60),
    }
}

fn payload(message: &XfrmMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn raw(kind: u16, payload: &[u8]) -> Raw<'_> {
    Raw { kind, flags: 0, sequence: 1, payload }
}

fn policies() -> Vec<Policy> {
    let network = InnerNetwork { address: spec(Direction::In).inner_local, prefix: "fd00:1:2::".parse().expect("literal"), mtu: 1418 };
    let id = PolicyId { inner_local: network.address, inner_remote: spec(Direction::In).inner_remote };
    let outers = [
        None,
        Some(("192.0.2.1".parse().expect("literal"), "198.51.100.2".parse().expect("literal"))),
        Some(("2001:db8::1".parse().expect("literal"), "2001:db8::2".parse().expect("literal"))),
    ];
    let peers = outers.iter().flat_map(|&outer| Policy::of_peer(&PolicySpec { id, reqid: 7, outer }));
    peers.chain(Policy::of_guard(&network)).collect()
}

/// One well-formed message of every kind that is decoded.
fn messages() -> Vec<(u16, Vec<u8>)> {
    let sa = encode::sa(&spec(Direction::In));
    let policy = encode::policy(&policies()[0]);
    let mut acquire = AcquireMessage { nlas: policy.nlas.clone(), ..AcquireMessage::default() };
    acquire.acquire.selector = policy.user_policy_info.selector;
    let expire = ExpireMessage { expire: UserExpire { state: sa.user_sa_info, hard: 1 } };
    let id = UserSaId { daddr: sa.user_sa_info.id.daddr, spi: 0x1234_5678, family: AF_INET, proto: IPPROTO_ESP };
    let map = UserMapping {
        id,
        reqid: 7,
        old_saddr: Address::from_ipv4(&[198, 51, 100, 2].into()),
        new_saddr: Address::from_ipv4(&[198, 51, 100, 3].into()),
        old_sport: 61234,
        new_sport: 4500,
    };
    vec![
        (XFRM_MSG_NEWSA, payload(&XfrmMessage::AddSa(sa))),
        (XFRM_MSG_NEWPOLICY, payload(&XfrmMessage::AddPolicy(policy))),
        (XFRM_MSG_ACQUIRE, payload(&XfrmMessage::Acquire(acquire))),
        (XFRM_MSG_EXPIRE, payload(&XfrmMessage::Expire(expire))),
        (XFRM_MSG_MAPPING, payload(&XfrmMessage::Mapping(MappingMessage { map }))),
    ]
}

fn decode_all(raw: &Raw<'_>) -> (Option<SaEntry>, Option<Policy>, Option<KernelEvent>, Option<End>) {
    (sa_entry(raw), policy(raw), event(raw), end(raw))
}

#[test]
fn an_encoded_state_reads_back_as_what_was_asked_for() {
    let spec = spec(Direction::Out);
    let bytes = payload(&XfrmMessage::AddSa(encode::sa(&spec)));
    let entry = sa_entry(&raw(XFRM_MSG_NEWSA, &bytes)).expect("well formed");
    assert_eq!(entry.id, spec.id());
    assert_eq!((entry.source, entry.reqid, entry.if_id), (spec.local.ip(), 7, IF_ID));
    assert_eq!(entry.encap, Some((4500, 61234)));
    assert_eq!(entry.inner, (spec.inner_local, spec.inner_remote));
}

#[test]
fn lifetimes_are_rounded_up_so_that_none_becomes_for_ever() {
    let never = SaSpec { soft_lifetime: Duration::ZERO, ..spec(Direction::In) };
    assert_eq!(encode::sa(&never).user_sa_info.lifetime_cfg.soft_add_expires_seconds, 1);
    let config = encode::sa(&spec(Direction::In)).user_sa_info.lifetime_cfg;
    assert_eq!((config.soft_add_expires_seconds, config.hard_add_expires_seconds), (2, 60));
}

#[test]
fn every_policy_we_install_reads_back_the_same() {
    for wanted in policies() {
        let bytes = payload(&XfrmMessage::AddPolicy(encode::policy(&wanted)));
        assert_eq!(policy(&raw(XFRM_MSG_NEWPOLICY, &bytes)), Some(wanted));
    }
}

#[test]
fn events_name_state_peer_and_both_ends() {
    let id = spec(Direction::In).id();
    let seen: Vec<_> = messages().iter().filter_map(|(kind, bytes)| event(&raw(*kind, bytes))).collect();
    assert_eq!(
        seen,
        [
            KernelEvent::Acquire {
                inner_local: "fd00:1:2::a".parse().expect("literal"),
                inner_remote: "fd00:1:2::b".parse().expect("literal"),
                reqid: 7
            },
            KernelEvent::HardExpired { id, reqid: 7 },
            KernelEvent::Mapping {
                id,
                reqid: 7,
                old: "198.51.100.2:61234".parse().expect("literal"),
                new: "198.51.100.3:4500".parse().expect("literal"),
            },
        ]
    );
}

#[test]
fn the_end_of_an_unanswered_acquire_is_no_event() {
    let larval = SaSpec { spi: 0, ..spec(Direction::Out) };
    let expire = ExpireMessage { expire: UserExpire { state: encode::sa(&larval).user_sa_info, hard: 1 } };
    assert_eq!(event(&raw(XFRM_MSG_EXPIRE, &payload(&XfrmMessage::Expire(expire)))), None);
}

#[test]
fn an_acquire_of_another_interface_id_is_not_ours() {
    let mut acquire = AcquireMessage::default();
    acquire.acquire.selector.family = AF_INET6;
    let mut nlas = encode::policy(&policies()[0]).nlas;
    nlas.retain(|nla| !matches!(nla, XfrmAttrs::IfId(_)));
    for other in [vec![], vec![XfrmAttrs::IfId(IF_ID + 1)]] {
        acquire.nlas = nlas.iter().cloned().chain(other).collect();
        assert_eq!(event(&raw(XFRM_MSG_ACQUIRE, &payload(&XfrmMessage::Acquire(acquire.clone())))), None);
    }
}

#[test]
fn a_message_cut_at_any_length_is_refused_and_never_panics() {
    for (kind, bytes) in messages() {
        let whole = decode_all(&raw(kind, &bytes));
        assert_ne!(whole, (None, None, None, None), "kind {kind} decodes whole");
        for length in 0..bytes.len() {
            let cut = decode_all(&raw(kind, &bytes[..length]));
            // Cut between attributes a message is well formed again, and then it says less.
            assert!(cut == (None, None, None, None) || cut != whole || length >= bytes.len() - 3, "kind {kind} cut to {length}");
        }
    }
}

#[test]
fn keys_are_overwritten_in_what_was_read_and_in_what_was_sent() {
    let mut message = encode::sa(&spec(Direction::In));
    let key = |message: &ModifyMessage| {
        message.nlas.iter().find_map(|nla| match nla {
            XfrmAttrs::EncryptionAlgAead(AlgAead { alg_key, .. }) => Some(alg_key.clone()),
            _ => None,
        })
    };
    assert_eq!(key(&message), Some(vec![0xa5; 36]));
    wipe(&mut message.nlas);
    assert_eq!(key(&message), Some(vec![]));
    assert!(!format!("{:?}", spec(Direction::In)).contains("165"), "a specification prints no key");
}

#[test]
fn a_datagram_splits_into_its_messages_and_stops_at_an_impossible_length() {
    let mut datagram = vec![];
    for (kind, bytes) in messages() {
        let mut header = NetlinkHeader::default();
        header.sequence_number = u32::from(kind);
        let inner = NetlinkPayload::InnerMessage(XfrmMessage::Other((kind, bytes)));
        let mut message = NetlinkMessage::new(header, inner);
        message.finalize();
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        let end = start + message.buffer_len();
        message.serialize(&mut datagram[start..end]);
    }
    let kinds = |datagram: &[u8]| split(datagram).map(|raw| (raw.kind, raw.sequence)).collect::<Vec<_>>();
    let wanted: Vec<_> = messages().iter().map(|(kind, _)| (*kind, u32::from(*kind))).collect();
    assert_eq!(kinds(&datagram), wanted);
    for length in 0..datagram.len() {
        assert!(wanted.starts_with(&kinds(&datagram[..length])), "cut to {length}");
    }
    datagram[..4].copy_from_slice(&15u32.to_ne_bytes());
    assert_eq!(kinds(&datagram), []);
}

#[test]
fn a_refusal_carries_the_kernel_s_own_words() {
    let mut bytes = (-38i32).to_ne_bytes().to_vec();
    bytes.extend([0; HEADER]);
    // An offset attribute (type 2) before the message (type 1), as the kernel may order them.
    bytes.extend([8, 0, 2, 0, 1, 2, 3, 4]);
    bytes.extend([9, 0, 1, 0]);
    bytes.extend(b"nope\0\0\0\0");
    let refusal = |flags, bytes: &[u8]| end(&Raw { kind: NLMSG_ERROR, flags, sequence: 1, payload: bytes });
    assert_eq!(refusal(ACK_TLVS, &bytes), Some(End::Refused(38, "nope".into())));
    assert_eq!(refusal(0, &bytes), Some(End::Refused(38, String::new())));
    assert_eq!(refusal(0, &[0; 20]), Some(End::Done));
    assert_eq!(refusal(ACK_TLVS, &i32::MIN.to_ne_bytes()), Some(End::Refused(i32::MAX, String::new())));
    for length in 0..bytes.len() {
        assert!(refusal(ACK_TLVS, &bytes[..length]).is_some(), "cut to {length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0u16..0x30, flags: u16, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        decode_all(&Raw { kind, flags, sequence: 0, payload: &bytes });
        split(&bytes).for_each(|raw| drop(decode_all(&raw)));
    }

    #[test]
    fn no_damage_to_a_real_message_makes_the_decoder_panic(index in 0usize..5, damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let (kind, mut bytes) = messages().swap_remove(index);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        decode_all(&raw(kind, &bytes));
    }
}
