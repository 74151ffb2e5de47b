//! Our KDC judged by MIT's own clients: tickets, renewal, user-to-user, every encryption type, and what is thrown away.
use btmm_tests::lab::Running;
use btmm_tests::lab::kerberos::{Conf, Pair};

const PASSWORD: &str = "correct horse battery";
/// As `klist -e` writes them, and what `krb5.conf` calls them.
const ETYPES: [&str; 4] =
    ["aes256-cts-hmac-sha384-192", "aes128-cts-hmac-sha256-128", "aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96"];

/// Our KDC, which knows alice's and bob's passwords.
fn pair() -> (Pair, Running) {
    let (alice, bob) = (format!("alice={PASSWORD}"), format!("bob={PASSWORD}"));
    Pair::with_kdc(&["--password", &alice, "--password", &bob]).expect("our KDC")
}

#[test]
fn a_password_gets_tickets_over_udp_and_tcp() {
    let (pair, _kdc) = pair();
    let laptop = &pair.laptop;
    for (limit, transport) in [("1", "stream"), ("32700", "dgram")] {
        laptop.configure(&Conf::new().realm_of(&pair.imac).set(&format!("udp_preference_limit = {limit}"))).expect("a krb5.conf");
        laptop.kinit(&[&pair.user("alice")], Some(PASSWORD)).expect("done");
        let trace = laptop.trace();
        assert!(trace.contains(&format!("from {transport} {}", pair.imac.inner)), "not over {transport}:\n{trace}");
        laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
    }
    let list = laptop.klist(&[]).expect("done").out;
    assert!(list.contains(&format!("Default principal: {}", pair.user("alice"))), "{list}");
    assert!(list.contains("host/imac.alice.btmm.internal@LKDC:SHA256."), "{list}");
    laptop.kdestroy().expect("done");
    laptop.klist(&[]).expect_err("nothing to list");
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_each_in_its_own_words() {
    let (pair, _kdc) = pair();
    let refused = |user: &str, password| format!("{:#}", pair.laptop.kinit(&[user], Some(password)).expect_err("refused"));
    assert!(refused(&pair.user("alice"), "wrong horse battery").contains("Password incorrect"));
    assert!(refused(&pair.user("mallory"), PASSWORD).contains("not found in Kerberos database"));
}

#[test]
fn each_encryption_type_is_given_to_who_wants_only_that() {
    let (pair, _kdc) = pair();
    for etype in ETYPES {
        let only = ["default_tkt_enctypes", "default_tgs_enctypes", "permitted_enctypes"].iter();
        let conf = only.fold(Conf::new().realm_of(&pair.imac), |conf, name| conf.set(&format!("{name} = {etype}")));
        pair.laptop.configure(&conf).expect("a krb5.conf");
        pair.laptop.kinit(&[&pair.user("alice")], Some(PASSWORD)).expect("done");
        pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
        let list = pair.laptop.klist(&["-e"]).expect("done").out;
        let sessions = list.matches(&format!("Etype (skey, tkt): {etype}")).count();
        assert_eq!(sessions, 2, "{etype}:\n{list}");
    }
}

#[test]
fn a_renewable_ticket_is_renewed_and_another_is_not() {
    let (pair, _kdc) = pair();
    pair.laptop.kinit(&["-l", "1h", "-r", "2d", &pair.user("alice")], Some(PASSWORD)).expect("done");
    let list = pair.laptop.klist(&["-f"]).expect("done").out;
    assert!(list.contains("renew until") && list.lines().any(|line| line.contains("Flags: ") && line.contains('R')), "{list}");
    pair.laptop.kinit(&["-R"], None).expect("done");
    pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
    // A longer life than the KDC gives would be made up for by renewal (RENEWABLE-OK).
    pair.laptop.kinit(&["-l", "1h", &pair.user("alice")], Some(PASSWORD)).expect("done");
    let refused = format!("{:#}", pair.laptop.kinit(&["-R"], None).expect_err("not renewable"));
    assert!(refused.contains("KDC can't fulfill requested option"), "{refused}");
}

#[test]
fn forwardable_and_proxiable_tickets_are_given_when_asked() {
    let (pair, _kdc) = pair();
    for (option, flag, given) in [("-f", 'F', true), ("-F", 'F', false), ("-p", 'P', true), ("-P", 'P', false)] {
        pair.laptop.kinit(&[option, &pair.user("alice")], Some(PASSWORD)).expect("done");
        let list = pair.laptop.klist(&["-f"]).expect("done").out;
        let flags = list.lines().find_map(|line| line.split_once("Flags: ")).expect("flags").1.to_owned();
        assert_eq!(flags.contains(flag), given, "{option}: {flags}");
    }
}

#[test]
fn a_user_without_a_key_of_his_own_is_reached_user_to_user() {
    let (pair, _kdc) = pair();
    let laptop = &pair.laptop;
    laptop.kinit(&["-c", "FILE:/run/krb5/bob", &pair.user("bob")], Some(PASSWORD)).expect("done");
    laptop.kinit(&[&pair.user("alice")], Some(PASSWORD)).expect("done");
    laptop.kvno(&["--u2u", "FILE:/run/krb5/bob", &pair.user("bob")]).expect("done");
    let list = laptop.klist(&[]).expect("done").out;
    assert!(list.lines().any(|line| line.contains("  bob@LKDC:SHA256.")), "{list}");
}
