use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::client::Challenge;
use super::kdc::{Factors, Judge, LIFETIME};
use super::ledger::FREE_TRIES;
use super::*;
use crate::entropy::SystemEntropy;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::Principal;
use crate::lkdc::principals::{TotpSecret, VersionedKeys};

const SECRET: &[u8] = b"12345678901234567890";
const PASSWORD: &str = "correct horse";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn fresh_key() -> Key {
    Key::random(Etype::Aes256CtsHmacSha1_96, &mut SystemEntropy)
}

struct World {
    judge: Judge,
    totp: TotpSecret,
    password: VersionedKeys,
    armor: Key,
    alice: Principal,
}

impl World {
    fn new() -> Self {
        let salt = "LKDCalice";
        let keys = [Etype::Aes256CtsHmacSha384_192, Etype::Aes256CtsHmacSha1_96];
        let keys = keys.map(|etype| Key::from_password(etype, PASSWORD.as_bytes(), salt.as_bytes(), None).unwrap());
        Self {
            judge: Judge::new(fresh_key(), Arc::default()),
            totp: TotpSecret::from_bytes(SECRET),
            password: VersionedKeys { kvno: 1, keys: keys.as_slice().into(), salt: Some(salt.to_owned()), since: now(), until: None },
            armor: fresh_key(),
            alice: Principal::user("alice"),
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::read(&self.judge.challenge(&self.alice, "LKDC", now(), &mut SystemEntropy)).unwrap()
    }

    fn answer(&self, code: &str, password: Option<&str>) -> Vec<u8> {
        self.challenge().answer(code, password, &self.armor, &mut SystemEntropy).to_vec()
    }

    fn judge(&self, value: &[u8], at: SystemTime) -> Result<(), OtpError> {
        let factors = Factors { totp: &self.totp, password: &self.password };
        self.judge.judge(value, &self.armor, &self.alice, factors, at).map(drop)
    }

    fn code(&self, at: SystemTime) -> String {
        totp::code(SECRET, totp::step(at), TotpSecret::DIGITS).to_string()
    }
}

#[test]
fn code_and_password_together_are_taken_once() {
    let world = World::new();
    let challenge = world.challenge();
    assert_eq!((challenge.asks_pin(), challenge.length(), challenge.service.as_deref()), (true, Some(6), Some("LKDC")));
    let value = world.answer(&world.code(now()), Some(PASSWORD));
    assert_eq!(world.judge(&value, now()), Ok(()));
    assert_eq!(world.judge(&value, now()), Err(OtpError::Used));
    let again = world.answer(&world.code(now()), Some(PASSWORD));
    assert_eq!(world.judge(&again, now()), Err(OtpError::Used));
    let earlier = world.answer(&world.code(now() - Duration::from_secs(30)), Some(PASSWORD));
    assert_eq!(world.judge(&earlier, now()), Err(OtpError::Used));
    let next = world.answer(&world.code(now() + Duration::from_secs(30)), Some(PASSWORD));
    assert_eq!(world.judge(&next, now()), Ok(()));
}

#[test]
fn neither_factor_alone_is_enough() {
    let world = World::new();
    let code = world.code(now());
    assert_eq!(world.judge(&world.answer(&code, Some("wrong")), now()), Err(OtpError::Password));
    assert_eq!(world.judge(&world.answer(&code, None), now()), Err(OtpError::Missing("password")));
    assert_eq!(world.judge(&world.answer("000000", Some(PASSWORD)), now()), Err(OtpError::Code));
    assert_eq!(world.judge(&world.answer("", Some(PASSWORD)), now()), Err(OtpError::Code));
    assert_eq!(world.judge(&world.answer(&code, Some(PASSWORD)), now()), Ok(()));
}

#[test]
fn guessing_codes_makes_wait_but_guessing_passwords_does_not_lock_anybody_out() {
    let world = World::new();
    for _ in 0..FREE_TRIES + 5 {
        assert_eq!(world.judge(&world.answer("000000", Some("wrong")), now()), Err(OtpError::Password));
    }
    for _ in 0..FREE_TRIES {
        assert_eq!(world.judge(&world.answer("000000", Some(PASSWORD)), now()), Err(OtpError::Code));
    }
    let right = world.answer(&world.code(now()), Some(PASSWORD));
    assert_eq!(world.judge(&right, now()), Err(OtpError::Wait));
    assert_eq!(world.judge(&right, now() + ledger::FIRST_WAIT), Ok(()));
}

#[test]
fn a_nonce_is_for_one_client_of_one_kdc_and_not_for_long() {
    let world = World::new();
    let value = world.answer(&world.code(now() + LIFETIME * 2), Some(PASSWORD));
    assert_eq!(world.judge(&value, now() + LIFETIME * 2), Err(OtpError::Nonce));
    let mut bob = World::new();
    bob.alice = Principal::user("bob");
    bob.armor = world.armor.clone();
    assert_eq!(bob.judge(&value, now()), Err(OtpError::Nonce));
    let mut other = World::new();
    other.armor = fresh_key();
    assert!(matches!(other.judge(&value, now()), Err(OtpError::Fast(_))));
}

#[test]
fn every_field_of_a_strangers_request_can_be_read() {
    // The form in which MIT 1.20 sends a code with a PIN: flags, encData, otp-value, otp-pin, otp-format.
    let request = [
        0x30, 0x33, 0x80, 0x05, 0x00, 0, 0, 0, 0, 0xa2, 0x0d, 0xa0, 0x03, 0x02, 0x01, 0x12, 0xa2, 0x06, 0x04, 0x04, 1, 2, 3, 4, 0x85, 0x06,
        b'1', b'2', b'3', b'4', b'5', b'6', 0x86, 0x03, b'p', b'i', b'n', 0x8a, 0x01, 0x00, 0x8b, 0x02, b'i', b'd', 0x8c, 0x03, b'u', b'r',
        b'i', 0x8d, 0x02, b'm', b'e',
    ];
    let request: asn1::PaOtpRequest = crate::lkdc::asn1::decode(&request).unwrap();
    assert_eq!((request.otp_value.as_deref(), request.otp_pin.as_deref()), (Some(b"123456".as_slice()), Some("pin")));
    assert_eq!((request.otp_format, request.otp_alg_id.as_deref(), request.otp_vendor.as_deref()), (Some(0), Some("uri"), Some("me")));
}

proptest! {
    #[test]
    fn any_octets_are_refused_as_request_and_as_challenge(value: Vec<u8>) {
        static WORLD: LazyLock<World> = LazyLock::new(World::new);
        prop_assert!(WORLD.judge(&value, now()).is_err());
        prop_assert!(Challenge::read(&value).is_err());
    }
}
