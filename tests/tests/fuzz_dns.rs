//! Hostile octets at every door of the rendezvous: none may panic, and none may be believed without a signature.
//!
//! Half of the inputs are noise, half are real messages with a few octets changed, removed or doubled; behind the signature they are
//! signed, so that hickory and the zone get to see them too.
use std::time::Instant;

use bolero::check;
use btmmd::account::name::{MachineName, ZoneName};
use btmmd::rendezvous::Now;
use btmmd::rendezvous::client::Client;
use btmmd::rendezvous::outline::{CanonicalName, Outline};
use btmmd::rendezvous::records::{Advertisement, Candidate, CandidateKind, Filter, MAX_CANDIDATES, read_zone};
use btmmd::rendezvous::server::Server;
use btmmd::rendezvous::tsig::{self, Chain, Key, Timers, TsigSecret};
use btmmd::rendezvous::zone::{Limits, Zone};
use hickory_proto::op::Message;

const WALL: u64 = 1_800_000_000;
const ITERATIONS: usize = 20_000;

/// One change to a message: where (modulo its length), what, how.
type Mutation = (u16, u8, u8);

fn zone() -> ZoneName {
    "alice.btmm.internal".parse().unwrap()
}

fn imac() -> MachineName {
    "imac".parse().unwrap()
}

fn secret() -> TsigSecret {
    TsigSecret::new(&[1; 32]).unwrap()
}

fn advertisement() -> Advertisement {
    let candidate = |port| Candidate { kind: CandidateKind::Local, address: ([192, 168, 1, 7], port).into() };
    let candidates = (1..=4).map(candidate).collect();
    Advertisement {
        machine: imac(),
        inner: "fd12::1".parse().unwrap(),
        candidates,
        nat: "n".to_owned(),
        version: "v".to_owned(),
        realm: "R".to_owned(),
    }
}

fn client() -> Client {
    Client::new(&imac(), &zone(), secret()).unwrap()
}

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: WALL }
}

fn server() -> Server {
    let mut server = Server::new(zone(), Zone::new(&zone(), &"base".parse().unwrap(), Limits::default(), 7));
    server.set_key(&imac(), secret());
    let update = client().update(&advertisement().to_update(&zone()).unwrap(), 7200, 1, WALL);
    server.handle(&update.request, now());
    server
}

/// Every kind of request, unsigned, and the replies to them, signed.
fn genuine() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (client, mut server) = (client(), server());
    let changes = advertisement().to_update(&zone()).unwrap();
    let requests = [client.serial(1, WALL), client.transfer(1, WALL), client.update(&changes, 7200, 1, WALL)];
    let replies = requests.iter().flat_map(|exchange| server.handle(&exchange.request, now()).messages).collect();
    (requests.iter().map(|exchange| unsigned(&exchange.request)).collect(), replies)
}

fn unsigned(message: &[u8]) -> Vec<u8> {
    let start = Outline::read(message).unwrap().signature.unwrap().start;
    let mut message = message[..start].to_vec();
    message[11] -= 1;
    message
}

fn mutate(message: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut message = message.to_vec();
    for (place, value, how) in mutations {
        if message.is_empty() {
            break;
        }
        let at = usize::from(*place) % message.len();
        match how % 5 {
            0 => message[at] = *value,
            1 => message[at] ^= 1 << (value % 8),
            2 => message.insert(at, *value),
            3 => message.truncate(at),
            _ => {
                message.remove(at);
            }
        }
    }
    message
}

fn sign(message: &mut Vec<u8>, chain: Chain) {
    let key = Key { name: CanonicalName::from_text("imac.alice.btmm.internal").unwrap(), secret: secret() };
    tsig::sign(message, &key, chain, Timers::at(WALL));
}

#[test]
fn noise_and_damaged_requests_never_change_the_zone_or_learn_of_it() {
    let (requests, _) = genuine();
    let mut server = server();
    let before = server.zone().transfer();
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>, Vec<Mutation>)>().for_each(|(which, noise, mutations)| {
        let damaged = requests.get(usize::from(*which) % 4).map(|request| mutate(request, mutations));
        let replies = server.handle(damaged.as_ref().unwrap_or(noise), now());
        assert_eq!(replies.from, None);
        for reply in replies.messages {
            assert!(Message::from_vec(&reply).is_ok_and(|reply| reply.answers.is_empty() && reply.authorities.is_empty()));
        }
    });
    assert_eq!(server.zone().transfer(), before);
}

#[test]
fn damaged_but_signed_requests_do_not_panic_and_stay_below_their_own_name() {
    let (requests, _) = genuine();
    let mut server = server();
    let limits = Limits::default();
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>, Vec<Mutation>)>().for_each(|(which, noise, mutations)| {
        let mut message = requests.get(usize::from(*which) % 4).map_or_else(|| noise.clone(), |request| mutate(request, mutations));
        sign(&mut message, Chain::Request);
        for reply in server.handle(&message, now()).messages {
            assert!(reply.len() < 65_536 && Message::from_vec(&reply).is_ok());
        }
    });
    let records = server.zone().transfer();
    assert!(records.len() <= limits.records + 3);
    let own = hickory_proto::rr::Name::from_ascii("imac.alice.btmm.internal.").unwrap();
    assert!(records[2..records.len() - 1].iter().all(|record| own.zone_of(&record.name)));
    let saved = server.zone().to_snapshot(now().monotonic, WALL);
    let again = Zone::from_snapshot(&saved, &zone(), &"base".parse().unwrap(), limits, Instant::now(), WALL).unwrap();
    assert_eq!(again.transfer(), records, "whatever was let in survives the disk");
}

#[test]
fn damaged_replies_are_not_believed_and_signed_nonsense_makes_no_long_lists() {
    let (_, replies) = genuine();
    check!().with_iterations(ITERATIONS).with_type::<(u8, bool, Vec<Mutation>)>().for_each(|(which, signed, mutations)| {
        let genuine = &replies[usize::from(*which) % replies.len()];
        let mut exchange = client().transfer(1, WALL);
        let request = Outline::read(&exchange.request).unwrap().signature.unwrap();
        if *signed {
            let mut reply = mutate(&unsigned(genuine), mutations);
            sign(&mut reply, Chain::First(&request.mac));
            if let Ok(Some(reply)) = exchange.accept(&reply, WALL) {
                for advertisement in read_zone(&zone(), &reply.answers, Filter::default()).into_values() {
                    assert!(advertisement.candidates.len() <= MAX_CANDIDATES && advertisement.nat.len() <= 64);
                }
            }
        } else {
            let damaged = mutate(genuine, mutations);
            let folded = damaged.eq_ignore_ascii_case(genuine);
            assert!(folded || exchange.accept(&damaged, WALL).is_err());
        }
    });
}

#[test]
fn a_damaged_snapshot_is_refused_or_still_a_zone() {
    let genuine = server().zone().to_snapshot(Instant::now(), WALL);
    check!().with_iterations(ITERATIONS / 4).with_type::<Vec<Mutation>>().for_each(|mutations| {
        let damaged = mutate(&genuine, mutations);
        let read = Zone::from_snapshot(&damaged, &zone(), &"base".parse().unwrap(), Limits::default(), Instant::now(), WALL);
        if let Ok(read) = read {
            assert!(read.transfer().len() >= 3);
        }
    });
}
