use super::*;
use crate::entropy::SystemEntropy;
use crate::lkdc::client::grant::Life;
use crate::lkdc::crypto::{Etype, Key};

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn peer() -> Peer {
    Peer { realm: RealmName::of_key(b"imac"), host: "imac.alice.btmm.internal".to_owned(), kdc: "[fd00::1]:88".parse().unwrap() }
}

fn keeper() -> Keeper {
    Keeper::new(Principal::user("alice"), vec!["host".to_owned()])
}

/// What a KDC gives for an order: ten hours, or as long as the ticket that pays; renewable for seven days.
fn grant(order: &Order, now: SystemTime) -> Grant {
    let (server, end, renew_till) = match &order.what {
        What::Initial => (Principal::krbtgt(order.peer.realm.as_str()), now + 10 * HOUR, Some(now + 7 * 24 * HOUR)),
        What::Renewal { tgt, .. } => (tgt.server.principal.clone(), now + 10 * HOUR, tgt.times.renew_till),
        What::Service { service, tgt, .. } => (service.clone(), tgt.times.end, None),
    };
    Grant {
        client: order.client.clone(),
        server: FullName::new(server, order.peer.realm.as_str()),
        key: Key::random(Etype::Aes256CtsHmacSha384_192, &mut SystemEntropy),
        flags: Flags::RENEWABLE.0,
        times: Life { authenticated: now, start: now, end, renew_till },
        ticket: vec![1],
        second: Vec::new(),
    }
}

/// By certificate, from a KDC that understands armor.
fn notes() -> Notes {
    Notes { method: Some(16), armor: true }
}

fn commands(keeper: &mut Keeper) -> (Vec<Order>, usize) {
    let mut orders = Vec::new();
    let mut saved = 0;
    while let Some(command) = keeper.poll_command() {
        match command {
            Command::Get(order) => orders.push(order),
            Command::Save(..) => saved += 1,
            Command::Forget(_) => {}
        }
    }
    (orders, saved)
}

fn only(keeper: &mut Keeper) -> Order {
    let (mut orders, _) = commands(keeper);
    assert_eq!(orders.len(), 1, "{orders:?}");
    orders.remove(0)
}

fn done(keeper: &mut Keeper, order: Order, now: SystemTime) {
    let grant = Box::new(grant(&order, now));
    keeper.handle(Input::Done(Box::new(order), Outcome::Granted(grant, ClockOffset::default(), notes())), now);
}

/// Has a ticket-granting ticket and one for `host`, both from [`start`].
fn provided() -> Keeper {
    let mut keeper = keeper();
    keeper.handle(Input::Reachable(vec![peer()]), start());
    let first = only(&mut keeper);
    assert!(matches!(first.what, What::Initial));
    done(&mut keeper, first, start());
    let second = only(&mut keeper);
    assert!(matches!(&second.what, What::Service { service, .. } if service.to_string() == "host/imac.alice.btmm.internal"));
    done(&mut keeper, second, start());
    assert_eq!(commands(&mut keeper).0.len(), 0);
    keeper
}

#[test]
fn a_peer_that_becomes_reachable_gets_its_tickets_and_they_are_saved() {
    let keeper = provided();
    let cache = keeper.cache(&peer().realm).unwrap();
    assert_eq!(cache.tickets().count(), 2);
    assert_eq!(cache.client, FullName::new(Principal::user("alice"), peer().realm.as_str()));
}

#[test]
fn an_order_that_was_given_up_with_its_tunnel_is_made_again_with_the_next_one() {
    let mut keeper = keeper();
    keeper.handle(Input::Reachable(vec![peer()]), start());
    assert!(matches!(only(&mut keeper).what, What::Initial));
    keeper.handle(Input::Reachable(Vec::new()), start());
    assert_eq!(commands(&mut keeper).0.len(), 0);
    assert_eq!(keeper.poll_timeout(), None);
    keeper.handle(Input::Reachable(vec![peer()]), start());
    assert!(matches!(only(&mut keeper).what, What::Initial));
}

#[test]
fn tickets_are_renewed_at_two_thirds_of_their_life_and_service_tickets_follow() {
    let mut keeper = provided();
    let (at, why) = keeper.poll_timeout().unwrap();
    assert_eq!((at, why), (start() + 10 * HOUR * 2 / 3, "renewal"));
    keeper.handle(Input::Timeout, at - Duration::from_secs(1));
    assert_eq!(commands(&mut keeper).0.len(), 0);
    keeper.handle(Input::Timeout, at);
    let renewal = only(&mut keeper);
    assert!(matches!(renewal.what, What::Renewal { .. }));
    done(&mut keeper, renewal, at);
    let service = only(&mut keeper);
    assert!(matches!(service.what, What::Service { .. }));
    done(&mut keeper, service, at);
    assert_eq!(keeper.cache(&peer().realm).unwrap().tickets().count(), 2);
    assert!(keeper.poll_timeout().unwrap().0 > at);
}

