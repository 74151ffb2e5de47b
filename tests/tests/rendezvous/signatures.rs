//! What a signature proves, and what is said to who has none.
use super::world::*;
use btmmd::rendezvous::client::ClientError;
use btmmd::rendezvous::outline::Outline;
use btmmd::rendezvous::tsig;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

#[test]
fn an_unsigned_read_or_write_is_refused_and_told_nothing() {
    let mut world = World::new();
    world.publish("imac");
    assert_eq!(world.refusal(&query(RecordType::AAAA)), (ResponseCode::Refused, 0, false));
    assert_eq!(world.refusal(&query(RecordType::AXFR)), (ResponseCode::Refused, 0, false));
    let mut update = Message::new(1, MessageType::Query, OpCode::Update);
    update.add_query(Query::query(Name::from_ascii("alice.btmm.internal.").unwrap(), RecordType::SOA));
    update.add_authority(address("imac", 66));
    let before = world.serial();
    assert_eq!(world.refusal(&update.to_vec().unwrap()), (ResponseCode::Refused, 0, false));
    assert_eq!(world.serial(), before);
}

#[test]
fn an_unknown_key_a_wrong_secret_and_another_algorithm_are_told_apart() {
    let mut world = World::new();
    let mut unknown = query(RecordType::AAAA);
    sign(&mut unknown, "stranger", 1, WALL);
    assert_eq!(world.refusal(&unknown), (ResponseCode::NotAuth, tsig::BADKEY, false));
    let mut wrong = query(RecordType::AAAA);
    sign(&mut wrong, "imac", 2, WALL);
    assert_eq!(world.refusal(&wrong), (ResponseCode::NotAuth, tsig::BADSIG, false));
    let mut other = query(RecordType::AAAA);
    sign(&mut other, "imac", 1, WALL);
    let at = other.windows(11).position(|window| window == b"hmac-sha256").unwrap();
    other[at + 8..at + 11].copy_from_slice(b"512");
    assert_eq!(world.refusal(&other), (ResponseCode::NotAuth, tsig::BADKEY, false));
}

#[test]
fn a_single_wrong_bit_anywhere_in_a_signed_message_is_noticed() {
    let mut world = World::new();
    world.publish("imac");
    let mut signed = query(RecordType::AAAA);
    sign(&mut signed, "imac", 1, WALL);
    assert_eq!(Message::from_vec(&world.raw(&signed)[0]).unwrap().answers.len(), 1);
    for bit in 0..signed.len() * 8 {
        let mut damaged = signed.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // The id on the wire is not signed (a forwarder may change it), nor is the case of names.
        let folded = bit % 8 == 5 && damaged[bit / 8].is_ascii_alphabetic();
        if bit < 16 || folded {
            continue;
        }
        for reply in world.raw(&damaged) {
            assert!(Message::from_vec(&reply).unwrap().answers.is_empty(), "bit {bit}");
        }
    }
}

#[test]
fn a_truncated_mac_is_refused_however_right_it_is() {
    let mut world = World::new();
    let mut signed = query(RecordType::AAAA);
    sign(&mut signed, "imac", 1, WALL);
    let truncated = |length: usize| {
        let mut bytes = signed.clone();
        let mac = bytes.len() - 6 - 32;
        bytes.drain(mac + length..mac + 32);
        let rdata = 11 + 2 + 16 + length;
        let rdlength = mac - 2 - 8 - 13 - 2;
        bytes[rdlength..rdlength + 2].copy_from_slice(&(rdata as u16).to_be_bytes());
        bytes[mac - 2..mac].copy_from_slice(&(length as u16).to_be_bytes());
        bytes
    };
    assert_eq!(truncated(32), signed);
    assert_eq!(world.refusal(&truncated(31)), (ResponseCode::NotAuth, tsig::BADTRUNC, true));
    assert_eq!(world.refusal(&truncated(16)), (ResponseCode::NotAuth, tsig::BADTRUNC, true));
    assert_eq!(world.refusal(&truncated(15)), (ResponseCode::FormErr, 0, false));
    assert_eq!(world.refusal(&truncated(0)), (ResponseCode::FormErr, 0, false));
    let mut wrong = truncated(16);
    let last = wrong.len() - 7;
    wrong[last] ^= 1;
    assert_eq!(world.refusal(&wrong), (ResponseCode::NotAuth, tsig::BADSIG, false));
}

