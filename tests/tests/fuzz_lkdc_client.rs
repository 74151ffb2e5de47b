//! A KDC, or whoever answers in its place, may send a client anything: it gets an error, never a panic and never a ticket it did not earn.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bolero::check;
use btmm_tests::damage::{self, Damage};
use btmmd::entropy::{Entropy, SystemEntropy};
use btmmd::lkdc::client::refusal::Refusal;
use btmmd::lkdc::client::{AsExchange, ClockOffset, Grant, Next, Secrets, TgsExchange, TgsWish, Wish};
use btmmd::lkdc::crypto::{Etype, Key};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::kdc::event::{Source, Transport};
use btmmd::lkdc::kdc::policy::Policy;
use btmmd::lkdc::kdc::timestamp::EncryptedTimestamp;
use btmmd::lkdc::kdc::{Kdc, Settings};
use btmmd::lkdc::name::{Principal, RealmName};
use btmmd::lkdc::principals::{Entry, Kind, Principals, VersionedKeys, Versions};

/// Octets that are the same in every run: the same request, so that a recorded answer fits.
struct Repeated(u8);

impl Entropy for Repeated {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *octet = self.0;
        }
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// What a KDC answered, once: a demand for proof, an initial ticket, a service ticket.
struct Recorded {
    realm: String,
    demand: Vec<u8>,
    initial: Vec<u8>,
    tgt: Grant,
    service: Vec<u8>,
}

fn realm() -> RealmName {
    RealmName::of_key(b"a public key")
}

fn alice() -> FullName {
    FullName::new(Principal::user("alice"), realm().as_str())
}

fn host() -> FullName {
    FullName::new(Principal::service("host", "imac.alice.btmm.internal"), realm().as_str())
}

fn versioned(keys: Vec<Key>, salt: Option<String>) -> Versions {
    vec![VersionedKeys { kvno: 1, keys: keys.into(), salt, since: now(), until: None }].into()
}

fn kdc() -> Kdc {
    let random = || versioned(vec![Key::random(Etype::Aes128CtsHmacSha1_96, &mut SystemEntropy)], None);
    let principals = Principals::new();
    principals.insert(Entry { keys: random(), ..Entry::new(Principal::krbtgt(realm().as_str()), Kind::Krbtgt) });
    principals.insert(Entry { keys: random(), ..Entry::new(host().principal, Kind::Service) });
    let key = Key::from_password(Etype::Aes128CtsHmacSha1_96, b"secret", b"salt", None).unwrap();
    let keys = versioned(vec![key], Some("salt".to_owned()));
    principals.insert(Entry { keys, ..Entry::new(alice().principal, Kind::User { local: None }) });
    let settings = Settings { realm: realm(), policy: Policy::default(), host: "imac.alice.btmm.internal".to_owned() };
    Kdc::new(settings, principals, vec![Box::new(EncryptedTimestamp)])
}

fn exchange() -> (AsExchange, Repeated, Vec<u8>) {
    let wish = Wish { etypes: vec![Etype::Aes128CtsHmacSha1_96], ..Wish::tgt(alice()) };
    let mut exchange = AsExchange::new(wish, Secrets::password("secret"));
    let mut entropy = Repeated(1);
    let first = exchange.start(now(), &mut entropy).unwrap();
    (exchange, entropy, first)
}

fn tgs_exchange(tgt: &Grant) -> (TgsExchange, Repeated, Vec<u8>) {
    let wish = TgsWish { etypes: vec![Etype::Aes128CtsHmacSha1_96], ..TgsWish::service(host(), tgt) };
    let mut exchange = TgsExchange::new(wish, tgt.clone(), ClockOffset::default());
    let mut entropy = Repeated(2);
    let request = exchange.start(now(), &mut entropy).unwrap();
    (exchange, entropy, request)
}

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let kdc = kdc();
    let address: SocketAddr = "[fd00::2]:1000".parse().unwrap();
    let source = Source { address, transport: Transport::Tcp };
    let ask = |request: &[u8]| kdc.answer(request, source, now(), &mut SystemEntropy).reply;
    let (mut first, mut entropy, request) = exchange();
    let demand = ask(&request);
    let Next::Send(request) = first.receive(&demand, now(), &mut entropy).unwrap() else { panic!("no proof was asked for") };
    let initial = ask(&request);
    let Next::Done(tgt) = first.receive(&initial, now(), &mut entropy).unwrap() else { panic!("no ticket") };
    let (_, _, request) = tgs_exchange(&tgt);
    Recorded { realm: realm().to_string(), demand, initial, service: ask(&request), tgt: *tgt }
});