#[test]
fn a_ticket_that_cannot_be_renewed_any_more_is_got_anew() {
    let mut keeper = provided();
    let mut now = start();
    let mut anew = false;
    // A week, ticket after ticket.
    for _ in 0..60 {
        let Some((at, _)) = keeper.poll_timeout() else { panic!("nothing to wait for") };
        now = now.max(at);
        keeper.handle(Input::Timeout, now);
        while let Some(command) = keeper.poll_command() {
            let Command::Get(order) = command else { continue };
            anew |= matches!(order.what, What::Initial);
            let mut granted = grant(&order, now);
            granted.times.end = granted.times.end.min(granted.times.renew_till.unwrap_or(granted.times.end));
            keeper.handle(Input::Done(Box::new(order), Outcome::Granted(Box::new(granted), ClockOffset::default(), notes())), now);
        }
    }
    assert!(anew && now > start() + 7 * 24 * HOUR);
}

#[test]
fn a_refused_renewal_is_followed_by_a_new_ticket_at_once() {
    let mut keeper = provided();
    let at = keeper.poll_timeout().unwrap().0;
    keeper.handle(Input::Timeout, at);
    let renewal = only(&mut keeper);
    keeper.handle(Input::Done(Box::new(renewal), Outcome::Refused("no".to_owned())), at);
    assert!(matches!(only(&mut keeper).what, What::Initial));
}

#[test]
fn nothing_is_asked_of_a_peer_that_no_tunnel_leads_to() {
    let mut keeper = provided();
    keeper.handle(Input::Reachable(Vec::new()), start() + HOUR);
    assert_eq!(keeper.poll_timeout(), None);
    keeper.handle(Input::Timeout, start() + 9 * HOUR);
    assert_eq!(commands(&mut keeper).0.len(), 0);
    assert!(keeper.cache(&peer().realm).is_some());
    keeper.handle(Input::Reachable(vec![peer()]), start() + 9 * HOUR);
    assert!(matches!(only(&mut keeper).what, What::Renewal { .. }));
}

#[test]
fn failures_are_retried_after_growing_pauses_and_a_new_tunnel_at_once() {
    let mut keeper = keeper();
    let mut now = start();
    keeper.handle(Input::Reachable(vec![peer()]), now);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let order = only(&mut keeper);
        keeper.handle(Input::Done(Box::new(order), Outcome::Failed("silence".to_owned())), now);
        let at = keeper.poll_timeout().unwrap().0;
        pauses.push(at.duration_since(now).unwrap().as_secs());
        now = at;
        keeper.handle(Input::Timeout, now);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    let order = only(&mut keeper);
    keeper.handle(Input::Done(Box::new(order), Outcome::Failed("silence".to_owned())), now);
    keeper.handle(Input::Reachable(Vec::new()), now);
    keeper.handle(Input::Reachable(vec![peer()]), now);
    only(&mut keeper);
}

#[test]
fn a_service_that_the_peer_lacks_is_asked_for_once_per_ticket_granting_ticket() {
    let mut keeper = keeper();
    keeper.handle(Input::Reachable(vec![peer()]), start());
    let first = only(&mut keeper);
    done(&mut keeper, first, start());
    let service = only(&mut keeper);
    keeper.handle(Input::Done(Box::new(service), Outcome::Refused("no".to_owned())), start());
    assert_eq!(commands(&mut keeper).0.len(), 0);
    let at = keeper.poll_timeout().unwrap().0;
    keeper.handle(Input::Timeout, at);
    let renewal = only(&mut keeper);
    done(&mut keeper, renewal, at);
    assert!(matches!(only(&mut keeper).what, What::Service { .. }));
}

#[test]
fn tickets_of_a_machine_that_left_are_forgotten() {
    let mut keeper = provided();
    keeper.handle(Input::Gone(vec![peer().realm, RealmName::of_key(b"never seen")]), start());
    assert!(matches!(keeper.poll_command(), Some(Command::Forget(realm)) if realm == peer().realm));
    assert!(keeper.poll_command().is_none());
    assert!(keeper.cache(&peer().realm).is_none());
}

