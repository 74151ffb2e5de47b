//! The zone's server and its clients, bytes to bytes, in a time of our own.
use std::time::{Duration, Instant};

use btmmd::account::name::{MachineName, ZoneName};
use btmmd::rendezvous::Now;
use btmmd::rendezvous::client::{Client, ClientError, Reply};
use btmmd::rendezvous::outline::{CanonicalName, Outline};
use btmmd::rendezvous::records::{Advertisement, Candidate, CandidateKind, Filter, read_zone, withdrawal};
use btmmd::rendezvous::server::Server;
use btmmd::rendezvous::snapshot::SnapshotError;
use btmmd::rendezvous::tsig::{self, Chain, Key, Timers, TsigSecret};
use btmmd::rendezvous::zone::{Limits, Zone};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

const WALL: u64 = 1_800_000_000;

fn zone() -> ZoneName {
    "alice.btmm.internal".parse().unwrap()
}

fn machine(name: &str) -> MachineName {
    name.parse().unwrap()
}

fn secret(seed: u8) -> TsigSecret {
    TsigSecret::new(&[seed; 32]).unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.alice.btmm.internal.")).unwrap()
}

fn advertisement(machine_name: &str) -> Advertisement {
    Advertisement {
        machine: machine(machine_name),
        inner: "fd12:3456:789a::1".parse().unwrap(),
        candidates: vec![
            Candidate { kind: CandidateKind::Mapped, address: "203.0.113.7:49152".parse().unwrap() },
            Candidate { kind: CandidateKind::Local, address: "192.168.1.7:4500".parse().unwrap() },
        ],
        nat: "mapped".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

struct World {
    server: Server,
    start: Instant,
    now: Now,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let mut server = Server::new(zone(), Zone::new(&zone(), &machine("base"), Limits::default(), 7));
        for (index, member) in ["base", "imac", "laptop"].into_iter().enumerate() {
            server.set_key(&machine(member), secret(index as u8));
        }
        Self { server, start, now: Now { monotonic: start, wall: WALL } }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { monotonic: self.now.monotonic + time, wall: self.now.wall + time.as_secs() };
    }

    fn raw(&mut self, request: &[u8]) -> Vec<Vec<u8>> {
        self.server.handle(request, self.now).messages
    }

    /// The only reply: its code and TSIG error, and whether it carries a MAC.
    fn refusal(&mut self, request: &[u8]) -> (ResponseCode, u16, bool) {
        let replies = self.raw(request);
        assert_eq!(replies.len(), 1);
        let message = Message::from_vec(&replies[0]).unwrap();
        assert!(message.answers.is_empty() && message.metadata.message_type == MessageType::Response);
        let signature = Outline::read(&replies[0]).unwrap().signature;
        (message.metadata.response_code, signature.as_ref().map_or(0, |s| s.error), signature.is_some_and(|s| !s.mac.is_empty()))
    }

    fn ask(&mut self, who: &str, make: impl Fn(&Client, u64) -> btmmd::rendezvous::client::Exchange) -> Result<Reply, ClientError> {
        let mut exchange = make(&client(who), self.now.wall);
        for message in self.raw(&exchange.request.clone()) {
            if let Some(reply) = exchange.accept(&message, self.now.wall)? {
                return Ok(reply);
            }
        }
        panic!("the reply is incomplete");
    }

    fn update(&mut self, who: &str, changes: &[Record]) -> Result<Reply, ClientError> {
        self.ask(who, |client, wall| client.update(changes, 7200, 1, wall))
    }

    fn publish(&mut self, who: &str) {
        self.update(who, &advertisement(who).to_update(&zone()).unwrap()).unwrap();
    }

    fn transfer(&mut self, who: &str) -> Vec<Record> {
        self.ask(who, |client, wall| client.transfer(2, wall)).unwrap().answers
    }

    fn machines(&mut self) -> Vec<String> {
        let records = self.transfer("base");
        read_zone(&zone(), &records, Filter::default()).into_keys().map(String::from).collect()
    }

    fn serial(&mut self) -> u32 {
        self.ask("laptop", |client, wall| client.serial(3, wall)).unwrap().serial().unwrap()
    }

    fn code(&mut self, prerequisites: &[Record], changes: &[Record]) -> ResponseCode {
        let mut message = Message::new(9, MessageType::Query, OpCode::Update);
        message.add_query(Query::query(Name::from_ascii("alice.btmm.internal.").unwrap(), RecordType::SOA));
        message.add_answers(prerequisites.iter().cloned()).add_authorities(changes.iter().cloned());
        let mut bytes = message.to_vec().unwrap();
        sign(&mut bytes, "imac", 1, self.now.wall);
        Message::from_vec(&self.raw(&bytes)[0]).unwrap().metadata.response_code
    }
}

fn client(who: &str) -> Client {
    let seed = ["base", "imac", "laptop"].iter().position(|known| *known == who).map_or(99, |index| index as u8);
    Client::new(&machine(who), &zone(), secret(seed)).unwrap()
}

fn key(who: &str, seed: u8) -> Key {
    Key { name: CanonicalName::from_text(&machine(who).in_zone(&zone())).unwrap(), secret: secret(seed) }
}

fn sign(bytes: &mut Vec<u8>, who: &str, seed: u8, wall: u64) {
    tsig::sign(bytes, &key(who, seed), Chain::Request, Timers::at(wall));
}

fn query(kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name("imac"), kind));
    message.to_vec().unwrap()
}

