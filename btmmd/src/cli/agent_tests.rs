use super::*;
use crate::lkdc::ccache::Credential;

const REALM: &str = "LKDC:SHA256.00";
const NOW: u32 = 1_800_000_000;

fn client() -> FullName {
    format!("alice@{REALM}").parse().unwrap()
}

fn ticket(server: &str, ends: u32) -> Credential {
    let mut ticket = Credential::empty(client(), format!("{server}@{REALM}").parse().unwrap());
    ticket.times = Times { authenticated: NOW - 10, starts: NOW - 10, ends, renew_till: 0 };
    ticket
}

/// A cache earned by pre-authentication `earned`, with a ticket-granting ticket that ends then.
fn cache(earned: &str, ends: u32) -> CredentialCache {
    let mut cache = CredentialCache::new(client());
    cache.set_config("pa_type", Some(&FullName::krbtgt(REALM)), earned.as_bytes());
    cache.store(ticket(&format!("krbtgt/{REALM}"), ends));
    cache
}

fn marked(earned: &str, ends: u32) -> CredentialCache {
    let mut cache = cache(earned, ends);
    mark(&mut cache);
    cache
}

#[test]
fn a_user_without_tickets_gets_the_daemon_s_and_once_they_are_there_nothing_is_written() {
    let offered = cache("16", NOW + 100);
    let first = merged(None, &offered, NOW).unwrap();
    assert!(is_ours(&first) && first.tickets().eq(offered.tickets()));
    assert_eq!(merged(Some(&first), &offered, NOW), None);
    let mut otherwise = first.clone();
    otherwise.credentials.reverse();
    assert_eq!(merged(Some(&otherwise), &offered, NOW), None, "in whatever order");
}

#[test]
fn tickets_that_the_user_has_earned_stay_until_they_end() {
    let offered = cache("16", NOW + 1000);
    for own in [cache("2", NOW + 100), cache("141", NOW + 100), cache("16", NOW + 100), marked("138", NOW + 100)] {
        assert_eq!(merged(Some(&own), &offered, NOW), None, "{own:?}");
        assert!(merged(Some(&own), &offered, NOW + 100).is_some_and(|new| is_ours(&new)), "{own:?}");
    }
}

#[test]
fn renewed_tickets_take_the_place_of_the_old_ones_and_those_that_programs_got_stay_while_they_are_good() {
    let mut ours = marked("16", NOW + 100);
    ours.store(ticket("nfs/imac", NOW + 100));
    ours.store(ticket("vnc/imac", NOW));
    let merged = merged(Some(&ours), &cache("16", NOW + 1000), NOW).unwrap();
    let held: Vec<(String, u32)> = merged.tickets().map(|ticket| (ticket.server.principal.to_string(), ticket.times.ends)).collect();
    assert_eq!(held, [(format!("krbtgt/{REALM}"), NOW + 1000), ("nfs/imac".to_owned(), NOW + 100)]);
}

#[test]
fn what_the_daemon_holds_after_its_end_is_not_written() {
    assert_eq!(merged(None, &cache("16", NOW), NOW), None);
}

#[test]
fn only_our_caches_of_machines_that_left_are_orphans_and_none_while_the_machines_are_not_known() {
    let known = |realm: &str| vec![realm.to_owned()];
    assert!(is_orphan(&marked("16", NOW + 1), &known("another")));
    assert!(!is_orphan(&marked("16", NOW + 1), &known(REALM)));
    assert!(!is_orphan(&marked("16", NOW + 1), &[]));
    assert!(!is_orphan(&cache("16", NOW + 1), &known("another")) && !is_orphan(&marked("2", NOW + 1), &known("another")));
}

#[test]
fn tickets_that_were_removed_stay_away_until_the_user_gets_others() {
    let mut memory = Memory::default();
    let written = marked("16", NOW + 1000);
    assert_eq!(memory.look(&client(), None, NOW), Due::Keep, "never there");
    assert!(memory.saw(&written, NOW));
    assert_eq!(memory.look(&client(), None, NOW + 1), Due::Removed);
    assert_eq!(memory.look(&client(), None, NOW + 2), Due::Away, "told once");
    assert_eq!(memory.look(&client(), None, NOW + 5000), Due::Away, "also after their end");
    assert_eq!(memory.look(&client(), Some(&cache("2", NOW + 6000)), NOW + 5001), Due::Keep);
    assert_eq!(memory.look(&client(), None, NOW + 5002), Due::Removed, "a password's, too");
}