#[test]
fn any_octets_are_no_ticket() {
    check!().with_type::<(u8, Vec<u8>)>().for_each(|(kind, octets)| {
        // Mostly with a tag that is looked into.
        let tag = [0x6b, 0x6d, 0x7e].get(usize::from(*kind) % 4).copied();
        let octets: Vec<u8> = tag.into_iter().chain(octets.iter().copied()).collect();
        let _ = Refusal::read(&octets);
        let (mut initial, mut entropy, _) = exchange();
        assert!(!matches!(initial.receive(&octets, now(), &mut entropy), Ok(Next::Done(_))));
        let (mut service, mut entropy, _) = tgs_exchange(&RECORDED.tgt);
        assert!(!matches!(service.receive(&octets, now(), &mut entropy), Ok(Next::Done(_))));
    });
}

#[test]
fn a_damaged_demand_for_proof_leads_to_no_ticket_and_to_no_other_realm() {
    check!().with_type::<Damage>().for_each(|how| {
        let (mut exchange, mut entropy, _) = exchange();
        match exchange.receive(&damage::message(&RECORDED.demand, how), now(), &mut entropy) {
            Ok(Next::Done(grant)) => panic!("a ticket: {grant:?}"),
            Ok(Next::Send(_)) => assert_eq!(exchange.realm(), RECORDED.realm),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
    });
}

#[test]
fn a_damaged_initial_ticket_is_either_refused_or_the_same_but_for_its_sealed_part() {
    check!().with_type::<Damage>().for_each(|how| {
        let (mut exchange, mut entropy, _) = exchange();
        let Next::Send(_) = exchange.receive(&RECORDED.demand, now(), &mut entropy).unwrap() else { panic!("too early") };
        match exchange.receive(&damage::message(&RECORDED.initial, how), now(), &mut entropy) {
            Ok(Next::Done(grant)) => same_but_sealed(&grant, &RECORDED.tgt),
            Ok(Next::Send(_)) => panic!("a reply is no demand"),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
    });
}

#[test]
fn a_damaged_service_ticket_is_either_refused_or_the_same_but_for_its_sealed_part() {
    let (mut exchange, mut entropy, _) = tgs_exchange(&RECORDED.tgt);
    let Next::Done(genuine) = exchange.receive(&RECORDED.service, now(), &mut entropy).unwrap() else { panic!("no ticket") };
    check!().with_type::<Damage>().for_each(|how| {
        let (mut exchange, mut entropy, _) = tgs_exchange(&RECORDED.tgt);
        if let Ok(Next::Done(grant)) = exchange.receive(&damage::message(&RECORDED.service, how), now(), &mut entropy) {
            same_but_sealed(&grant, &genuine);
        }
    });
}

/// The part of a ticket that only the service reads is nothing a client can judge; everything else it does.
fn same_but_sealed(grant: &Grant, genuine: &Grant) {
    assert_eq!((&grant.client, &grant.server, grant.flags, grant.times), (&genuine.client, &genuine.server, genuine.flags, genuine.times));
    assert_eq!(grant.key, genuine.key);
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    damage::excessive(&[0x6b, 0x6d, 0x7e, 0x30], |octets| {
        assert!(Refusal::read(octets).is_err());
        let (mut initial, mut entropy, _) = exchange();
        assert!(initial.receive(octets, now(), &mut entropy).is_err());
        let (mut service, mut entropy, _) = tgs_exchange(&RECORDED.tgt);
        assert!(service.receive(octets, now(), &mut entropy).is_err());
    });
    // What a demand for proof says lies in its e-data, and there again in octets.
    damage::excessive_inside(&RECORDED.demand, |octets| {
        let (mut exchange, mut entropy, _) = exchange();
        assert!(!matches!(exchange.receive(octets, now(), &mut entropy), Ok(Next::Done(_))));
    });
    damage::excessive_inside(&RECORDED.initial, |octets| {
        let (mut exchange, mut entropy, _) = exchange();
        let Next::Send(_) = exchange.receive(&RECORDED.demand, now(), &mut entropy).unwrap() else { panic!("too early") };
        if let Ok(Next::Done(grant)) = exchange.receive(octets, now(), &mut entropy) {
            same_but_sealed(&grant, &RECORDED.tgt);
        }
    });
    damage::excessive_inside(&RECORDED.service, |octets| {
        let (mut exchange, mut entropy, _) = tgs_exchange(&RECORDED.tgt);
        let _ = exchange.receive(octets, now(), &mut entropy);
    });
}
