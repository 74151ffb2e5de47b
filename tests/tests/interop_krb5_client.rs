//! Our Kerberos client against MIT's KDC, and its caches in the hands of MIT's tools.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use btmm_tests::lab::Node;
use btmm_tests::lab::kerberos::{Conf, FOLDER, Machine, MitKdc, Pair};
use btmmd::account::key::MachineKey;
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::ccache::{self, CachePlace, CredentialCache};
use btmmd::lkdc::client::delivery::{PORT, Transports};
use btmmd::lkdc::client::driver::{Error, Kdcs, Ticketed};
use btmmd::lkdc::client::wish::TimestampUse;
use btmmd::lkdc::client::{AsExchange, Certificate, ClientError, ClockOffset, Grant, Secrets, TgsExchange, TgsWish, Wish};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::kdc::options::Flags;
use btmmd::lkdc::name::Principal;
use btmmd::lkdc::pkinit::Signatory;

const REALM: &str = "EXAMPLE.TEST";
const PASSWORD: &str = "a secret";

fn kdcs(pair: &Pair, transports: Transports) -> Kdcs {
    Kdcs { servers: vec![SocketAddr::from((pair.imac.inner, PORT))], transports }
}

fn run<T: Send>(node: &Node, future: impl Future<Output = T> + Send) -> T {
    node.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    })
    .expect("inside the machine")
}

fn alice(realm: &str) -> FullName {
    FullName::new(Principal::user("alice"), realm)
}

fn initial(pair: &Pair, exchange: AsExchange) -> Result<Ticketed, Error> {
    run(&pair.laptop.node, kdcs(pair, Transports::Both).initial(exchange))
}

fn service(pair: &Pair, wish: TgsWish, tgt: &Grant) -> Result<Ticketed, Error> {
    run(&pair.laptop.node, kdcs(pair, Transports::Both).ticket(TgsExchange::new(wish, tgt.clone(), ClockOffset::default())))
}

fn host(pair: &Pair, realm: &str) -> FullName {
    FullName::new(Principal::service("host", &pair.imac.fqdn()), realm)
}

/// The cache that MIT's tools of a machine use, as the machine sees it.
fn place() -> CachePlace {
    CachePlace::File(format!("{FOLDER}/cc").into())
}

fn save(machine: &Machine, cache: &CredentialCache) {
    machine.node.enter(|| ccache::save(&place(), cache)).expect("inside the machine").expect("a cache");
}

fn code(error: &Error) -> i32 {
    match error {
        Error::Client(ClientError::Refused { refusal, .. }) => refusal.code,
        other => panic!("{other}"),
    }
}

fn stock(pair: &Pair) -> btmm_tests::lab::Running {
    let kdc = MitKdc::new(REALM).principal("alice", PASSWORD).service(&format!("host/{}", pair.imac.fqdn()));
    let kdc = kdc.start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new().realm(REALM, &pair.imac)).expect("a krb5.conf");
    kdc
}