#[test]
fn what_somebody_waits_for_is_got_first_and_kept_like_all_others() {
    let (mut keeper, realm) = (keeper(), peer().realm);
    let vnc = Some("vnc".to_owned());
    keeper.handle(Input::Wanted(peer(), vnc.clone()), start());
    assert_eq!(commands(&mut keeper).0.len(), 0, "no tunnel yet");
    assert_eq!(keeper.standing(&realm, vnc.as_deref(), start()), Standing::Coming);
    keeper.handle(Input::Reachable(vec![peer()]), start());
    let first = only(&mut keeper);
    done(&mut keeper, first, start());
    assert_eq!(keeper.standing(&realm, None, start()), Standing::Held);
    let wanted = only(&mut keeper);
    assert!(matches!(&wanted.what, What::Service { service, .. } if service.components.first().unwrap() == "vnc"));
    done(&mut keeper, wanted, start());
    assert_eq!(keeper.standing(&realm, vnc.as_deref(), start()), Standing::Held);
    let host = only(&mut keeper);
    done(&mut keeper, host, start());
    assert_eq!(keeper.cache(&realm).unwrap().tickets().count(), 3);
    let over = start() + 10 * HOUR;
    assert_eq!(keeper.standing(&realm, vnc.as_deref(), over), Standing::Coming, "a ticket that has ended is none");
}

#[test]
fn who_waits_learns_why_there_is_no_ticket_and_whoever_waits_next_has_it_tried_again() {
    let (mut keeper, realm) = (keeper(), peer().realm);
    keeper.handle(Input::Reachable(vec![peer()]), start());
    let first = only(&mut keeper);
    keeper.handle(Input::Done(Box::new(first), Outcome::Failed("silence".to_owned())), start());
    assert_eq!(keeper.standing(&realm, Some("host"), start()), Standing::Failed("silence".to_owned()));
    keeper.handle(Input::Wanted(peer(), Some("host".to_owned())), start());
    let again = only(&mut keeper);
    keeper.handle(Input::Done(Box::new(again), Outcome::Refused("never".to_owned())), start());
    assert_eq!(keeper.standing(&realm, None, start()), Standing::Refused("never".to_owned()));
    keeper.handle(Input::Wanted(peer(), None), start());
    let again = only(&mut keeper);
    done(&mut keeper, again, start());
    let host = only(&mut keeper);
    keeper.handle(Input::Done(Box::new(host), Outcome::Refused("too weak".to_owned())), start());
    assert_eq!(keeper.standing(&realm, Some("host"), start()), Standing::Refused("too weak".to_owned()));
    keeper.handle(Input::Wanted(peer(), Some("host".to_owned())), start());
    assert!(matches!(only(&mut keeper).what, What::Service { .. }));
}

#[test]
fn the_cache_says_that_a_certificate_earned_the_tickets() {
    let cache = provided().cache(&peer().realm).unwrap();
    let granting = FullName::krbtgt(peer().realm.as_str());
    assert_eq!(cache.config("pa_type", Some(&granting)), Some(b"16".as_slice()));
    assert_eq!(cache.config("fast_avail", Some(&granting)), Some(b"yes".as_slice()));
}

#[test]
fn a_service_that_is_asked_for_after_the_end_of_the_ticket_granting_ticket_is_got_with_a_new_one() {
    let (mut keeper, realm) = (provided(), peer().realm);
    keeper.handle(Input::Reachable(Vec::new()), start() + HOUR);
    let over = start() + 10 * HOUR;
    keeper.handle(Input::Wanted(peer(), Some("vnc".to_owned())), over);
    keeper.handle(Input::Reachable(vec![peer()]), over);
    let first = only(&mut keeper);
    assert!(matches!(first.what, What::Initial), "{first:?}");
    done(&mut keeper, first, over);
    let vnc = only(&mut keeper);
    assert!(matches!(&vnc.what, What::Service { service, .. } if service.components.first().unwrap() == "vnc"), "{vnc:?}");
    done(&mut keeper, vnc, over);
    assert_eq!(keeper.standing(&realm, Some("vnc"), over), Standing::Held);
}

#[test]
fn a_service_that_is_refused_while_its_ticket_granting_ticket_ends_is_asked_for_again() {
    let (mut keeper, realm) = (provided(), peer().realm);
    keeper.handle(Input::Wanted(peer(), Some("vnc".to_owned())), start() + HOUR);
    let vnc = only(&mut keeper);
    let over = start() + 10 * HOUR;
    keeper.handle(Input::Done(Box::new(vnc), Outcome::Refused("the ticket has expired".to_owned())), over);
    let first = only(&mut keeper);
    assert!(matches!(first.what, What::Initial), "{first:?}");
    assert_eq!(keeper.standing(&realm, Some("vnc"), over), Standing::Coming);
    done(&mut keeper, first, over);
    let vnc = only(&mut keeper);
    assert!(matches!(&vnc.what, What::Service { service, .. } if service.components.first().unwrap() == "vnc"), "{vnc:?}");
}
