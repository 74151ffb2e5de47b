//! Whatever strangers put into armor, SPAKE messages, cookies and one-time code requests: no panic, and nothing believed that was not proven.
//!
//! Runs as an ordinary test on random inputs, and under `cargo xtask fuzz` with a coverage-guided engine.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bolero::check;
use btmm_tests::damage::{self, Damage};
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::asn1::{self, Asn1Error};
use btmmd::lkdc::crypto::spake_group::SpakeGroup;
use btmmd::lkdc::crypto::{Etype, Key, usage};
use btmmd::lkdc::fast::armor::Tgs;
use btmmd::lkdc::fast::asn1::{KrbFastArmoredReq, PaFxFastRequest};
use btmmd::lkdc::fast::challenge::Challenge;
use btmmd::lkdc::fast::client::Inside;
use btmmd::lkdc::fast::envelope::{checksum, open, seal};
use btmmd::lkdc::fast::kdc::{open_as, open_tgs};
use btmmd::lkdc::fast::{Armor, CookieJar, FastOptions, Finished, PA_FX_COOKIE, PA_FX_FAST};
use btmmd::lkdc::name::Principal;
use btmmd::lkdc::otp;
use btmmd::lkdc::principals::{TotpSecret, VersionedKeys};
use btmmd::lkdc::spake::client::{Client, Next};
use btmmd::lkdc::spake::kdc::{Message, challenge, finish, read};
use rasn_kerberos::{KdcOptions, KdcReqBody, PaData};

const AP_REQ: &[u8] = b"ap-req";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Keys that fuzzing does not know.
struct Keys {
    subkey: Key,
    session: Key,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = || Key::random(Etype::Aes256CtsHmacSha1_96, &mut SystemEntropy);
    Keys { subkey: key(), session: key() }
});

fn body() -> KdcReqBody {
    KdcReqBody {
        kdc_options: KdcOptions(asn1::flags(0)),
        cname: Some(Principal::user("alice").to_message()),
        realm: asn1::string("LKDC"),
        sname: None,
        from: None,
        till: asn1::time(now()),
        rtime: None,
        nonce: 7,
        etype: vec![18],
        addresses: None,
        enc_authorization_data: None,
        additional_tickets: None,
    }
}

