//! Any octets at the KDC: no panic, never more than one message in return, and a bent request never earns what the true one would not;
//! nor does anything that a client seals with keys that it has.
//!
//! Runs as an ordinary test on random inputs, and under `cargo xtask fuzz` with a coverage-guided engine.
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolero::check;
use btmm_tests::damage::{self, Damage};
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::asn1::{self, MAX_MESSAGE};
use btmmd::lkdc::client::request::{as_body, as_request, tgs_request, timestamp};
use btmmd::lkdc::client::{AsExchange, Grant, Next, Secrets, TgsWish, Wish};
use btmmd::lkdc::crypto::{Etype, Key, usage};
use btmmd::lkdc::fast::asn1::PaFxFastRequest;
use btmmd::lkdc::fast::challenge::Challenge;
use btmmd::lkdc::fast::client::{ArmorTicket, Inside};
use btmmd::lkdc::fast::{Armor, FastOptions, envelope};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::kdc::event::{Outcome, Source, Transport};
use btmmd::lkdc::kdc::mechanisms::mechanisms;
use btmmd::lkdc::kdc::policy::Policy;
use btmmd::lkdc::kdc::preauth::pa;
use btmmd::lkdc::kdc::{Answer, Kdc, Settings};
use btmmd::lkdc::name::{Principal, RealmName};
use btmmd::lkdc::principals::{Entry, Kind, Principals, VersionedKeys};
use btmmd::wire::der;
use rasn_kerberos::{ApReq, EncryptedData, PaData, TgsReq, Ticket};

const HOST: &str = "imac.alice.btmm.internal";
const PASSWORD: &str = "correct horse";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn realm() -> RealmName {
    RealmName::of_key(b"the key of imac")
}

fn salt() -> String {
    format!("{}alice", realm())
}

fn password_key() -> Key {
    Key::from_password(Etype::Aes256CtsHmacSha1_96, PASSWORD.as_bytes(), salt().as_bytes(), None).expect("a key")
}

fn alice() -> Wish {
    Wish::tgt(FullName::new(Principal::user("alice"), realm().as_str()))
}

/// A panic ends the test: nobody sees what it left behind.
fn kdc() -> AssertUnwindSafe<Kdc> {
    let principals = Principals::new();
    let salt = salt();
    let random = || Etype::ALL.map(|etype| Key::random(etype, &mut SystemEntropy)).to_vec();
    let password = password_key();
    let entries = [
        (Principal::krbtgt(realm().as_str()), Kind::Krbtgt, random(), None),
        (Principal::service("host", HOST), Kind::Service, random(), None),
        (Principal::user("alice"), Kind::User { local: None }, vec![password], Some(salt)),
    ];
    for (name, kind, keys, salt) in entries {
        let mut entry = Entry::new(name, kind);
        entry.keys = vec![VersionedKeys { kvno: 1, keys: keys.into(), salt, since: UNIX_EPOCH, until: None }].into();
        principals.insert(entry);
    }
    let settings = Settings { realm: realm(), policy: Policy::default(), host: HOST.to_owned() };
    AssertUnwindSafe(Kdc::new(settings, principals, mechanisms(Arc::default(), &mut SystemEntropy)))
}

fn ask(kdc: &Kdc, request: &[u8]) -> Answer {
    let address: SocketAddr = "[fd00::7]:4711".parse().expect("an address");
    kdc.answer(request, Source { address, transport: Transport::Tcp }, now(), &mut SystemEntropy)
}

/// A client's whole conversation for a ticket-granting ticket, and the ticket.
fn conversation(kdc: &Kdc) -> (Vec<Vec<u8>>, Grant) {
    let mut exchange = AsExchange::new(alice(), Secrets::password(PASSWORD));
    let mut requests = vec![exchange.start(now(), &mut SystemEntropy).expect("a request")];
    loop {
        let reply = ask(kdc, requests.last().expect("a request")).reply;
        match exchange.receive(&reply, now(), &mut SystemEntropy).expect("the KDC agrees") {
            Next::Send(request) => requests.push(request),
            Next::Done(grant) => return (requests, *grant),
        }
    }
}