#[test]
fn a_cache_that_has_lost_its_ticket_granting_ticket_alone_is_one_that_was_removed() {
    let mut memory = Memory::default();
    let mut there = marked("16", NOW + 1000);
    assert_eq!(memory.look(&client(), Some(&there), NOW), Due::Keep);
    there.remove(|ticket| ticket.server == FullName::krbtgt(REALM));
    assert_eq!(memory.look(&client(), Some(&there), NOW), Due::Removed);
}

#[test]
fn tickets_that_have_ended_or_were_in_another_place_were_not_removed() {
    let place = |path: &str| CachePlace::Dir(path.into());
    let mut memory = Memory::default();
    memory.turn_to(&place("/a"));
    memory.saw(&marked("16", NOW + 1000), NOW);
    memory.turn_to(&place("/a"));
    assert_eq!(memory.look(&client(), None, NOW + 1000 - CLOSE), Due::Keep);
    assert_eq!(memory.look(&client(), None, NOW), Due::Keep, "what has ended is missed no more");
    memory.saw(&marked("16", NOW + 1000), NOW);
    memory.turn_to(&place("/b"));
    assert_eq!(memory.look(&client(), None, NOW), Due::Keep);
}

#[test]
fn what_the_agent_itself_removes_is_not_missed() {
    let mut memory = Memory::default();
    memory.saw(&marked("16", NOW + 1000), NOW);
    memory.forget(&client());
    assert_eq!(memory.look(&client(), None, NOW), Due::Keep);
}

#[test]
fn a_ticket_that_was_renewed_beside_the_daemon_stays_until_the_daemon_has_one_that_ends_later() {
    let mut renewed = marked("16", NOW + 1000);
    renewed.store(ticket("host/imac", NOW + 900));
    let mut offered = cache("16", NOW + 500);
    offered.store(ticket("host/imac", NOW + 500));
    assert_eq!(merged(Some(&renewed), &offered, NOW), None);
    offered.store(ticket("host/imac", NOW + 950));
    let both = merged(Some(&renewed), &offered, NOW).unwrap();
    let ends = |server: &str| both.find(&format!("{server}@{REALM}").parse().unwrap(), NOW).unwrap().times.ends;
    assert_eq!((ends(&format!("krbtgt/{REALM}")), ends("host/imac")), (NOW + 1000, NOW + 950));
}

#[test]
fn a_service_s_ticket_that_was_removed_stays_away_until_the_user_gets_another() {
    let mut memory = Memory::default();
    let mut whole = marked("16", NOW + 1000);
    whole.store(ticket("host/imac", NOW + 1000));
    whole.store(ticket("cifs/imac", NOW + 30));
    memory.saw(&whole, NOW);
    let mut without = marked("16", NOW + 1000);
    assert_eq!(memory.look(&client(), Some(&without), NOW + 1), Due::Keep);
    let held = |memory: &Memory| -> Vec<String> {
        memory.without_removed(whole.clone()).tickets().map(|ticket| ticket.server.principal.components[0].clone()).collect()
    };
    assert_eq!(held(&memory), ["krbtgt", "cifs"], "the other one has ended, or as good as");
    assert_eq!(memory.look(&client(), Some(&marked("16", NOW + 2000)), NOW + 2), Due::Keep);
    assert_eq!(held(&memory), ["krbtgt", "cifs"], "a renewal changes nothing");
    without.store(ticket("host/imac", NOW + 1000));
    memory.saw(&without, NOW + 3);
    assert_eq!(held(&memory), ["krbtgt", "host", "cifs"]);
}

#[test]
fn who_signs_in_anew_has_removed_no_service_s_ticket() {
    let mut memory = Memory::default();
    let mut whole = marked("16", NOW + 1000);
    whole.store(ticket("host/imac", NOW + 1000));
    memory.saw(&whole, NOW);
    memory.saw(&cache("2", NOW + 1500), NOW + 1);
    assert_eq!(memory.without_removed(whole.clone()), whole);
}
