use std::time::Duration;

use super::world::{PASSWORD, World};
use crate::lkdc::client::{AsExchange, ClientError, ClockOffset, Grant, Secrets, TgsWish};
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::name::Principal;

fn tgt(world: &mut World) -> Grant {
    world.initial(&mut AsExchange::new(world.wish(), Secrets::password(PASSWORD))).unwrap()
}

#[test]
fn a_ticket_gets_a_ticket_for_a_service() {
    let mut world = World::new();
    let tgt = tgt(&mut world);
    let grant = world.ticket(TgsWish::service(world.host(), &tgt), &tgt, ClockOffset::default()).unwrap();
    assert_eq!((grant.client.clone(), grant.server.clone()), (world.alice(), world.host()));
    assert_eq!(grant.times.end, tgt.times.end);
    assert!(!Flags(grant.flags).has(Flags::INITIAL));
    // What a cache keeps is what we had.
    let kept = Grant::from_credential(&grant.to_credential()).unwrap();
    assert_eq!((kept.ticket, kept.key, kept.times), (grant.ticket, grant.key, grant.times));
}

#[test]
fn a_ticket_is_renewed_and_no_longer_than_it_may() {
    let mut world = World::new();
    let first = tgt(&mut world);
    world.now += Duration::from_secs(9 * 3600);
    let renewed = world.ticket(TgsWish::renewal(&first), &first, ClockOffset::default()).unwrap();
    assert_eq!(renewed.times.end, world.now + Duration::from_secs(36_000));
    assert_eq!(renewed.times.renew_till, first.times.renew_till);
    world.now += Duration::from_secs(11 * 3600);
    let error = world.ticket(TgsWish::renewal(&renewed), &renewed, ClockOffset::default()).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn a_service_that_is_not_there_is_told_so() {
    let mut world = World::new();
    let tgt = tgt(&mut world);
    let nobody = FullName::new(Principal::service("vnc", "elsewhere"), &world.realm);
    let error = world.ticket(TgsWish::service(nobody, &tgt), &tgt, ClockOffset::default()).unwrap_err();
    assert!(error.to_string().contains("does not know this service"), "{error}");
}

#[test]
fn a_clock_that_went_wrong_after_the_first_ticket_is_reckoned_with() {
    let mut world = World::new();
    let tgt = tgt(&mut world);
    world.ahead = Duration::from_secs(1800);
    world.ticket(TgsWish::service(world.host(), &tgt), &tgt, ClockOffset::default()).unwrap();
}

#[test]
fn two_users_speak_without_a_key_of_the_second() {
    let mut world = World::new();
    let (ours, theirs) = (tgt(&mut world), tgt(&mut world));
    let wish = TgsWish::user_to_user(world.alice(), theirs.ticket.clone(), &ours);
    let grant = world.ticket(wish, &ours, ClockOffset::default()).unwrap();
    assert_eq!(grant.server, world.alice());
    assert!(grant.to_credential().is_session_key_of_second);
    // Under the second ticket's session key: its owner opens it.
    let ticket: rasn_kerberos::Ticket = crate::lkdc::asn1::decode(&grant.ticket).unwrap();
    theirs.key.decrypt(crate::lkdc::crypto::usage::TICKET, &ticket.enc_part.cipher).unwrap();
}

#[test]
fn a_forwardable_ticket_is_forwarded_and_another_is_not() {
    let mut world = World::new();
    let tgt = tgt(&mut world);
    let forwarded = |options| TgsWish { options, ..TgsWish::service(FullName::krbtgt(&tgt.client.realm), &tgt) };
    let grant = world.ticket(forwarded(Flags::FORWARDED.with(Flags::FORWARDABLE)), &tgt, ClockOffset::default()).unwrap();
    assert!(Flags(grant.flags).has(Flags::FORWARDED));
    let plain = world.ticket(forwarded(Flags::default()), &tgt, ClockOffset::default()).unwrap();
    let wish = TgsWish { options: Flags::FORWARDED, ..forwarded(Flags::default()) };
    let error = world.ticket(wish, &plain, ClockOffset::default()).unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
}
