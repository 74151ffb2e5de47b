//! What services ask for, stock clients that have it and that have not, and `btmm tickets get`, which asks people for what is missing.
use std::process::Command;
use std::time::{Duration, SystemTime};

use btmm_tests::lab::kerberos::{FOLDER, Pair};
use btmm_tests::lab::{Finished, Running, feed};
use btmmd::lkdc::otp::totp;
use btmmd::lkdc::principals::TotpSecret;

const PASSWORD: &str = "correct horse battery";
const ARMOR: &str = "FILE:/run/krb5/armor";

/// Our KDC, which knows alice's password, and carol's password and token. `host` asks for a code, `cifs` for a certificate, `nfs` for a
/// password at least.
fn pair() -> (Pair, Running) {
    let (alice, carol) = (format!("alice={PASSWORD}"), format!("carol={PASSWORD}"));
    let users = ["--password", &alice, "--password", &carol, "--totp", "carol"];
    let demands = ["--require", "host=otp", "--require", "cifs=certificate", "--require", "nfs=password"];
    let (pair, kdc) = Pair::with_kdc(&[&users[..], &demands].concat()).expect("our KDC");
    pair.prepare(&pair.laptop).expect("what btmmd publishes");
    (pair, kdc)
}

/// A code of carol's that stays good for five seconds at least.
fn code(kdc: &Running) -> String {
    let log = kdc.log();
    let secret = log.split("secret=").nth(1).and_then(|rest| rest.split('&').next()).expect("a URI");
    let secret = TotpSecret::from_bytes(&data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32"));
    let step = totp::step(SystemTime::now() + Duration::from_secs(5));
    totp::code(secret.bytes(), step, TotpSecret::DIGITS).to_string()
}

/// `btmm tickets …` on the laptop.
fn tickets(pair: &Pair, arguments: &[&str]) -> Command {
    let mut command = pair.laptop.node.command(env!("CARGO_BIN_EXE_btmm-as-tested"));
    command.arg("tickets").args(arguments).env("KRB5CCNAME", format!("FILE:{FOLDER}/cc"));
    command
}

fn get(pair: &Pair, arguments: &[&str], input: &str) -> anyhow::Result<Finished> {
    feed(tickets(pair, &[&["get"], arguments].concat()), input)
}

/// Every service of imac that stock `kvno` gets and does not get with the ticket that is there, with what it says then.
#[track_caller]
fn judged(pair: &Pair, good: &[&str], refused: &[&str]) {
    for service in good {
        pair.laptop.kvno(&[&pair.imac.service(service, &pair.imac.realm())]).unwrap_or_else(|error| panic!("{service}: {error:#}"));
    }
    for service in refused {
        let error = pair.laptop.kvno(&[&pair.imac.service(service, &pair.imac.realm())]).expect_err(service);
        assert!(format!("{error:#}").contains("KDC policy rejects request while getting credentials for"), "{error:#}");
    }
}

#[test]
fn a_service_gives_tickets_to_stock_clients_with_the_proof_it_asks_for_and_to_no_others() {
    let (pair, kdc) = pair();
    pair.laptop.kinit(&[&pair.user("alice")], Some(PASSWORD)).expect("a ticket by password");
    judged(&pair, &["nfs", "HTTP"], &["host", "cifs"]);
    pair.laptop.kinit(&["-c", ARMOR, &pair.user("alice")], Some(PASSWORD)).expect("armor");
    pair.laptop.kinit(&["-T", ARMOR, &pair.user("carol")], Some(&format!("{}\n{PASSWORD}", code(&kdc)))).expect("a ticket by code");
    judged(&pair, &["host", "nfs", "HTTP"], &["cifs"]);
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("a ticket by certificate");
    judged(&pair, &["cifs", "HTTP"], &["host", "nfs"]);
    assert!(kdc.log().contains("host/imac.alice.btmm.internal asks for otp"), "{}", kdc.log());
}

#[test]
fn get_signs_in_with_code_and_password_and_notes_how_as_kinit_does() {
    let (pair, kdc) = pair();
    let input = format!("{PASSWORD}\n{}\n", code(&kdc));
    let carol = ["host@imac", "--user", "carol", "--password-file", "-", "--code-file", "-"];
    let text = get(&pair, &carol, &input).expect("a ticket").out;
    assert!(text.starts_with("host on imac.alice.btmm.internal: good for "), "{text}");
    // klist breaks long values.
    let list = pair.laptop.klist(&["-C"]).expect("a list").out.replace("\n        ", "");
    let realm = pair.imac.realm();
    for (key, value) in [("pa_type", "141"), ("fast_avail", "yes")] {
        assert!(list.contains(&format!("config: {key}(krbtgt/{realm}@{realm}) = {value}")), "{list}");
    }
    let text = feed(tickets(&pair, &[]), "").expect("a list").out;
    assert_eq!(text.matches(" otp ").count(), 2, "{text}");
    // MIT's library goes on with this cache, in armor.
    judged(&pair, &["nfs"], &["cifs"]);
    assert!(pair.laptop.trace().contains("Encoding request body and padata into FAST request"), "{}", pair.laptop.trace());
}

#[test]
fn get_uses_the_password_that_is_given_also_where_the_ticket_is_held() {
    let (pair, _kdc) = pair();
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("a ticket by certificate");
    get(&pair, &["HTTP@imac"], "").expect("what the certificate is good for");
    let alice = ["HTTP@imac", "--user", "alice", "--password-file", "-"];
    get(&pair, &alice, "wrong\n").expect_err("a wrong password");
    get(&pair, &alice, &format!("{PASSWORD}\n")).expect("a ticket");
    let list = feed(tickets(&pair, &[]), "").expect("a list").out;
    assert_eq!((list.matches(" password ").count(), list.matches(" certificate ").count()), (2, 0), "{list}");
}

#[test]
fn get_says_what_a_service_asks_for_and_signs_in_with_it() {
    let (pair, kdc) = pair();
    let alice = ["--user", "alice", "--password-file", "-"];
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("a ticket by certificate");
    let told = format!("{:#}", get(&pair, &["nfs@imac", "--user", "alice"], "").expect_err("nobody to ask"));
    assert!(told.contains("nfs on imac.alice.btmm.internal asks for password, and the ticket was earned by certificate\n"), "{told}");
    let done = get(&pair, &[&["nfs@imac"][..], &alice].concat(), &format!("{PASSWORD}\n")).expect("a ticket");
    assert_eq!(done.err, "", "what is given is used at once");
    let list = feed(tickets(&pair, &[]), "").expect("a list").out;
    assert_eq!(list.matches(" password ").count(), 2, "{list}");

    let told = format!("{:#}", get(&pair, &["host@imac"], "").expect_err("alice has no token"));
    let nobody = "imac.alice.btmm.internal wants the password of alice, and there is no terminal to ask at: give it with --password-file";
    assert!(told.contains(nobody), "{told}");
    let told = format!("{:#}", get(&pair, &[&["host@imac"][..], &alice].concat(), &format!("{PASSWORD}\n")).expect_err("no token"));
    assert!(
        told.contains("host on imac.alice.btmm.internal asks for otp, and the ticket was earned by password: a second factor"),
        "{told}"
    );
    let told = format!("{:#}", get(&pair, &["cifs@imac"], "").expect_err("no certificate"));
    assert!(told.contains("cifs on imac.alice.btmm.internal asks for certificate, and the ticket was earned by password"), "{told}");

    let carol = |code: &str| {
        let arguments = ["host@imac", "--user", "carol", "--password-file", "-", "--code-file", "-"];
        format!("{:#}", get(&pair, &arguments, &format!("{PASSWORD}\n{code}\n")).expect_err("no ticket"))
    };
    let asked = kdc.log().len();
    let told = carol("000000");
    assert!(told.contains("a file holds one client's") && kdc.log().len() == asked, "no KDC is asked: {told}");
    feed(tickets(&pair, &["rm", "--all"]), "").expect("removed");
    let told = carol("000000");
    assert!(told.contains("what was given to prove who asks is wrong"), "{told}");
}
