use std::time::Duration;

use super::world::{PASSWORD, World, alice, says};
use crate::entropy::SystemEntropy;
use crate::lkdc::client::reply::ReplyError;
use crate::lkdc::client::wish::TimestampUse;
use crate::lkdc::client::{AsExchange, ClientError, Next, Secrets, TgsWish, Wish};
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::fast::CookieJar;
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::error::ErrorCode;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::kdc::preauth::pa;
use crate::lkdc::kdc::timestamp::EncryptedTimestamp;
use crate::lkdc::name::{APPLE_LKDC, Principal, RealmName};
use crate::lkdc::spake::Spake;

#[test]
fn a_password_gets_a_ticket_granting_ticket_with_each_encryption_type() {
    for etype in Etype::ALL {
        let mut world = World::new();
        world.kdc.principals().insert(alice(&world.realm, &[etype]));
        let wish = Wish { etypes: vec![etype], ..world.wish() };
        let grant = world.initial(&mut AsExchange::new(wish, Secrets::password(PASSWORD))).unwrap();
        assert_eq!(grant.key.etype(), etype);
        assert_eq!((grant.client.clone(), grant.server.clone()), (world.alice(), FullName::krbtgt(&world.realm)));
        assert!(Flags(grant.flags).has(Flags::INITIAL) && Flags(grant.flags).has(Flags::PRE_AUTHENT));
        assert_eq!(grant.times.end, world.now + Duration::from_secs(36_000));
        assert_eq!(grant.times.renew_till, Some(world.now + Duration::from_secs(7 * 86_400)));
    }
}

#[test]
fn a_wrong_password_is_refused_by_the_kdc() {
    let mut world = World::new();
    let error = world.initial(&mut AsExchange::new(world.wish(), Secrets::password("wrong"))).unwrap_err();
    let ClientError::Refused { refusal, .. } = error else { panic!("{error}") };
    assert_eq!(ErrorCode(refusal.code), ErrorCode::KDC_ERR_PREAUTH_FAILED);
}

#[test]
fn who_is_not_known_is_told_so() {
    let mut world = World::new();
    let wish = Wish::tgt(FullName::new(Principal::user("mallory"), &world.realm));
    let error = world.initial(&mut AsExchange::new(wish, Secrets::password(PASSWORD))).unwrap_err();
    assert!(error.to_string().contains("does not know this client"), "{error}");
}

#[test]
fn without_a_password_the_caller_is_told_what_is_missing() {
    let mut world = World::new();
    let error = world.initial(&mut AsExchange::new(world.wish(), Secrets::default())).unwrap_err();
    assert!(matches!(error, ClientError::NeedsPassword(realm) if realm == world.realm));
}

#[test]
fn clocks_that_differ_are_reckoned_with_in_both_directions() {
    let hour = Duration::from_secs(3600);
    for (ahead, behind) in [(hour, Duration::ZERO), (Duration::ZERO, hour)] {
        let mut world = World { ahead, behind, ..World::new() };
        let mut exchange = AsExchange::new(world.wish(), Secrets::password(PASSWORD));
        let tgt = world.initial(&mut exchange).unwrap();
        assert_eq!(exchange.offset().kdc_time(world.now), world.kdc_now());
        assert_eq!(tgt.times.start, world.kdc_now());
        let wish = TgsWish::service(world.host(), &tgt);
        world.ticket(wish, &tgt, exchange.offset()).unwrap();
    }
}

#[test]
fn the_realm_of_a_machine_is_asked_for_by_apples_name_and_checked() {
    let mut world = World::new();
    let real: RealmName = world.realm.parse().unwrap();
    let wish = Wish { expected: Some(real), ..Wish::tgt(FullName::new(Principal::user("alice"), APPLE_LKDC)) };
    let grant = world.initial(&mut AsExchange::new(wish.clone(), Secrets::password(PASSWORD))).unwrap();
    assert_eq!(grant.client, world.alice());

    let wish = Wish { expected: Some(RealmName::of_key(b"another key")), ..wish };
    let error = world.initial(&mut AsExchange::new(wish, Secrets::password(PASSWORD))).unwrap_err();
    assert!(matches!(error, ClientError::Strayed { .. }), "{error}");
}