#[test]
fn a_clock_that_is_off_is_named_with_its_seconds() {
    let mut world = World::new();
    for (skew, ok) in [(-301, false), (-300, true), (300, true), (301, false), (86_400, false)] {
        let mut signed = query(RecordType::SOA);
        sign(&mut signed, "imac", 1, WALL.saturating_add_signed(skew));
        let expected = if ok { (ResponseCode::NXDomain, 0, true) } else { (ResponseCode::NotAuth, tsig::BADTIME, true) };
        assert_eq!(world.refusal(&signed), expected, "{skew}");
    }
    let ahead = client("imac").serial(4, WALL + 4000);
    let mut exchange = ahead;
    let reply = world.raw(&exchange.request.clone()).remove(0);
    let error = exchange.accept(&reply, WALL + 4000).unwrap_err();
    assert_eq!(error, ClientError::Clock { skew: 4000 });
    assert_eq!(error.to_string(), "this machine's clock is 4000 s ahead of the base's");
}

#[test]
fn a_client_believes_neither_a_forged_nor_another_answer() {
    let mut world = World::new();
    world.publish("imac");
    let mut exchange = client("laptop").transfer(8, WALL);
    let genuine = world.raw(&exchange.request.clone()).remove(0);
    for bit in 16..genuine.len() * 8 {
        let mut forged = genuine.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        if bit % 8 == 5 && forged[bit / 8].is_ascii_alphabetic() && forged[bit / 8] & 0x1f != 0 {
            continue; // the case of the key's name is not signed
        }
        let mut exchange = client("laptop").transfer(8, WALL);
        assert!(exchange.accept(&forged, WALL).is_err(), "bit {bit}");
    }
    let mut other = client("laptop").serial(8, WALL);
    assert!(matches!(other.accept(&genuine, WALL), Err(ClientError::Unbelievable(_))));
    assert!(exchange.accept(&genuine, WALL).unwrap().is_some());
    let mut strangers = client("nobody").serial(1, WALL);
    let reply = world.raw(&strangers.request.clone()).remove(0);
    assert_eq!(strangers.accept(&reply, WALL), Err(ClientError::UnknownKey));
}

#[test]
fn a_large_zone_is_transferred_in_several_signed_messages() {
    let mut world = World::new();
    for who in ["base", "imac", "laptop"] {
        let changes: Vec<_> = (0..100).map(|n| address(&format!("n{}.{who}", n / 2), n)).collect();
        world.update(who, &changes).unwrap();
    }
    let request = client("imac").transfer(2, WALL).request;
    let replies = world.raw(&request);
    assert!(replies.len() > 3 && replies.iter().all(|reply| Outline::read(reply).unwrap().signature.is_some()));
    assert_eq!(world.transfer("imac").len(), 302);
    // A message left out breaks the chain.
    let mut exchange = client("imac").transfer(2, WALL);
    assert!(exchange.accept(&replies[0], WALL).unwrap().is_none());
    assert!(matches!(exchange.accept(&replies[2], WALL), Err(ClientError::Unbelievable(_))));
}

#[test]
fn what_is_no_request_gets_no_answer_or_formerr() {
    let mut world = World::new();
    assert!(world.raw(&[]).is_empty());
    assert!(world.raw(&[0; 11]).is_empty());
    let mut reply = query(RecordType::A);
    reply[2] |= 0x80;
    assert!(world.raw(&reply).is_empty());
    let whole = query(RecordType::A);
    for length in 12..whole.len() {
        assert_eq!(world.raw(&whole[..length])[0][3] & 0xf, 1, "cut at {length}");
    }
}
