//! Our KDC judged by MIT's own clients: SPAKE, armor, encrypted challenge and one-time codes.
use std::time::{Duration, SystemTime};

use btmm_tests::lab::kerberos::Pair;
use btmm_tests::lab::{Finished, Running};
use btmmd::lkdc::otp::totp;
use btmmd::lkdc::principals::TotpSecret;

const PASSWORD: &str = "correct horse battery";
/// Where the ticket lies that armor is made of.
const ARMOR: &str = "FILE:/run/krb5/armor";

/// Our KDC, which knows alice's password, and carol's password and token.
fn pair() -> (Pair, Running) {
    let (alice, carol) = (format!("alice={PASSWORD}"), format!("carol={PASSWORD}"));
    Pair::with_kdc(&["--password", &alice, "--password", &carol, "--totp", "carol"]).expect("our KDC")
}

/// Gets alice's ticket for armor.
#[track_caller]
fn put_on_armor(pair: &Pair) {
    pair.laptop.kinit(&["-c", ARMOR, &pair.user("alice")], Some(PASSWORD)).expect("done");
}

#[track_caller]
fn traced(pair: &Pair, expected: &[&str]) {
    let trace = pair.laptop.trace();
    for text in expected {
        assert!(trace.contains(text), "no {text:?} in\n{trace}");
    }
}

/// Carol's token: the secret in the URI that the KDC printed.
fn token(kdc: &Running) -> TotpSecret {
    let log = kdc.log();
    let secret = log.split("secret=").nth(1).and_then(|rest| rest.split('&').next()).expect("a URI");
    TotpSecret::from_bytes(&data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32"))
}

/// A code that stays good for five seconds at least: near the end of a step, the next one, which the window takes as well.
fn code(secret: &TotpSecret) -> String {
    let step = totp::step(SystemTime::now() + Duration::from_secs(5));
    totp::code(secret.bytes(), step, TotpSecret::DIGITS).to_string()
}

/// Carol's ticket through armor, by code and password: the client asks for the code first.
fn with_code(pair: &Pair, code: &str, password: &str) -> anyhow::Result<Finished> {
    pair.laptop.kinit(&["-T", ARMOR, &pair.user("carol")], Some(&format!("{code}\n{password}")))
}

#[test]
fn a_password_is_proven_by_spake() {
    let (pair, kdc) = pair();
    pair.laptop.kinit(&[&pair.user("alice")], Some(PASSWORD)).expect("done");
    traced(&pair, &["SPAKE challenge received with group 1", "Preauth module spake (151) (real) returned: 0/Success"]);
    pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
    pair.laptop.kinit(&[&pair.user("alice")], Some("wrong horse battery")).expect_err("a wrong password");
    traced(&pair, &["Preauth module spake (151) (real) returned: 0/Success"]);
    assert!(kdc.log().contains("SPAKE: wrong password"), "{}", kdc.log());
}

#[test]
fn a_password_is_proven_inside_the_armor_of_a_ticket() {
    let (pair, _kdc) = pair();
    put_on_armor(&pair);
    pair.laptop.kinit(&["-T", ARMOR, &pair.user("alice")], Some(PASSWORD)).expect("done");
    let challenge = "Preauth module encrypted_challenge (138) (real) returned: 0/Success";
    traced(&pair, &["FAST armor ccache", "Encoding request body and padata into FAST request", challenge, "FAST reply key"]);
    assert!(!pair.laptop.trace().contains("spake"), "{}", pair.laptop.trace());
    pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
    traced(&pair, &["Encoding request body and padata into FAST request", "FAST reply key"]);
    pair.laptop.kinit(&["-T", ARMOR, &pair.user("alice")], Some("wrong horse battery")).expect_err("a wrong password");
    pair.laptop.kinit(&["-T", ARMOR, &pair.user("mallory")], Some(PASSWORD)).expect_err("an unknown user");
    traced(&pair, &["Decoding FAST response", "not found in Kerberos database"]);
}

#[test]
fn who_has_no_ticket_makes_armor_of_an_anonymous_one() {
    let (pair, _kdc) = pair();
    pair.laptop.kinit(&["-n", "-c", ARMOR, &format!("@{}", pair.imac.realm())], None).expect("done");
    let list = pair.laptop.klist(&["-c", ARMOR]).expect("done").out;
    assert!(list.contains("WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"), "{list}");
    pair.laptop.kinit(&["-T", ARMOR, &pair.user("alice")], Some(PASSWORD)).expect("done");
    traced(&pair, &["FAST armor ccache", "Preauth module encrypted_challenge (138) (real) returned: 0/Success"]);
    pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
}

#[test]
fn a_code_and_a_password_are_taken_once_and_neither_alone() {
    let (pair, kdc) = pair();
    let token = token(&kdc);
    put_on_armor(&pair);
    with_code(&pair, "000000", PASSWORD).expect_err("a wrong code");
    with_code(&pair, &code(&token), "wrong horse battery").expect_err("a wrong password");
    let code = code(&token);
    with_code(&pair, &code, PASSWORD).expect("done");
    traced(&pair, &["Preauth module otp (141) (real) returned: 0/Success", "FAST reply key"]);
    pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
    with_code(&pair, &code, PASSWORD).expect_err("a used code");
    pair.laptop.kinit(&[&pair.user("carol")], Some(PASSWORD)).expect_err("a password alone");
    let log = kdc.log();
    for reason in ["wrong one-time code", "wrong password with a one-time code", "one-time code used before"] {
        assert!(log.contains(reason), "no {reason:?} in\n{log}");
    }
}

#[test]
fn a_code_that_was_used_before_a_restart_is_not_good_after_it_and_the_next_one_is() {
    let (pair, kdc) = pair();
    let token = token(&kdc);
    put_on_armor(&pair);
    // Of before now, and good for ten seconds at least; the one after it is good already.
    let step = totp::step(SystemTime::now() + Duration::from_secs(10)) - totp::WINDOW;
    let [used, next] = [step, step + 1].map(|step| totp::code(token.bytes(), step, TotpSecret::DIGITS));
    with_code(&pair, &used, PASSWORD).expect("done");
    drop(kdc);
    let kdc = pair.imac.start_kdc(&[]).expect("our KDC with what it kept");
    with_code(&pair, &used, PASSWORD).expect_err("a used code");
    assert!(kdc.log().contains("one-time code used before"), "{}", kdc.log());
    with_code(&pair, &next, PASSWORD).expect("done");
}
