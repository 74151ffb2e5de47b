use std::sync::Arc;

use super::world::{PASSWORD, World, alice};
use crate::entropy::SystemEntropy;
use crate::lkdc::client::{AsExchange, ClientError, ClockOffset, Secrets};
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::fast::{Armor, EncryptedChallenge};
use crate::lkdc::kdc::error::ErrorCode;
use crate::lkdc::kdc::preauth::Mechanism;
use crate::lkdc::kdc::timestamp::EncryptedTimestamp;
use crate::lkdc::otp::{Otp, totp};
use crate::lkdc::principals::{Entry, TotpSecret};

const SECRET: &[u8] = b"12345678901234567890";

fn world() -> World {
    let key = Key::random(Etype::Aes256CtsHmacSha384_192, &mut SystemEntropy);
    let mechanisms: Vec<Box<dyn Mechanism>> =
        vec![Box::new(Otp::new(key, Arc::default())), Box::new(EncryptedChallenge), Box::new(EncryptedTimestamp)];
    World::with(mechanisms)
}

/// Armor of a ticket that somebody got with a password.
fn armor(world: &mut World) -> Armor {
    let tgt = world.initial(&mut AsExchange::new(world.wish(), Secrets::password(PASSWORD))).unwrap();
    tgt.armor(ClockOffset::default(), world.now, &mut SystemEntropy).unwrap()
}

fn give_token(world: &World) {
    let with = alice(&world.realm, &Etype::ALL);
    world.kdc.principals().insert(Entry { totp: Some(TotpSecret::from_bytes(SECRET)), ..with });
}

fn code(world: &World, steps_ago: u64) -> Secrets {
    let code = totp::code(SECRET, totp::step(world.now) - steps_ago, TotpSecret::DIGITS);
    Secrets { code: Some(code), ..Secrets::password(PASSWORD) }
}

#[test]
fn inside_armor_a_password_is_proven_by_both_sides() {
    let mut world = world();
    let armor = armor(&mut world);
    let grant = world.initial(&mut AsExchange::new(world.wish(), Secrets::password(PASSWORD)).armored(armor.clone())).unwrap();
    assert_eq!(grant.client, world.alice());
    let error = world.initial(&mut AsExchange::new(world.wish(), Secrets::password("wrong")).armored(armor)).unwrap_err();
    assert!(matches!(error, ClientError::Refused { refusal, .. } if ErrorCode(refusal.code) == ErrorCode::KDC_ERR_PREAUTH_FAILED));
}

#[test]
fn an_error_from_outside_the_armor_decides_nothing() {
    let mut world = world();
    let armor = armor(&mut world);
    let mut other = World::of_key(b"another key", Vec::new());
    let mut exchange = AsExchange::new(world.wish(), Secrets::password(PASSWORD)).armored(armor);
    // What an unarmored client of the same KDC is told, in place of the armored answer.
    let request = AsExchange::new(world.wish(), Secrets::default()).start(world.now, &mut SystemEntropy).unwrap();
    let unarmored = other.ask(request);
    let error = world.initial_through(&mut exchange, |_| unarmored.clone()).unwrap_err();
    assert!(matches!(error, ClientError::Unprotected { .. }), "{error}");
}

#[test]
fn a_reply_without_its_armor_is_not_believed() {
    let mut world = world();
    let armor = armor(&mut world);
    let mut plain = AsExchange::new(world.wish(), Secrets::password(PASSWORD));
    let mut unarmored = Vec::new();
    world
        .initial_through(&mut plain, |answer| {
            unarmored = answer.clone();
            answer
        })
        .unwrap();
    let mut exchange = AsExchange::new(world.wish(), Secrets::password(PASSWORD)).armored(armor);
    let error = world.initial_through(&mut exchange, |_| unarmored.clone()).unwrap_err();
    assert!(matches!(error, ClientError::Fast(_)), "{error}");
}

#[test]
fn who_has_a_token_needs_its_code_and_the_password() {
    let mut world = world();
    let armor = armor(&mut world);
    give_token(&world);
    let with = |world: &mut World, secrets| world.initial(&mut AsExchange::new(world.wish(), secrets).armored(armor.clone()));
    assert!(matches!(with(&mut world, Secrets::password(PASSWORD)), Err(ClientError::NeedsCode(_))));
    let without_password = Secrets { password: None, ..code(&world, 0) };
    assert!(matches!(with(&mut world, without_password), Err(ClientError::NeedsPassword(_))));
    let old = code(&world, 20);
    assert!(matches!(with(&mut world, old), Err(ClientError::Refused { .. })));
    let right = code(&world, 0);
    let grant = with(&mut world, right.clone()).unwrap();
    assert_eq!(grant.client, world.alice());
    // And not twice.
    assert!(matches!(with(&mut world, right), Err(ClientError::Refused { .. })));
}