#[test]
fn an_ordinary_realm_is_not_left_at_anybodys_word() {
    let mut world = World::new();
    let elsewhere = World::of_key(b"another key", Vec::new());
    let mut exchange = AsExchange::new(world.wish(), Secrets::password(PASSWORD));
    let referral = |_| says(68, &elsewhere.realm, None);
    let error = world.initial_through(&mut exchange, referral).unwrap_err();
    assert!(matches!(error, ClientError::Strayed { .. }), "{error}");
}

#[test]
fn a_timestamp_is_not_sent_where_it_is_forbidden() {
    let mut world = World::new();
    let wish = Wish { timestamp: TimestampUse::Never, ..world.wish() };
    let error = world.initial(&mut AsExchange::new(wish, Secrets::password(PASSWORD))).unwrap_err();
    assert!(matches!(error, ClientError::NoMethod { .. }), "{error}");
}

#[test]
fn an_answer_to_another_request_is_not_believed() {
    let mut world = World::new();
    let mut recorded = None;
    let mut exchange = AsExchange::new(world.wish(), Secrets::password(PASSWORD));
    world
        .initial_through(&mut exchange, |answer| {
            recorded = Some(answer.clone());
            answer
        })
        .unwrap();
    let recorded = recorded.unwrap();
    let mut again = AsExchange::new(world.wish(), Secrets::password(PASSWORD));
    let mut rounds = 0;
    let error = world
        .initial_through(&mut again, |answer| {
            rounds += 1;
            if rounds == 2 { recorded.clone() } else { answer }
        })
        .unwrap_err();
    assert!(matches!(error, ClientError::Reply(ReplyError::Differs("nonce"))), "{error}");
}

#[test]
fn an_altered_answer_never_gives_another_ticket() {
    let mut world = World::new();
    let wish = world.wish();
    let mut exchange = AsExchange::new(wish, Secrets::password(PASSWORD));
    let first = exchange.start(world.now, &mut SystemEntropy).unwrap();
    let answer = world.ask(first);
    let Next::Send(second) = exchange.receive(&answer, world.now, &mut SystemEntropy).unwrap() else { panic!("too early") };
    let answer = world.ask(second);
    let part = crate::lkdc::asn1::decode::<rasn_kerberos::AsRep>(&answer).unwrap().0.enc_part.cipher;
    let start = answer.windows(part.len()).position(|octets| octets == part.as_ref()).unwrap();
    // One round each: the exchange itself ends after ten.
    for place in (start..answer.len()).step_by(part.len() / 6) {
        let mut altered = answer.clone();
        altered[place] ^= 1;
        let error = exchange.receive(&altered, world.now, &mut SystemEntropy).unwrap_err();
        assert!(matches!(error, ClientError::Reply(ReplyError::Key(_))), "octet {place}: {error}");
    }
    assert!(matches!(exchange.receive(&answer, world.now, &mut SystemEntropy), Ok(Next::Done(_))));
}

/// A KDC with SPAKE before the timestamp.
fn with_spake() -> World {
    let jar = CookieJar::new(Key::random(Etype::Aes256CtsHmacSha384_192, &mut SystemEntropy));
    World::with(vec![Box::new(Spake::new(jar)), Box::new(EncryptedTimestamp)])
}

#[test]
fn spake_is_preferred_and_sends_nothing_that_a_password_could_be_tried_against() {
    for etype in Etype::ALL {
        let mut world = with_spake();
        world.kdc.principals().insert(alice(&world.realm, &[etype]));
        let wish = Wish { timestamp: TimestampUse::Never, ..world.wish() };
        let grant = world.initial(&mut AsExchange::new(wish, Secrets::password(PASSWORD))).unwrap();
        assert_eq!(grant.client, world.alice());
        for request in &world.sent {
            let request: rasn_kerberos::AsReq = crate::lkdc::asn1::decode(request).unwrap();
            assert!(request.0.padata.iter().flatten().all(|piece| piece.r#type != pa::ENC_TIMESTAMP));
        }
    }
}

#[test]
fn a_wrong_password_fails_with_spake_too() {
    let mut world = with_spake();
    let error = world.initial(&mut AsExchange::new(world.wish(), Secrets::password("wrong"))).unwrap_err();
    assert!(matches!(error, ClientError::Refused { refusal, .. } if ErrorCode(refusal.code) == ErrorCode::KDC_ERR_PREAUTH_FAILED));
}
