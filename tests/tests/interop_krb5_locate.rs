//! The locate plugin inside stock programs: they find a machine's KDC by it alone, and everything else as before.
use std::time::{Duration, Instant};

use btmm_tests::lab::kerberos::{Conf, MitKdc, Pair};

/// A KDC of `imac`'s own realm, and a `laptop` whose `krb5.conf` names no realm but has the plugin.
fn pair() -> (Pair, btmm_tests::lab::Running) {
    let pair = Pair::new().expect("two machines");
    let kdc = MitKdc::new(&pair.imac.realm()).principal("alice", "a secret").service("host/imac.alice.btmm.internal");
    let kdc = kdc.start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new()).expect("a krb5.conf");
    (pair, kdc)
}

#[test]
fn a_realm_is_found_only_through_the_plugin() {
    let (pair, _kdc) = pair();
    let (user, laptop) = (format!("alice@{}", pair.imac.realm()), &pair.laptop);
    let kinit = || laptop.kinit(&[&user], Some("a secret"));
    let refusal = |why: &str| format!("{:#}", kinit().expect_err(why));
    laptop.write_realms(&[&pair.imac, &pair.laptop]).expect("a table");
    assert!(refusal("no plugin").contains("Cannot find KDC"));
    laptop.install_locate_plugin().expect("installed");
    kinit().expect("a ticket");
    laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("a service ticket");
    laptop.write_realms(&[&pair.laptop]).expect("a table without imac");
    assert!(refusal("imac is not in the table").contains("Cannot find KDC"));
    laptop.node.run("rm /run/btmm/realms").expect("removed");
    assert!(refusal("no table").contains("Cannot find KDC"));
}

#[test]
fn both_transports_are_offered() {
    let (pair, _kdc) = pair();
    let (user, laptop) = (format!("alice@{}", pair.imac.realm()), &pair.laptop);
    laptop.write_realms(&[&pair.imac]).expect("a table");
    laptop.install_locate_plugin().expect("installed");
    for (limit, transport) in [("1", "stream"), ("32700", "dgram")] {
        laptop.configure(&Conf::new().set(&format!("udp_preference_limit = {limit}"))).expect("a krb5.conf");
        laptop.kinit(&[&user], Some("a secret")).expect("a ticket");
        let (trace, expected) = (laptop.trace(), format!("from {transport} {}", pair.imac.inner));
        assert!(trace.contains(&expected), "no {expected:?} in\n{trace}");
    }
}

#[test]
fn other_realms_are_left_to_krb5_conf() {
    let pair = Pair::new().expect("two machines");
    let kdc = MitKdc::new("EXAMPLE.TEST").principal("alice", "a secret").start(&pair.imac).expect("krb5kdc");
    pair.laptop.write_realms(&[&pair.imac]).expect("a table");
    pair.laptop.install_locate_plugin().expect("installed");
    pair.laptop.configure(&Conf::new().realm("EXAMPLE.TEST", &pair.imac)).expect("a krb5.conf");
    pair.laptop.kinit(&["alice@EXAMPLE.TEST"], Some("a secret")).expect("a ticket");
    drop(kdc);
}

#[test]
fn whatever_lies_in_place_of_the_table_the_program_ends_soon_and_well() {
    let (pair, _kdc) = pair();
    let (user, laptop) = (format!("alice@{}", pair.imac.realm()), &pair.laptop);
    laptop.install_locate_plugin().expect("installed");
    let garbage: Vec<u8> = (0..2_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    laptop.node.write("/run/garbage", garbage).expect("written");
    for place in
        ["mkfifo /run/btmm/realms", "mkdir /run/btmm/realms", "ln -s /dev/zero /run/btmm/realms", "cp /run/garbage /run/btmm/realms"]
    {
        laptop.node.run(place).expect("placed");
        let begun = Instant::now();
        let refused = format!("{:#}", laptop.kinit(&[&user], Some("a secret")).expect_err(place));
        assert!(refused.contains("Cannot find KDC"), "{place}: {refused}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{place}: {:?}", begun.elapsed());
        laptop.node.run("rm -rf /run/btmm/realms").expect("removed");
    }
}