fn of_class(mut record: Record, class: DNSClass) -> Record {
    record.dns_class = class;
    record.ttl = 0;
    record
}

fn address(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 120, RData::A(A::new(192, 0, 2, last)))
}

fn condition(owner: &str, kind: RecordType, class: DNSClass) -> Record {
    of_class(Record::update0(name(owner), 0, kind), class)
}

#[test]
fn what_one_machine_publishes_another_reads() {
    let mut world = World::new();
    world.publish("imac");
    let records = world.transfer("laptop");
    assert_eq!(read_zone(&zone(), &records, Filter::default()).into_values().collect::<Vec<_>>(), [advertisement("imac")]);
    let reply = world.ask("laptop", |client, wall| client.query(&name("IMAC"), RecordType::AAAA, 5, wall)).unwrap();
    assert_eq!(reply.answers[0].data.ip_addr().unwrap().to_string(), "fd12:3456:789a::1");
}

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

#[test]
fn a_lease_is_granted_within_bounds_ends_on_time_and_is_kept_by_refreshing() {
    let mut world = World::new();
    for (asked, granted) in [(1, 1800), (3600, 3600), (7200, 7200), (u32::MAX, 7200)] {
        let changes = advertisement("imac").to_update(&zone()).unwrap();
        assert_eq!(world.ask("imac", |client, wall| client.update(&changes, asked, 1, wall)).unwrap().lease, Some(granted));
    }
    world.publish("laptop");
    world.pass(Duration::from_secs(5760));
    world.publish("imac");
    let serial = world.serial();
    world.pass(Duration::from_secs(1439));
    assert_eq!(world.machines(), ["imac", "laptop"]);
    assert_eq!(world.server.poll_timeout().unwrap().0, world.start + Duration::from_secs(7200));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.machines(), ["imac"]);
    assert_eq!(world.serial(), serial + 1);
    world.pass(Duration::from_secs(5760));
    assert_eq!(world.machines(), [""; 0]);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn who_asks_for_no_lease_gets_one_all_the_same() {
    let mut world = World::new();
    assert_eq!(world.code(&[], &[address("imac", 1)]), ResponseCode::NoError);
    world.pass(Duration::from_secs(7199));
    assert_eq!(world.transfer("base").len(), 3);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.transfer("base").len(), 2);
}

#[test]
fn goodbye_takes_everything_of_one_machine_and_nothing_of_another() {
    let mut world = World::new();
    world.publish("imac");
    world.publish("laptop");
    world.update("imac", &withdrawal(&machine("imac"), &zone()).unwrap()).unwrap();
    assert_eq!(world.machines(), ["laptop"]);
}

