//! Any octets at the KDC: no panic, never more than one message in return, and a bent request never earns what the true one would not.
//!
//! Runs as an ordinary test on random inputs, and under `cargo bolero` with a coverage-guided engine.
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolero::check;
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::asn1::{self, MAX_MESSAGE};
use btmmd::lkdc::client::request::tgs_request;
use btmmd::lkdc::client::{AsExchange, Grant, Next, Secrets, TgsWish, Wish};
use btmmd::lkdc::crypto::{Etype, Key};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::kdc::event::{Outcome, Source, Transport};
use btmmd::lkdc::kdc::mechanisms::mechanisms;
use btmmd::lkdc::kdc::policy::Policy;
use btmmd::lkdc::kdc::{Answer, Kdc, Settings};
use btmmd::lkdc::name::{Principal, RealmName};
use btmmd::lkdc::principals::{Entry, Kind, Principals, VersionedKeys};

const HOST: &str = "imac.alice.btmm.internal";
const PASSWORD: &str = "correct horse";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn realm() -> RealmName {
    RealmName::of_key(b"the key of imac")
}

/// A panic ends the test: nobody sees what it left behind.
fn kdc() -> AssertUnwindSafe<Kdc> {
    let principals = Principals::new();
    let salt = format!("{}alice", realm());
    let random = || Etype::ALL.map(|etype| Key::random(etype, &mut SystemEntropy)).to_vec();
    let password = Key::from_password(Etype::Aes256CtsHmacSha1_96, PASSWORD.as_bytes(), salt.as_bytes(), None).expect("a key");
    let entries = [
        (Principal::krbtgt(realm().as_str()), Kind::Krbtgt, random(), None),
        (Principal::service("host", HOST), Kind::Service, random(), None),
        (Principal::user("alice"), Kind::User { local: None }, vec![password], Some(salt)),
    ];
    for (name, kind, keys, salt) in entries {
        let mut entry = Entry::new(name, kind);
        entry.keys = vec![VersionedKeys { kvno: 1, keys, salt, since: UNIX_EPOCH, until: None }];
        principals.insert(entry);
    }
    let settings = Settings { realm: realm(), policy: Policy::default(), host: HOST.to_owned() };
    AssertUnwindSafe(Kdc::new(settings, principals, mechanisms(UNIX_EPOCH, &mut SystemEntropy)))
}

fn ask(kdc: &Kdc, request: &[u8]) -> Answer {
    let address: SocketAddr = "[fd00::7]:4711".parse().expect("an address");
    kdc.answer(request, Source { address, transport: Transport::Tcp }, now(), &mut SystemEntropy)
}

/// A client's whole conversation for a ticket-granting ticket, and the ticket.
fn conversation(kdc: &Kdc) -> (Vec<Vec<u8>>, Grant) {
    let wish = Wish::tgt(FullName::new(Principal::user("alice"), realm().as_str()));
    let mut exchange = AsExchange::new(wish, Secrets::password(PASSWORD));
    let mut requests = vec![exchange.start(now(), &mut SystemEntropy).expect("a request")];
    loop {
        let reply = ask(kdc, requests.last().expect("a request")).reply;
        match exchange.receive(&reply, now(), &mut SystemEntropy).expect("the KDC agrees") {
            Next::Send(request) => requests.push(request),
            Next::Done(grant) => return (requests, *grant),
        }
    }
}

/// Octets replaced, and then an end cut off, where and how the fuzzer chooses.
fn damage(mut octets: Vec<u8>, changes: &[(u16, u8)], cut: u16) -> Vec<u8> {
    for (place, value) in changes.iter().take(8) {
        let place = usize::from(*place) % octets.len();
        octets[place] = *value;
    }
    octets.truncate(octets.len() - usize::from(cut) % octets.len());
    octets
}

/// One message or none; an answer that gives a ticket says to the audit log whose it is.
fn judge(answer: &Answer) -> bool {
    assert!(answer.reply.len() <= MAX_MESSAGE);
    if !answer.reply.is_empty() {
        asn1::bounds::check(&answer.reply).expect("what the KDC says is DER");
    }
    assert!(answer.events.len() <= 1);
    match answer.events.first().map(|event| (&event.outcome, &event.client)) {
        Some((Outcome::Issued { .. }, client)) => {
            assert_eq!(client, &Some(Principal::user("alice")));
            true
        }
        _ => false,
    }
}

#[test]
fn any_octets_get_an_answer_or_none() {
    let kdc = kdc();
    check!().for_each(|octets: &[u8]| {
        for tag in [None, Some(0x6a), Some(0x6c)] {
            let request: Vec<u8> = tag.into_iter().chain(octets.iter().copied()).collect();
            assert!(!judge(&ask(&kdc, &request)));
        }
    });
}

#[test]
fn bent_initial_requests_earn_nothing_for_others() {
    let kdc = kdc();
    let (requests, _) = conversation(&kdc);
    assert!(requests.len() >= 2, "one without a proof, one with");
    check!().with_type::<(u8, Vec<(u16, u8)>, u16)>().for_each(|(which, changes, cut)| {
        let request = requests[usize::from(*which) % requests.len()].clone();
        judge(&ask(&kdc, &damage(request, changes, *cut)));
    });
}

#[test]
fn bent_requests_with_a_ticket_earn_nothing_for_others() {
    let kdc = kdc();
    let (_, tgt) = conversation(&kdc);
    let service = FullName::new(Principal::service("host", HOST), realm().as_str());
    let wishes = [
        TgsWish::service(service.clone(), &tgt),
        TgsWish::renewal(&tgt),
        TgsWish::user_to_user(FullName::new(Principal::user("alice"), realm().as_str()), tgt.ticket.clone(), &tgt),
    ];
    check!().with_type::<(u8, Vec<(u16, u8)>, u16)>().for_each(|(which, changes, cut)| {
        let wish = &wishes[usize::from(*which) % wishes.len()];
        let request = tgs_request(wish, &tgt, now(), &mut SystemEntropy).expect("a request").bytes;
        let bent = damage(request.clone(), changes, *cut);
        let issued = judge(&ask(&kdc, &bent));
        // The checksum covers the body: with another one there is no ticket.
        if issued && asn1::req_body(&bent) != asn1::req_body(&request) {
            panic!("a ticket for a request that the client did not make");
        }
    });
}
