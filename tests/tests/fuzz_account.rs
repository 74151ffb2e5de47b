//! Whatever strangers hand to the account's parsers: no panic, and nothing believed that the account did not make.
//!
//! Runs as an ordinary test on random inputs, and under `cargo xtask fuzz` with a coverage-guided engine.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bolero::check;
use btmm_tests::damage;
use btmmd::account::authority::Authority;
use btmmd::account::certificate::{AccountTrust, verify_peer};
use btmmd::account::enrol::{JoinRequest, Membership, Refusal};
use btmmd::account::invite::InvitationCode;
use btmmd::account::key::{KeyAlgorithm, MachineKey};
use btmmd::account::prefix::UlaPrefix;
use btmmd::account::public_key::PublicKey;
use btmmd::account::roster::{Roster, SignedRoster};
use btmmd::account::{AccountOptions, Base, create};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// One octet of `original` replaced, at a place and by a value that the fuzzer chooses.
fn dented(original: &[u8], (place, value): (u16, u8)) -> Vec<u8> {
    let mut damaged = original.to_vec();
    let place = usize::from(place) % damaged.len();
    damaged[place] = value;
    damaged
}

struct Issued {
    trust: AccountTrust,
    certificate: Vec<u8>,
    request: Vec<u8>,
    spki: Vec<u8>,
}

static ISSUED: LazyLock<Issued> = LazyLock::new(|| {
    let (account, zone) = ("alice".parse().unwrap(), "alice.btmm.internal".parse().unwrap());
    let authority = Authority::create(account, zone, UlaPrefix::with_global_id([1, 2, 3, 4, 5]), now()).unwrap();
    let key = MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let public = PublicKey::from_spki(key.spki()).unwrap();
    Issued {
        trust: authority.trust().clone(),
        certificate: authority.issue(&public, &"imac".parse().unwrap(), now()).unwrap(),
        request: key.certificate_request().unwrap(),
        spki: key.spki().to_vec(),
    }
});

/// A base in a directory of its own, and the code of an invitation. The directory is removed at once: nothing here writes again.
static FOUNDED: LazyLock<(Base, String)> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("btmm-fuzz-account-{}", std::process::id()));
    let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
    let (_, mut base) = create(&directory, options, now()).unwrap();
    let addresses = ["192.0.2.1:4500", "[2001:db8::1]:14500"].map(|address| address.parse().unwrap());
    let code = base.invite(&addresses, now()).unwrap().reveal().to_string();
    std::fs::remove_dir_all(&directory).unwrap();
    (base, code)
});

#[test]
fn any_text_is_a_code_or_an_error() {
    check!().with_type::<String>().for_each(|text| {
        let _ = text.parse::<InvitationCode>();
        let _ = format!("btmm1-{text}").parse::<InvitationCode>();
    });
}

#[test]
fn any_payload_with_a_right_checksum_is_a_code_that_reads_back_or_an_error() {
    check!().with_type::<Vec<u8>>().for_each(|payload| {
        if let Ok(code) = seal(payload).parse::<InvitationCode>() {
            let again: InvitationCode = code.reveal().parse().expect("what a code reveals is a code");
            assert_eq!(again.addresses(), code.addresses());
            assert_eq!(again.expires_at(), code.expires_at());
            assert_eq!(again.reveal(), code.reveal());
        }
    });
}

#[test]
fn sealing_by_hand_makes_the_same_code() {
    // Keeps the test above honest: if the form of codes changes, its payloads must not silently stop to reach the parser.
    let payload = [&[1, 4, 192, 0, 2, 1][..], &[7; 20], &[8; 16], &[0x6b, 0x49, 0xd2, 0]].concat();
    let code: InvitationCode = seal(&payload).parse().unwrap();
    assert_eq!(code.addresses(), ["192.0.2.1:4500".parse().unwrap()]);
}

/// The code with this payload: checksum and base32 as the documentation of `account::invite` has them.
fn seal(payload: &[u8]) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    let check = digest(&SHA256, &[b"btmm1", payload].concat());
    let mut text = String::from("btmm1-");
    let (mut bits, mut held) = (0_u32, 0);
    for octet in payload.iter().chain(&check.as_ref()[..3]) {
        (bits, held) = (bits << 8 | u32::from(*octet), held + 8);
        while held >= 5 {
            held -= 5;
            text.push(symbol(bits >> held));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        text.push(symbol(bits << (5 - held)));
    }
    text
}