#[test]
fn a_password_gets_tickets_from_a_stock_kdc_that_stock_tools_read_and_use() {
    let pair = Pair::new().expect("two machines");
    let kdc = stock(&pair);
    for transports in [Transports::Udp, Transports::Tcp] {
        let exchange = AsExchange::new(Wish::tgt(alice(REALM)), Secrets::password(PASSWORD));
        let got = run(&pair.laptop.node, kdcs(&pair, transports).initial(exchange));
        got.unwrap_or_else(|error| panic!("{transports:?}: {error}\n--- KDC\n{}", kdc.log()));
    }
    let got = initial(&pair, AsExchange::new(Wish::tgt(alice(REALM)), Secrets::password(PASSWORD))).expect("a ticket");
    let ticket = service(&pair, TgsWish::service(host(&pair, REALM), &got.grant), &got.grant).expect("a service ticket");
    let mut kept = CredentialCache::new(alice(REALM));
    kept.store(got.grant.to_credential());
    kept.store(ticket.grant.to_credential());
    save(&pair.laptop, &kept);
    let list = pair.laptop.klist(&["-e", "-f"]).expect("a list").out;
    assert!(list.contains("krbtgt/EXAMPLE.TEST@EXAMPLE.TEST") && list.contains("host/imac.alice.btmm.internal@EXAMPLE.TEST"), "{list}");
    // With our ticket-granting ticket, MIT's client gets one more, and renews ours.
    kept.remove(|ticket| !ticket.server.is_krbtgt());
    save(&pair.laptop, &kept);
    pair.laptop.kvno(&[&pair.imac.service("host", REALM)]).expect("a service ticket by kvno");
    pair.laptop.kinit(&["-R"], None).expect("renewed by kinit");
    drop(kdc);
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_told_apart() {
    let pair = Pair::new().expect("two machines");
    let kdc = stock(&pair);
    // Preauthentication failed; client not found.
    let wrong = AsExchange::new(Wish::tgt(alice(REALM)), Secrets::password("another secret"));
    assert_eq!(code(&initial(&pair, wrong).expect_err("a wrong password")), 24);
    let nobody = Wish::tgt(FullName::new(Principal::user("mallory"), REALM));
    assert_eq!(code(&initial(&pair, AsExchange::new(nobody, Secrets::password(PASSWORD))).expect_err("nobody")), 6);
    drop(kdc);
}

#[test]
fn tickets_of_kinit_are_used_and_renewed_by_our_client() {
    let pair = Pair::new().expect("two machines");
    let kdc = stock(&pair);
    pair.laptop.kinit(&["-r", "2d", "-l", "1h", "alice@EXAMPLE.TEST"], Some(PASSWORD)).expect("a ticket by kinit");
    let kept = pair.laptop.node.enter(|| ccache::load(&place())).expect("inside the machine").expect("readable").expect("there");
    let tgt = kept.tickets().find(|ticket| ticket.server.is_krbtgt()).expect("a ticket-granting ticket");
    let tgt = Grant::from_credential(tgt).expect("usable");
    service(&pair, TgsWish::service(host(&pair, REALM), &tgt), &tgt).expect("a service ticket");
    let renewed = service(&pair, TgsWish::renewal(&tgt), &tgt).expect("renewed").grant;
    assert_eq!(renewed.times.renew_till, tgt.times.renew_till);
    assert!(renewed.times.end >= tgt.times.end);
    // User to user: a ticket for alice under the session key of her own ticket-granting ticket.
    let wish = TgsWish::user_to_user(alice(REALM), tgt.ticket.clone(), &tgt);
    let between = service(&pair, wish, &tgt).expect("user to user").grant;
    assert_eq!(between.server, alice(REALM));
    // Forwarded: the same rights on another machine.
    let wish = TgsWish { options: Flags::FORWARDED, ..TgsWish::service(FullName::krbtgt(REALM), &tgt) };
    let refused = service(&pair, wish, &tgt).expect_err("kinit did not ask for a forwardable one");
    assert_eq!(code(&refused), 13);
    drop(kdc);
}

#[test]
fn armor_of_a_ticket_protects_a_password_at_a_stock_kdc() {
    let pair = Pair::new().expect("two machines");
    let kdc = stock(&pair);
    let got = initial(&pair, AsExchange::new(Wish::tgt(alice(REALM)), Secrets::password(PASSWORD))).expect("a ticket");
    let armor = got.grant.armor(got.offset, SystemTime::now(), &mut SystemEntropy).expect("armor");
    let wish = Wish { timestamp: TimestampUse::Never, ..Wish::tgt(alice(REALM)) };
    let armored = initial(&pair, AsExchange::new(wish, Secrets::password(PASSWORD)).armored(armor.clone()));
    armored.unwrap_or_else(|error| panic!("{error}\n--- KDC\n{}", kdc.log()));
    let wrong = initial(&pair, AsExchange::new(Wish::tgt(alice(REALM)), Secrets::password("another")).armored(armor));
    assert_eq!(code(&wrong.expect_err("a wrong password")), 24);
    drop(kdc);
}

fn signatory(machine: &Machine) -> Signatory {
    let key = MachineKey::from_pem(machine.key.to_pem().expect("PEM").as_bytes()).expect("the same key");
    Signatory::new(Arc::new(key), machine.certificate.clone()).expect("of this key")
}

#[test]
fn the_sharing_certificate_gets_tickets_from_a_stock_kdc_with_the_realms_key() {
    let pair = Pair::new().expect("two machines");
    let realm = pair.imac.realm();
    let kdc = MitKdc::new(&realm).principal("alice", PASSWORD).query("add_principal -randkey WELLKNOWN/ANONYMOUS");
    let kdc = kdc.start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new().realm(&realm, &pair.imac)).expect("a krb5.conf");
    let trust = pair.authority.trust();
    let certificate = Certificate::of_machine(signatory(&pair.laptop), trust);
    let got = initial(&pair, AsExchange::new(Wish::tgt(alice(&realm)), Secrets::certificate(certificate)));
    let got = got.unwrap_or_else(|error| panic!("{error}\n--- KDC\n{}", kdc.log()));
    let mut kept = CredentialCache::new(alice(&realm));
    kept.store(got.grant.to_credential());
    save(&pair.laptop, &kept);
    assert!(pair.laptop.klist(&["-f"]).expect("a list").out.contains(&realm));
    // Nobody's ticket, as armor for a password.
    let nobody = AsExchange::new(Wish::anonymous(&realm), Secrets::certificate(Certificate::anonymous(trust)));
    let nobody = initial(&pair, nobody).unwrap_or_else(|error| panic!("{error}\n--- KDC\n{}", kdc.log()));
    let armor = nobody.grant.armor(nobody.offset, SystemTime::now(), &mut SystemEntropy).expect("armor");
    let armored = AsExchange::new(Wish::tgt(alice(&realm)), Secrets::password(PASSWORD)).armored(armor);
    initial(&pair, armored).unwrap_or_else(|error| panic!("{error}\n--- KDC\n{}", kdc.log()));
    drop(kdc);
}

#[test]
fn a_kdc_with_another_key_than_the_realms_is_refused() {
    let pair = Pair::new().expect("two machines");
    // Everything is right but the key: imac's KDC answers for the realm that laptop's key names.
    let realm = pair.laptop.realm();
    let kdc = MitKdc::new(&realm).principal("alice", PASSWORD).start(&pair.imac).expect("krb5kdc");
    let certificate = Certificate::of_machine(signatory(&pair.laptop), pair.authority.trust());
    let refused = initial(&pair, AsExchange::new(Wish::tgt(alice(&realm)), Secrets::certificate(certificate)));
    match refused.expect_err("an impostor") {
        Error::Client(ClientError::Impostor(named)) => assert_eq!(named, realm),
        other => panic!("{other}\n--- KDC\n{}", kdc.log()),
    }
    drop(kdc);
}