/// One message or none; an answer that gives a ticket says to the audit log whose it is.
fn judge(answer: &Answer) -> bool {
    assert!(answer.reply.len() <= MAX_MESSAGE);
    if !answer.reply.is_empty() {
        der::check(&answer.reply).expect("what the KDC says is DER");
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
    check!().with_type::<(u8, Damage)>().for_each(|(which, damage)| {
        let request = &requests[usize::from(*which) % requests.len()];
        judge(&ask(&kdc, &damage::message(request, damage)));
    });
}

/// What a client can ask with a ticket.
fn wishes(tgt: &Grant) -> [TgsWish; 3] {
    let service = FullName::new(Principal::service("host", HOST), realm().as_str());
    [
        TgsWish::service(service, tgt),
        TgsWish::renewal(tgt),
        TgsWish::user_to_user(FullName::new(Principal::user("alice"), realm().as_str()), tgt.ticket.clone(), tgt),
    ]
}

/// A request of one of these kinds, as octets.
fn request_with(tgt: &Grant, which: u8) -> Vec<u8> {
    let wishes = wishes(tgt);
    let wish = &wishes[usize::from(which) % wishes.len()];
    tgs_request(wish, tgt, now(), &mut SystemEntropy).expect("a request").bytes
}

/// The request with what it presents, a ticket and a proof, changed.
fn presenting(request: &[u8], change: impl FnOnce(&mut ApReq)) -> Vec<u8> {
    let mut request: TgsReq = asn1::decode(request).expect("as made");
    let presented = &mut request.0.padata.as_mut().expect("a ticket")[0].value;
    let mut ap_req: ApReq = asn1::decode(presented).expect("as made");
    change(&mut ap_req);
    *presented = asn1::encode(&ap_req).into();
    asn1::encode(&request)
}

#[test]
fn bent_requests_with_a_ticket_earn_nothing_for_others() {
    let kdc = kdc();
    let (_, tgt) = conversation(&kdc);
    check!().with_type::<(u8, Damage)>().for_each(|(which, damage)| {
        let request = request_with(&tgt, *which);
        let bent = damage::message(&request, damage);
        let issued = judge(&ask(&kdc, &bent));
        // The checksum covers the body: with another one there is no ticket.
        if issued && asn1::req_body(&bent) != asn1::req_body(&request) {
            panic!("a ticket for a request that the client did not make");
        }
    });
}

/// What `data` holds, damaged and sealed again.
fn sealed_again(key: &Key, usage: u32, data: &EncryptedData, damage: &Damage) -> EncryptedData {
    let plain = envelope::open(key, usage, data).expect("sealed with this key");
    envelope::seal(key, usage, &damage::message(&plain, damage), &mut SystemEntropy)
}

fn value(number: i32, value: Vec<u8>) -> PaData {
    PaData { r#type: number, value: value.into() }
}

#[test]
fn a_bent_timestamp_under_the_true_key_earns_nothing_for_others() {
    let kdc = kdc();
    let (wish, key) = (alice(), password_key());
    check!().with_type::<(Damage, Damage)>().for_each(|(stamp, body)| {
        let data = timestamp(&key, usage::PA_ENC_TIMESTAMP, now(), &mut SystemEntropy);
        let data = sealed_again(&key, usage::PA_ENC_TIMESTAMP, &data, stamp);
        let padata = vec![value(pa::ENC_TIMESTAMP, asn1::encode(&data)), value(pa::REQ_ENC_PA_REP, Vec::new())];
        judge(&ask(&kdc, &damage::message(&as_request(padata, as_body(&wish, 7, now())), body)));
    });
}

#[test]
fn a_bent_authenticator_under_the_true_key_earns_nothing_for_others() {
    let kdc = kdc();
    let (_, tgt) = conversation(&kdc);
    check!().with_type::<(u8, Damage)>().for_each(|(which, damage)| {
        let bent = presenting(&request_with(&tgt, *which), |ap_req| {
            ap_req.authenticator = sealed_again(&tgt.key, usage::TGS_REQ_AUTHENTICATOR, &ap_req.authenticator, damage);
        });
        judge(&ask(&kdc, &bent));
    });
}

/// Armor made of a client's own ticket.
fn armor_of(tgt: &Grant) -> Armor {
    let ticket: Ticket = asn1::decode(&tgt.ticket).expect("a ticket");
    let with = ArmorTicket { ticket: &ticket, session: &tgt.key, realm: &tgt.client.realm, client: &tgt.client.principal };
    Armor::of_ticket(with, now(), &mut SystemEntropy)
}

#[test]
fn a_bent_request_in_true_armor_earns_nothing_for_others() {
    let kdc = kdc();
    let (_, tgt) = conversation(&kdc);
    let armor = armor_of(&tgt);
    let (body, long_term) = (as_body(&alice(), 7, now()), password_key());
    let covered = asn1::encode(&body);
    check!().with_type::<(bool, Damage, Damage)>().for_each(|(proven, inner, outer)| {
        let challenge = Challenge { armor: armor.key(), long_term: &long_term }.prove(now(), &mut SystemEntropy);
        let padata = if *proven { vec![value(pa::ENCRYPTED_CHALLENGE, challenge)] } else { Vec::new() };
        let inside = Inside { options: FastOptions(0), padata: &padata, body: &body };
        let worn = armor.request(&inside, &covered, &mut SystemEntropy);
        let PaFxFastRequest::Armored(mut request) = asn1::decode(&worn.value).expect("as made") else { panic!("one kind") };
        request.enc_fast_req = sealed_again(armor.key(), usage::FAST_ENC, &request.enc_fast_req, inner);
        let worn = value(pa::FX_FAST, asn1::encode(&PaFxFastRequest::Armored(request)));
        judge(&ask(&kdc, &damage::message(&as_request(vec![worn], body.clone()), outer)));
    });
}

#[test]
fn what_is_too_deep_or_too_long_is_refused_outside_and_inside() {
    let kdc = kdc();
    let (_, tgt) = conversation(&kdc);
    let key = password_key();
    damage::excessive(&[0x6a, 0x6c, 0x30], |octets| {
        assert!(!judge(&ask(&kdc, octets)));
        let data = envelope::seal(&key, usage::PA_ENC_TIMESTAMP, octets, &mut SystemEntropy);
        for (number, data) in
            [(pa::ENC_TIMESTAMP, octets.to_vec()), (pa::ENC_TIMESTAMP, asn1::encode(&data)), (pa::FX_FAST, octets.to_vec())]
        {
            assert!(!judge(&ask(&kdc, &as_request(vec![value(number, data)], as_body(&alice(), 7, now())))));
        }
        let authenticator = envelope::seal(&tgt.key, usage::TGS_REQ_AUTHENTICATOR, octets, &mut SystemEntropy);
        assert!(!judge(&ask(&kdc, &presenting(&request_with(&tgt, 0), |ap_req| ap_req.authenticator = authenticator))));
    });
    let body = as_body(&alice(), 7, now());
    let inside = Inside { options: FastOptions(0), padata: &[], body: &body };
    let worn = armor_of(&tgt).request(&inside, &asn1::encode(&body), &mut SystemEntropy);
    let (mut requests, _) = conversation(&kdc);
    requests.extend((0..3).map(|which| request_with(&tgt, which)));
    requests.push(as_request(vec![worn], body));
    for request in requests {
        damage::excessive_inside(&request, |octets| {
            judge(&ask(&kdc, octets));
        });
    }
}
