//! RFC 2136 and who may.
use super::world::*;
use btmmd::rendezvous::client::ClientError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

#[test]
fn nobody_changes_another_machines_name_or_the_apex() {
    let mut world = World::new();
    world.publish("laptop");
    let before = world.transfer("base");
    let foreign = [
        vec![address("laptop", 66)],
        vec![condition("laptop", RecordType::ANY, DNSClass::ANY)],
        vec![address("imac", 1), address("_autotunnel.laptop", 66)],
        vec![Record::from_rdata(Name::from_ascii("alice.btmm.internal.").unwrap(), 1, RData::A(A::new(192, 0, 2, 1)))],
        vec![of_class(Record::update0(Name::from_ascii("alice.btmm.internal.").unwrap(), 0, RecordType::ANY), DNSClass::ANY)],
    ];
    for changes in foreign {
        assert!(matches!(world.update("imac", &changes), Err(ClientError::Refused(ResponseCode::Refused, _))), "{changes:?}");
    }
    let outside = Record::from_rdata(Name::from_ascii("imac.bob.btmm.internal.").unwrap(), 1, RData::A(A::new(192, 0, 2, 1)));
    assert!(matches!(world.update("imac", &[outside]), Err(ClientError::Refused(ResponseCode::NotZone, _))));
    assert_eq!(world.transfer("base"), before);
}

#[test]
fn a_machine_publishes_only_harmless_types_and_not_too_much() {
    let mut world = World::new();
    let target = name("laptop");
    let soa = SOA::new(target.clone(), target.clone(), 1, 1, 1, 1, 1);
    for data in [RData::CNAME(CNAME(target)), RData::SOA(soa)] {
        assert_eq!(world.code(&[], &[Record::from_rdata(name("imac"), 1, data)]), ResponseCode::Refused);
    }
    let long = RData::TXT(TXT::new(vec!["x".repeat(250); 5]));
    assert_eq!(world.code(&[], &[Record::from_rdata(name("imac"), 1, long)]), ResponseCode::Refused);
    let names: Vec<_> = (0..65).map(|n| address(&format!("n{n}.imac"), 1)).collect();
    assert_eq!(world.code(&[], &names), ResponseCode::Refused);
    assert_eq!(world.code(&[], &names[..64]), ResponseCode::NoError);
    assert_eq!(world.code(&[], &names[64..]), ResponseCode::Refused);
    let records: Vec<_> = (0..129).map(|n| address("n0.imac", n)).collect();
    assert_eq!(world.code(&[], &records), ResponseCode::Refused);
}

#[test]
fn prerequisites_hold_or_nothing_changes() {
    let mut world = World::new();
    let change = [address("imac", 2)];
    assert_eq!(world.code(&[], &[address("imac", 1)]), ResponseCode::NoError);
    let of_imac = |kind, class| condition("imac", kind, class);
    let cases = [
        (condition("absent.imac", RecordType::ANY, DNSClass::ANY), ResponseCode::NXDomain),
        (of_imac(RecordType::TXT, DNSClass::ANY), ResponseCode::NXRRSet),
        (of_imac(RecordType::ANY, DNSClass::NONE), ResponseCode::YXDomain),
        (of_imac(RecordType::A, DNSClass::NONE), ResponseCode::YXRRSet),
        (of_class(address("imac", 9), DNSClass::IN), ResponseCode::NXRRSet),
        (address("imac", 1), ResponseCode::FormErr), // its TTL is not 0
        (of_class(Record::update0(Name::root(), 0, RecordType::ANY), DNSClass::ANY), ResponseCode::NotZone),
    ];
    let serial = world.serial();
    for (prerequisite, code) in cases {
        assert_eq!(world.code(std::slice::from_ref(&prerequisite), &change), code, "{prerequisite:?}");
    }
    assert_eq!(world.serial(), serial);
    let holding =
        [of_imac(RecordType::A, DNSClass::ANY), of_imac(RecordType::TXT, DNSClass::NONE), of_class(address("imac", 1), DNSClass::IN)];
    assert_eq!(world.code(&holding, &change), ResponseCode::NoError);
    assert_eq!(world.serial(), serial + 1);
    // Now there are two addresses: a prerequisite naming one of them no longer holds.
    assert_eq!(world.code(&[of_class(address("imac", 1), DNSClass::IN)], &change), ResponseCode::NXRRSet);
    assert_eq!(world.code(&[1, 2].map(|n| of_class(address("imac", n), DNSClass::IN)), &change), ResponseCode::NoError);
}

#[test]
fn deletions_take_a_record_a_set_or_a_name() {
    let mut world = World::new();
    let text = Record::from_rdata(name("imac"), 5, RData::TXT(TXT::new(vec!["t".to_owned()])));
    assert_eq!(world.code(&[], &[address("imac", 1), address("imac", 2), text]), ResponseCode::NoError);
    let count = |world: &mut World| world.transfer("imac").len() - 2; // SOA and NS
    assert_eq!(count(&mut world), 3);
    assert_eq!(world.code(&[], &[of_class(address("imac", 1), DNSClass::NONE)]), ResponseCode::NoError);
    assert_eq!(count(&mut world), 2);
    assert_eq!(world.code(&[], &[condition("imac", RecordType::TXT, DNSClass::ANY)]), ResponseCode::NoError);
    assert_eq!(count(&mut world), 1);
    assert_eq!(world.code(&[], &[condition("imac", RecordType::ANY, DNSClass::ANY)]), ResponseCode::NoError);
    assert_eq!(count(&mut world), 0);
    let serial = world.serial();
    assert_eq!(world.code(&[], &[condition("imac", RecordType::ANY, DNSClass::ANY)]), ResponseCode::NoError);
    assert_eq!(world.serial(), serial, "nothing to delete is no change");
}

#[test]
fn a_refresh_keeps_the_serial_and_a_changed_address_moves_it() {
    let mut world = World::new();
    world.publish("imac");
    let serial = world.serial();
    world.publish("imac");
    assert_eq!(world.serial(), serial);
    let mut moved = advertisement("imac");
    moved.candidates[0].address.set_port(50_000);
    world.update("imac", &moved.to_update(&zone()).unwrap()).unwrap();
    assert_eq!(world.serial(), serial + 1);
}
