//! Our KDC judged by MIT's own clients: SPAKE, armor, encrypted challenge and one-time codes.
use std::time::{Duration, SystemTime};

use btmm_tests::lab::kerberos::{Conf, Pair};
use btmm_tests::lab::{Finished, Running};
use btmmd::lkdc::otp::totp;
use btmmd::lkdc::principals::TotpSecret;

const PASSWORD: &str = "correct horse battery";
/// Where the ticket lies that armor is made of.
const ARMOR: &str = "FILE:/run/krb5/armor";

/// Our KDC, which knows alice's password, and carol's password and token.
fn pair() -> (Pair, Running) {
    let pair = Pair::new().expect("two machines");
    let (alice, carol) = (format!("alice={PASSWORD}"), format!("carol={PASSWORD}"));
    let kdc = pair.imac.start_kdc(&["--password", &alice, "--password", &carol, "--totp", "carol"]).expect("our KDC");
    pair.laptop.configure(&Conf::new().realm_of(&pair.imac)).expect("a krb5.conf");
    (pair, kdc)
}

fn user(pair: &Pair, name: &str) -> String {
    format!("{name}@{}", pair.imac.realm())
}

/// What came of it, with the KDC's words when it was not good.
#[track_caller]
fn good(result: anyhow::Result<Finished>, kdc: &Running) -> Finished {
    match result {
        Ok(finished) => finished,
        Err(error) => panic!("{error:#}\n--- our KDC\n{}", kdc.log()),
    }
}

/// Gets alice's ticket for armor.
#[track_caller]
fn put_on_armor(pair: &Pair, kdc: &Running) {
    good(pair.laptop.kinit(&["-c", ARMOR, &user(pair, "alice")], Some(PASSWORD)), kdc);
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
    pair.laptop.kinit(&["-T", ARMOR, &user(pair, "carol")], Some(&format!("{code}\n{password}")))
}

#[test]
fn a_password_is_proven_by_spake() {
    let (pair, kdc) = pair();
    good(pair.laptop.kinit(&[&user(&pair, "alice")], Some(PASSWORD)), &kdc);
    traced(&pair, &["SPAKE challenge received with group 1", "Preauth module spake (151) (real) returned: 0/Success"]);
    good(pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
    pair.laptop.kinit(&[&user(&pair, "alice")], Some("wrong horse battery")).expect_err("a wrong password");
    traced(&pair, &["Preauth module spake (151) (real) returned: 0/Success"]);
    assert!(kdc.log().contains("SPAKE: wrong password"), "{}", kdc.log());
}

#[test]
fn a_password_is_proven_inside_the_armor_of_a_ticket() {
    let (pair, kdc) = pair();
    put_on_armor(&pair, &kdc);
    good(pair.laptop.kinit(&["-T", ARMOR, &user(&pair, "alice")], Some(PASSWORD)), &kdc);
    let challenge = "Preauth module encrypted_challenge (138) (real) returned: 0/Success";
    traced(&pair, &["FAST armor ccache", "Encoding request body and padata into FAST request", challenge, "FAST reply key"]);
    assert!(!pair.laptop.trace().contains("spake"), "{}", pair.laptop.trace());
    good(pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
    traced(&pair, &["Encoding request body and padata into FAST request", "FAST reply key"]);
    pair.laptop.kinit(&["-T", ARMOR, &user(&pair, "alice")], Some("wrong horse battery")).expect_err("a wrong password");
    pair.laptop.kinit(&["-T", ARMOR, &user(&pair, "mallory")], Some(PASSWORD)).expect_err("an unknown user");
    traced(&pair, &["Decoding FAST response", "not found in Kerberos database"]);
}

#[test]
fn who_has_no_ticket_makes_armor_of_an_anonymous_one() {
    let (pair, kdc) = pair();
    good(pair.laptop.kinit(&["-n", "-c", ARMOR, &format!("@{}", pair.imac.realm())], None), &kdc);
    let list = good(pair.laptop.klist(&["-c", ARMOR]), &kdc).out;
    assert!(list.contains("WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"), "{list}");
    good(pair.laptop.kinit(&["-T", ARMOR, &user(&pair, "alice")], Some(PASSWORD)), &kdc);
    traced(&pair, &["FAST armor ccache", "Preauth module encrypted_challenge (138) (real) returned: 0/Success"]);
    good(pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
}

#[test]
fn a_code_and_a_password_are_taken_once_and_neither_alone() {
    let (pair, kdc) = pair();
    let token = token(&kdc);
    put_on_armor(&pair, &kdc);
    with_code(&pair, "000000", PASSWORD).expect_err("a wrong code");
    with_code(&pair, &code(&token), "wrong horse battery").expect_err("a wrong password");
    let code = code(&token);
    good(with_code(&pair, &code, PASSWORD), &kdc);
    traced(&pair, &["Preauth module otp (141) (real) returned: 0/Success", "FAST reply key"]);
    good(pair.laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]), &kdc);
    with_code(&pair, &code, PASSWORD).expect_err("a used code");
    pair.laptop.kinit(&[&user(&pair, "carol")], Some(PASSWORD)).expect_err("a password alone");
    let log = kdc.log();
    for reason in ["wrong one-time code", "wrong password with a one-time code", "one-time code used before"] {
        assert!(log.contains(reason), "no {reason:?} in\n{log}");
    }
}