#[test]
fn a_removed_key_is_unknown_at_once_and_its_records_are_gone() {
    let mut world = World::new();
    world.publish("imac");
    world.server.remove_key(&machine("imac"));
    assert_eq!(world.machines(), [""; 0]);
    assert_eq!(world.update("imac", &[address("imac", 1)]), Err(ClientError::UnknownKey));
    world.server.set_key(&machine("imac"), secret(9));
    assert_eq!(world.update("imac", &[address("imac", 1)]), Err(ClientError::WrongSecret));
}

#[test]
fn a_restart_from_the_snapshot_loses_nothing_and_leases_run_on_meanwhile() {
    let mut world = World::new();
    world.publish("imac");
    world.pass(Duration::from_secs(100));
    world.publish("laptop");
    let (before, serial) = (world.transfer("base"), world.serial());
    let bytes = world.server.zone().to_snapshot(world.now.monotonic, world.now.wall);
    let restore = |wall: u64| Zone::from_snapshot(&bytes, &zone(), &machine("base"), Limits::default(), Instant::now(), wall).unwrap();
    let same = restore(world.now.wall);
    assert_eq!((same.transfer(), same.serial()), ([before.clone(), vec![before[0].clone()]].concat(), serial));
    let later = restore(world.now.wall + 7150);
    assert!(later.serial() != serial && later.transfer().len() < before.len(), "imac's lease ended while the base was down");
    let backwards = restore(0);
    assert_eq!(backwards.transfer(), same.transfer(), "a clock that starts in 1970 ends nobody's lease");
}

#[test]
fn a_damaged_or_foreign_snapshot_is_an_error_that_says_what_is_wrong() {
    let mut world = World::new();
    world.publish("imac");
    let bytes = world.server.zone().to_snapshot(world.now.monotonic, world.now.wall);
    let read = |bytes: &[u8], zone: &str| {
        Zone::from_snapshot(bytes, &zone.parse().unwrap(), &machine("base"), Limits::default(), Instant::now(), WALL).map(|_| ())
    };
    assert_eq!(read(&bytes, "alice.btmm.internal"), Ok(()));
    let edited = |from: &str, to: &str| String::from_utf8(bytes.clone()).unwrap().replace(from, to).into_bytes();
    assert_eq!(read(&edited("\"version\": 1", "\"version\": 2"), "alice.btmm.internal"), Err(SnapshotError::Version(2)));
    let other = read(&bytes, "bob.btmm.internal").unwrap_err().to_string();
    assert_eq!(other, "holds zone alice.btmm.internal., not bob.btmm.internal.");
    let damaged = read(&edited("\"type\": 28", "\"type\": 33"), "alice.btmm.internal");
    assert_eq!(damaged, Err(SnapshotError::Record("imac.alice.btmm.internal.".to_owned())));
    for length in 0..bytes.len() - 2 {
        assert!(matches!(read(&bytes[..length], "alice.btmm.internal"), Err(SnapshotError::Syntax(_))), "cut at {length}");
    }
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
fn absent_names_and_absent_types_are_told_apart() {
    let mut world = World::new();
    world.publish("imac");
    let mut code = |owner: &str, kind| {
        let reply = world.ask("laptop", |client, wall| client.query(&name(owner), kind, 1, wall)).unwrap();
        (reply.code, reply.answers.len())
    };
    assert_eq!(code("imac", RecordType::MX), (ResponseCode::NoError, 0));
    assert_eq!(code("_udp.imac", RecordType::A), (ResponseCode::NoError, 0), "an empty non-terminal exists");
    assert_eq!(code("nobody", RecordType::A), (ResponseCode::NXDomain, 0));
    assert_eq!(code("_autotunnel._udp.imac", RecordType::SRV), (ResponseCode::NoError, 2));
    assert_eq!(code("_autotunnel._udp.imac", RecordType::ANY), (ResponseCode::NoError, 3));
    let outside = world.ask("laptop", |client, wall| client.query(&Name::from_ascii("example.org.").unwrap(), RecordType::A, 1, wall));
    assert!(matches!(outside, Err(ClientError::Refused(ResponseCode::Refused, _))));
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