fn symbol(bits: u32) -> char {
    char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[usize::try_from(bits & 31).unwrap()])
}

#[test]
fn a_damaged_code_is_an_error() {
    let original: InvitationCode = FOUNDED.1.parse().unwrap();
    check!().with_type::<(u16, u8)>().cloned().for_each(|how| {
        let Ok(text) = String::from_utf8(dented(FOUNDED.1.as_bytes(), how)) else { return };
        if let Ok(code) = text.parse::<InvitationCode>() {
            // Upper case and look-alikes are no damage.
            assert_eq!(code.reveal(), original.reveal());
        }
    });
}

#[test]
fn any_octets_are_no_certificate_and_no_request() {
    check!().with_type::<Vec<u8>>().for_each(|octets| {
        assert!(verify_peer(octets, &ISSUED.trust, now()).is_err());
        assert!(PublicKey::from_request(octets).is_err());
        assert!(MachineKey::from_pem(octets).is_err());
        let _ = PublicKey::from_spki(octets);
    });
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    let authority = |octets: &[u8]| AccountTrust { ca: octets.to_vec(), ..ISSUED.trust.clone() };
    let is_believed = |octets: &[u8]| verify_peer(octets, &ISSUED.trust, now()).is_ok() || PublicKey::from_request(octets).is_ok();
    damage::excessive(&[0x30], |octets| {
        assert!(!is_believed(octets) && PublicKey::from_spki(octets).is_err() && authority(octets).authority_key().is_err());
    });
    for message in [&ISSUED.certificate, &ISSUED.request, &ISSUED.spki, &ISSUED.trust.ca] {
        damage::excessive_inside(message, |octets| {
            assert!(!is_believed(octets));
            let _ = PublicKey::from_spki(octets);
            let _ = verify_peer(&ISSUED.certificate, &authority(octets), now());
        });
    }
}

#[test]
fn a_damaged_certificate_is_refused_in_one_line() {
    check!().with_type::<(u16, u8)>().cloned().for_each(|how| {
        let damaged = dented(&ISSUED.certificate, how);
        match verify_peer(&damaged, &ISSUED.trust, now()) {
            Ok(_) => assert_eq!(damaged, ISSUED.certificate),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
    });
}

#[test]
fn a_certificate_is_refused_under_an_authority_with_a_damaged_key() {
    check!().with_type::<(u16, u8)>().cloned().for_each(|how| {
        let ca = dented(&ISSUED.trust.ca, how);
        let key = ISSUED.trust.authority_key().unwrap();
        let same_key = ca.windows(key.spki().len()).any(|octets| octets == key.spki());
        let verified = verify_peer(&ISSUED.certificate, &AccountTrust { ca, ..ISSUED.trust.clone() }, now());
        assert!(verified.is_err() || same_key);
    });
}

#[test]
fn a_damaged_request_never_gives_another_key() {
    check!().with_type::<(u16, u8)>().cloned().for_each(|how| {
        if let Ok(key) = PublicKey::from_request(&dented(&ISSUED.request, how)) {
            assert_eq!(key.spki(), ISSUED.spki);
        }
    });
}

#[test]
fn any_json_is_no_roster_and_no_message_that_panics() {
    let trust = FOUNDED.0.trust();
    check!().with_type::<Vec<u8>>().for_each(|octets| {
        if let Ok(signed) = SignedRoster::from_json(octets) {
            assert!(signed.verify(trust).is_err());
        }
        let _ = serde_json::from_slice::<Roster>(octets);
        let _ = serde_json::from_slice::<JoinRequest>(octets);
        let _ = serde_json::from_slice::<Membership>(octets);
        if let Ok(refusal) = serde_json::from_slice::<Refusal>(octets) {
            assert_eq!(refusal.to_string().lines().count(), 1);
        }
    });
}

#[test]
fn a_damaged_roster_is_refused() {
    let (trust, genuine) = (FOUNDED.0.trust(), FOUNDED.0.roster());
    let json = FOUNDED.0.signed_roster().to_json();
    check!().with_type::<(u16, u8)>().cloned().for_each(|how| {
        if let Ok(roster) = SignedRoster::from_json(&dented(&json, how)).and_then(|signed| signed.verify(trust)) {
            assert_eq!(roster, genuine);
        }
    });
}
