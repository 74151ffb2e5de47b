//! Our KDC judged by MIT's own clients: tickets, renewal, user-to-user, every encryption type, and what is thrown away.
use btmm_tests::lab::kerberos::{Conf, Pair};
use btmm_tests::lab::{Finished, Running};

const PASSWORD: &str = "correct horse battery";
/// As `klist -e` writes them, and what `krb5.conf` calls them.
const ETYPES: [&str; 4] =
    ["aes256-cts-hmac-sha384-192", "aes128-cts-hmac-sha256-128", "aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96"];

/// `imac` with our KDC, which knows alice's and bob's passwords, and `laptop` with its realm in `krb5.conf`.
fn pair() -> (Pair, Running) {
    let pair = Pair::new().expect("two machines");
    let kdc = pair.imac.start_kdc(&["--password", &format!("alice={PASSWORD}"), "--password", &format!("bob={PASSWORD}")]);
    pair.laptop.configure(&Conf::new().realm_of(&pair.imac)).expect("a krb5.conf");
    (pair, kdc.expect("our KDC"))
}

fn user(pair: &Pair, name: &str) -> String {
    format!("{name}@{}", pair.imac.realm())
}

/// The list after all went well, with the KDC's words when something did not.
#[track_caller]
fn good(result: anyhow::Result<Finished>, kdc: &Running) -> Finished {
    match result {
        Ok(finished) => finished,
        Err(error) => panic!("{error:#}\n--- our KDC\n{}", kdc.log()),
    }
}

#[test]
fn a_password_gets_tickets_over_udp_and_tcp() {
    let (pair, kdc) = pair();
    let laptop = &pair.laptop;
    for (limit, transport) in [("1", "stream"), ("32700", "dgram")] {
        laptop.configure(&Conf::new().realm_of(&pair.imac).set(&format!("udp_preference_limit = {limit}"))).expect("a krb5.conf");
        good(laptop.kinit(&[&user(&pair, "alice")], Some(PASSWORD)), &kdc);
        let trace = laptop.trace();
        assert!(trace.contains(&format!("from {transport} {}", pair.imac.inner)), "not over {transport}:\n{trace}");
        good(laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
    }
    let list = good(laptop.klist(&[]), &kdc).out;
    assert!(list.contains(&format!("Default principal: {}", user(&pair, "alice"))), "{list}");
    assert!(list.contains("host/imac.alice.btmm.internal@LKDC:SHA256."), "{list}");
    good(laptop.kdestroy(), &kdc);
    laptop.klist(&[]).expect_err("nothing to list");
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_each_in_its_own_words() {
    let (pair, _kdc) = pair();
    let refused = |user: &str, password| format!("{:#}", pair.laptop.kinit(&[user], Some(password)).expect_err("refused"));
    assert!(refused(&user(&pair, "alice"), "wrong horse battery").contains("Password incorrect"));
    assert!(refused(&user(&pair, "mallory"), PASSWORD).contains("not found in Kerberos database"));
}

#[test]
fn each_encryption_type_is_given_to_who_wants_only_that() {
    let (pair, kdc) = pair();
    for etype in ETYPES {
        let only = ["default_tkt_enctypes", "default_tgs_enctypes", "permitted_enctypes"].iter();
        let conf = only.fold(Conf::new().realm_of(&pair.imac), |conf, name| conf.set(&format!("{name} = {etype}")));
        pair.laptop.configure(&conf).expect("a krb5.conf");
        good(pair.laptop.kinit(&[&user(&pair, "alice")], Some(PASSWORD)), &kdc);
        good(pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
        let list = good(pair.laptop.klist(&["-e"]), &kdc).out;
        let sessions = list.matches(&format!("Etype (skey, tkt): {etype}")).count();
        assert_eq!(sessions, 2, "{etype}:\n{list}");
    }
}

#[test]
fn a_renewable_ticket_is_renewed_and_another_is_not() {
    let (pair, kdc) = pair();
    good(pair.laptop.kinit(&["-l", "1h", "-r", "2d", &user(&pair, "alice")], Some(PASSWORD)), &kdc);
    let list = good(pair.laptop.klist(&["-f"]), &kdc).out;
    assert!(list.contains("renew until") && list.lines().any(|line| line.contains("Flags: ") && line.contains('R')), "{list}");
    good(pair.laptop.kinit(&["-R"], None), &kdc);
    good(pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
    // A longer life than the KDC gives would be made up for by renewal (RENEWABLE-OK).
    good(pair.laptop.kinit(&["-l", "1h", &user(&pair, "alice")], Some(PASSWORD)), &kdc);
    let refused = format!("{:#}", pair.laptop.kinit(&["-R"], None).expect_err("not renewable"));
    assert!(refused.contains("KDC can't fulfill requested option"), "{refused}");
}

#[test]
fn forwardable_and_proxiable_tickets_are_given_when_asked() {
    let (pair, kdc) = pair();
    for (option, flag, given) in [("-f", 'F', true), ("-F", 'F', false), ("-p", 'P', true), ("-P", 'P', false)] {
        good(pair.laptop.kinit(&[option, &user(&pair, "alice")], Some(PASSWORD)), &kdc);
        let list = good(pair.laptop.klist(&["-f"]), &kdc).out;
        let flags = list.lines().find_map(|line| line.split_once("Flags: ")).expect("flags").1.to_owned();
        assert_eq!(flags.contains(flag), given, "{option}: {flags}");
    }
}

#[test]
fn a_user_without_a_key_of_his_own_is_reached_user_to_user() {
    let (pair, kdc) = pair();
    let laptop = &pair.laptop;
    good(laptop.kinit(&["-c", "FILE:/run/krb5/bob", &user(&pair, "bob")], Some(PASSWORD)), &kdc);
    good(laptop.kinit(&[&user(&pair, "alice")], Some(PASSWORD)), &kdc);
    good(laptop.kvno(&["--u2u", "FILE:/run/krb5/bob", &user(&pair, "bob")]), &kdc);
    let list = good(laptop.klist(&[]), &kdc).out;
    assert!(list.lines().any(|line| line.contains("  bob@LKDC:SHA256.")), "{list}");
}