#[test]
fn any_octets_are_no_armor() {
    check!().with_type::<Vec<u8>>().for_each(|octets| {
        let keys = |etype, _| (etype == Etype::Aes256CtsHmacSha1_96).then(|| KEYS.session.clone());
        let tgs = Tgs { realm: "LKDC", keys: &keys, skew: Duration::from_secs(300) };
        assert!(open_as(octets, AP_REQ, tgs, now()).is_err());
        assert!(open_tgs(octets, AP_REQ, Some(&KEYS.subkey), &KEYS.session).is_err());
        let pa = PaData { r#type: PA_FX_FAST, value: octets.clone().into() };
        assert!(Armor::of_tgs(&KEYS.subkey, &KEYS.session).open_reply(&[pa], 7, AP_REQ).is_err());
    });
}

#[test]
fn any_octets_inside_good_armor_are_a_request_that_reads_back_or_an_error() {
    check!().with_type::<Vec<u8>>().for_each(|octets| {
        let armor = Armor::of_tgs(&KEYS.subkey, &KEYS.session);
        let request = PaFxFastRequest::Armored(armored(&armor, octets));
        if let Ok(inner) = open_tgs(&asn1::encode(&request), AP_REQ, Some(&KEYS.subkey), &KEYS.session) {
            assert!(octets.windows(inner.raw_body.len()).any(|part| part == inner.raw_body));
            assert!(inner.armored_by.is_none());
        }
    });
}

/// Made as our own client makes it, then with `octets` in place of what is inside.
fn armored(armor: &Armor, octets: &[u8]) -> KrbFastArmoredReq {
    let inside = Inside { options: FastOptions(0), padata: &[], body: &body() };
    let pa = armor.request(&inside, AP_REQ, &mut SystemEntropy);
    let PaFxFastRequest::Armored(mut request) = asn1::decode(&pa.value).expect("as made") else { panic!("one kind") };
    assert_eq!(request.req_checksum, checksum(armor.key(), usage::FAST_REQ_CHECKSUM, AP_REQ));
    request.enc_fast_req = seal(armor.key(), usage::FAST_ENC, octets, &mut SystemEntropy);
    request
}

#[test]
fn a_damaged_request_asks_for_the_same_or_for_nothing() {
    let armor = Armor::of_tgs(&KEYS.subkey, &KEYS.session);
    let inside = Inside { options: FastOptions(0), padata: &[], body: &body() };
    let made = armor.request(&inside, AP_REQ, &mut SystemEntropy).value.to_vec();
    check!().with_type::<Damage>().for_each(|how| {
        let damaged = damage::message(&made, how);
        if let Ok(inner) = open_tgs(&damaged, AP_REQ, Some(&KEYS.subkey), &KEYS.session) {
            assert_eq!(inner.body, body());
        }
    });
}

#[test]
fn a_bent_request_inside_good_armor_reads_back_or_is_an_error() {
    let armor = Armor::of_tgs(&KEYS.subkey, &KEYS.session);
    let padata = [PaData { r#type: 2, value: vec![0x30, 0].into() }];
    let worn = armor.request(&Inside { options: FastOptions(0), padata: &padata, body: &body() }, AP_REQ, &mut SystemEntropy);
    let PaFxFastRequest::Armored(made) = asn1::decode(&worn.value).expect("as made") else { panic!("one kind") };
    let inner = open(armor.key(), usage::FAST_ENC, &made.enc_fast_req).expect("as made");
    check!().with_type::<Damage>().for_each(|how| {
        let octets = damage::message(&inner, how);
        let request = PaFxFastRequest::Armored(armored(&armor, &octets));
        if let Ok(inner) = open_tgs(&asn1::encode(&request), AP_REQ, Some(&KEYS.subkey), &KEYS.session) {
            assert!(octets.windows(inner.raw_body.len()).any(|part| part == inner.raw_body));
        }
    });
}

#[test]
fn a_bent_reply_says_what_the_true_one_says_or_nothing() {
    let armor = Armor::of_tgs(&KEYS.subkey, &KEYS.session);
    let inside = Inside { options: FastOptions(0), padata: &[], body: &body() };
    let request = armor.request(&inside, AP_REQ, &mut SystemEntropy);
    let request = open_tgs(&request.value, AP_REQ, Some(&KEYS.subkey), &KEYS.session).expect("as made");
    let alice = Principal::user("alice");
    let end = Finished { realm: "LKDC", client: &alice, ticket: b"a ticket" };
    let reply = request.reply(&KEYS.session, Vec::new(), end, now(), &mut SystemEntropy).padata;
    check!().with_type::<Damage>().for_each(|how| {
        let pa = PaData { r#type: PA_FX_FAST, value: damage::message(&reply.value, how).into() };
        if let Ok(vouched) = armor.open_reply(&[pa], 7, b"a ticket") {
            assert_eq!((vouched.client, vouched.realm.as_str()), (alice.clone(), "LKDC"));
        }
    });
}

#[test]
fn bent_spake_messages_prove_a_password_only_with_the_same_share() {
    let made = challenge(SpakeGroup::Edwards25519, &KEYS.session, None, &mut SystemEntropy);
    let answered = Client::new().challenged(&made.message, &KEYS.session, b"body", &mut SystemEntropy).expect("an answer");
    let Next::Respond { message, reply_key } = answered else { panic!("a group that both speak") };
    check!().with_type::<(bool, Damage)>().for_each(|(client, how)| {
        if *client {
            let _ = Client::new().challenged(&damage::message(&made.message, how), &KEYS.session, b"body", &mut SystemEntropy);
        } else if let Ok(Message::Response(response)) = read(&damage::message(&message, how))
            && let Ok(key) = finish(&response, &made.secret, &KEYS.session, b"body")
        {
            assert_eq!(key, reply_key);
        }
    });
}

/// A KDC's half of the exchange about codes, a challenge of it, and an answer.
struct Codes {
    judge: otp::kdc::Judge,
    alice: Principal,
    totp: TotpSecret,
    password: VersionedKeys,
    challenge: Vec<u8>,
    answer: Vec<u8>,
}

impl Codes {
    fn new() -> Self {
        let alice = Principal::user("alice");
        let judge = otp::kdc::Judge::new(KEYS.session.clone(), std::sync::Arc::default());
        let challenge = judge.challenge(&alice, "LKDC", now(), &mut SystemEntropy);
        let read = otp::client::Challenge::read(&challenge).expect("as made");
        let answer = read.answer("123456", Some("pin"), &KEYS.subkey, &mut SystemEntropy).to_vec();
        let password =
            VersionedKeys { kvno: 1, keys: vec![KEYS.session.clone()].into(), salt: Some("salt".to_owned()), since: now(), until: None };
        Self { judge, alice, totp: TotpSecret::generate(&mut SystemEntropy), password, challenge, answer }
    }

    fn refusal(&self, value: &[u8]) -> otp::OtpError {
        let factors = otp::kdc::Factors { totp: &self.totp, password: &self.password };
        self.judge.judge(value, &KEYS.subkey, &self.alice, factors, now()).expect_err("no code is right")
    }
}

#[test]
fn bent_messages_about_codes_are_read_or_refused() {
    let codes = std::panic::AssertUnwindSafe(Codes::new());
    check!().with_type::<Damage>().for_each(|how| {
        if let Ok(challenge) = otp::client::Challenge::read(&damage::message(&codes.challenge, how)) {
            let _ = challenge.answer("123456", Some("pin"), &KEYS.subkey, &mut SystemEntropy);
        }
        // A password takes thousands of rounds to try: what is bent here is mostly in front of it.
        codes.refusal(&damage::message(&codes.answer, how));
    });
}

#[test]
fn a_judge_of_codes_refuses_what_is_too_deep_or_too_long_before_it_decodes() {
    let codes = Codes::new();
    let is_bounded = |value: &[u8]| assert!(matches!(codes.refusal(value), otp::OtpError::Asn1(Asn1Error::Bounds(_))));
    damage::excessive(&[0x30], |octets| {
        is_bounded(octets);
        let mut request: otp::asn1::PaOtpRequest = asn1::decode(&codes.answer).expect("as made");
        request.enc_data = seal(&KEYS.subkey, usage::PA_OTP_REQUEST, octets, &mut SystemEntropy);
        // What is sealed can be as long as the message around it lets it.
        is_bounded(&asn1::encode(&request));
    });
    damage::excessive_inside(&codes.answer, |octets| drop(codes.refusal(octets)));
    damage::excessive_inside(&codes.challenge, |octets| drop(otp::client::Challenge::read(octets)));
}

#[test]
fn any_octets_in_spake_prove_no_password() {
    let made = challenge(SpakeGroup::Edwards25519, &KEYS.session, None, &mut SystemEntropy).secret;
    check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(value, remembered)| {
        assert!(Client::new().challenged(value, &KEYS.session, b"body", &mut SystemEntropy).is_err());
        if let Ok(Message::Response(response)) = read(value) {
            assert!(finish(&response, &made, &KEYS.session, b"body").is_err());
            assert!(finish(&response, remembered, &KEYS.session, b"body").is_err());
        }
    });
}

#[test]
fn any_octets_are_no_cookie_and_no_answer_to_a_challenge_for_a_code() {
    check!().with_type::<Vec<u8>>().for_each(|octets| {
        let (jar, alice) = (CookieJar::new(KEYS.session.clone()), Principal::user("alice"));
        let cookie = PaData { r#type: PA_FX_COOKIE, value: octets.clone().into() };
        assert!(jar.open(&[cookie], &alice, now()).is_err());
        if let Ok(challenge) = otp::client::Challenge::read(octets) {
            let answer = challenge.answer("123456", Some("pin"), &KEYS.subkey, &mut SystemEntropy);
            assert!(asn1::decode::<otp::asn1::PaOtpRequest>(&answer).is_ok());
        }
    });
}

#[test]
fn what_is_too_deep_or_too_long_is_refused_outside_and_inside() {
    let armor = Armor::of_tgs(&KEYS.subkey, &KEYS.session);
    let keys = |etype, _| (etype == Etype::Aes256CtsHmacSha1_96).then(|| KEYS.session.clone());
    let jar = CookieJar::new(KEYS.session.clone());
    let alice = Principal::user("alice");
    let proof = Challenge { armor: armor.key(), long_term: &KEYS.session };
    let challenge_key = Key::combine(armor.key(), &KEYS.session, b"clientchallengearmor", b"challengelongterm");
    damage::excessive(&[0xa0, 0xa1, 0xa2, 0x30], |octets| {
        let tgs = Tgs { realm: "LKDC", keys: &keys, skew: Duration::from_secs(300) };
        assert!(open_as(octets, AP_REQ, tgs, now()).is_err());
        let inside = asn1::encode(&PaFxFastRequest::Armored(armored(&armor, octets)));
        for octets in [octets, &inside] {
            assert!(open_tgs(octets, AP_REQ, Some(&KEYS.subkey), &KEYS.session).is_err());
        }
        let pa = |number: i32| [PaData { r#type: number, value: octets.to_vec().into() }];
        assert!(armor.open_reply(&pa(PA_FX_FAST), 7, AP_REQ).is_err());
        assert!(jar.open(&pa(PA_FX_COOKIE), &alice, now()).is_err());
        assert!(read(octets).is_err() && Client::new().challenged(octets, &KEYS.session, b"body", &mut SystemEntropy).is_err());
        assert!(otp::client::Challenge::read(octets).is_err());
        let sealed = asn1::encode(&seal(&challenge_key, usage::ENC_CHALLENGE_CLIENT, octets, &mut SystemEntropy));
        for octets in [octets, &sealed] {
            assert!(proof.verify(octets, now(), tgs.skew).is_err() && proof.verify_answer(octets).is_err());
        }
    });
}
