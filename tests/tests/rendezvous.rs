//! The zone's server and its clients, bytes to bytes, in a time of our own.
use std::time::{Duration, Instant};

use btmmd::rendezvous::client::ClientError;
use btmmd::rendezvous::records::{Filter, read_zone, withdrawal};
use btmmd::rendezvous::snapshot::SnapshotError;
use btmmd::rendezvous::zone::{Limits, Zone};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

#[path = "rendezvous/signatures.rs"]
mod signatures;
#[path = "rendezvous/updates.rs"]
mod updates;
#[path = "rendezvous/world.rs"]
mod world;

use world::*;

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
fn labels_of_any_octets_survive_the_disk() {
    let mut world = World::new();
    let odd = Name::from_labels([&b"\x1f\xff .\\\0"[..], "Bob’s disk".as_bytes(), b"imac", b"alice", b"btmm", b"internal"]).unwrap();
    let mut record = address("imac", 1);
    record.name = odd.clone();
    assert_eq!(world.code(&[], &[record]), ResponseCode::NoError);
    let bytes = world.server.zone().to_snapshot(world.now.monotonic, WALL);
    let read = Zone::from_snapshot(&bytes, &zone(), &machine("base"), Limits::default(), Instant::now(), WALL).unwrap();
    assert_eq!(read.transfer()[2].name, odd);
}
