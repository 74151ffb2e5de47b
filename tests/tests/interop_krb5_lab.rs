//! The lab's Kerberos judged by MIT alone: its own client against its own KDC, before either meets ours.
use btmm_tests::lab::kerberos::{Conf, MitKdc, Pair};

const REALM: &str = "EXAMPLE.TEST";

#[test]
fn a_stock_client_gets_tickets_from_a_stock_kdc() {
    let pair = Pair::new().expect("two machines");
    let kdc = MitKdc::new(REALM).principal("alice", "a secret").service("host/imac.alice.btmm.internal");
    let kdc = kdc.start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new().realm(REALM, &pair.imac)).expect("a krb5.conf");
    let wrong = pair.laptop.kinit(&["alice@EXAMPLE.TEST"], Some("another secret")).expect_err("a wrong password");
    assert!(format!("{wrong}").contains("trace"), "{wrong}");
    pair.laptop.kinit(&["alice@EXAMPLE.TEST"], Some("a secret")).expect("a ticket");
    pair.laptop.kvno(&[&pair.imac.service("host", REALM)]).expect("a service ticket");
    let list = pair.laptop.klist(&["-e"]).expect("a list").out;
    assert!(list.contains("host/imac.alice.btmm.internal@EXAMPLE.TEST") && list.contains("aes256-cts-hmac-sha384-192"), "{list}");
    pair.laptop.kdestroy().expect("thrown away");
    pair.laptop.klist(&[]).expect_err("nothing to list");
    drop(kdc);
}

#[test]
fn a_sharing_certificate_stands_in_for_a_password_at_a_stock_kdc() {
    let pair = Pair::new().expect("two machines");
    let kdc = MitKdc::new(&pair.imac.realm()).principal("alice", "a secret").start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new().realm_of(&pair.imac)).expect("a krb5.conf");
    let user = format!("alice@{}", pair.imac.realm());
    let got = pair.laptop.kinit_by_certificate(&[&user]);
    assert!(got.is_ok(), "{:#}\n--- KDC\n{}", got.unwrap_err(), kdc.log());
    assert!(pair.laptop.trace().contains("PKINIT"), "{}", pair.laptop.trace());
}
