use super::format::{FormatError, emit, parse};
use super::*;
use crate::wire::WireError;

fn name(text: &str) -> FullName {
    text.parse().unwrap()
}

fn ticket(server: &str, ends: u32) -> Credential {
    let mut ticket = Credential::empty(name("alice@A"), name(server));
    ticket.key = SessionKey { etype: 20, octets: Zeroizing::new(vec![7; 32]) };
    ticket.times = Times { authenticated: 1, starts: 2, ends, renew_till: 4 };
    ticket.flags = 0x4080_0000;
    ticket.addresses = vec![Typed { kind: 2, octets: vec![10, 0, 0, 1] }];
    ticket.authorization = vec![Typed { kind: 1, octets: vec![] }];
    ticket.ticket = vec![0x61, 0];
    ticket.second_ticket = vec![0x61, 1, 2];
    ticket
}

fn cache() -> CredentialCache {
    let mut cache = CredentialCache::new(name("alice@A"));
    cache.time_offset = Some((-3, 999));
    cache.store(ticket("krbtgt/A@A", 100));
    cache.store(ticket("host/imac.alice.btmm.internal@A", 90));
    cache.set_config("pa_type", Some(&name("krbtgt/A@A")), b"16");
    cache
}

/// Written by hand from the description of the format: `alice@A`, one ticket for `krbtgt/A@A`.
const BY_HAND: &str = "0504 000c 0001 0008 00000001 00000002
    00000001 00000001 00000001 41 00000005 616c696365
    00000001 00000001 00000001 41 00000005 616c696365
    00000002 00000002 00000001 41 00000006 6b7262746774 00000001 41
    0012 00000004 01020304
    0000000a 0000000b 0000000c 0000000d
    00 40000000 00000000 00000000 00000002 6100 00000000";

fn by_hand() -> Vec<u8> {
    let digits: String = BY_HAND.split_whitespace().collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

#[test]
fn a_cache_written_by_hand_is_understood_and_written_alike() {
    let cache = parse(&by_hand()).unwrap();
    assert_eq!(cache.client, name("alice@A"));
    assert_eq!(cache.time_offset, Some((1, 2)));
    let [ticket] = cache.credentials.as_slice() else { panic!("{cache:?}") };
    assert_eq!(ticket.server, name("krbtgt/A@A"));
    assert_eq!((ticket.key.etype, ticket.key.octets.as_slice()), (18, [1, 2, 3, 4].as_slice()));
    assert_eq!(ticket.times, Times { authenticated: 10, starts: 11, ends: 12, renew_till: 13 });
    assert!(ticket.has_flag(1));
    assert!(!ticket.has_flag(0));
    assert!(!ticket.has_flag(40));
    assert_eq!(*emit(&cache), by_hand());
}

#[test]
fn every_field_comes_back() {
    assert_eq!(parse(&emit(&cache())), Ok(cache()));
}

#[test]
fn a_cache_broken_off_anywhere_within_a_credential_is_refused() {
    let whole = by_hand();
    // Up to the end of the client's name it is an empty cache.
    let empty = 16 + 4 + 4 + 5 + 9;
    for length in (0..whole.len()).filter(|length| *length != empty) {
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
    assert_eq!(parse(&whole[..empty]).unwrap().credentials, []);
}

#[test]
fn lengths_are_bounded_before_they_are_followed() {
    let mut bytes = by_hand();
    bytes[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    let refused = WireError::TooLong { what: "number of name components", got: u32::MAX as usize, max: 32 };
    assert_eq!(parse(&bytes), Err(FormatError::Wire(refused)));
}

#[test]
fn other_versions_are_refused_by_their_number() {
    assert_eq!(parse(&[5, 3, 0, 0]), Err(FormatError::Version(0x0503)));
}

#[test]
fn what_another_program_struck_out_is_not_there() {
    let mut struck = cache();
    let mut removed = ticket("host/gone@A", 0);
    removed.times.authenticated = u32::MAX;
    struck.credentials.push(removed);
    struck.credentials.push(Credential::empty(name("alice@A"), FullName::new(config_name("x", None), REMOVED_REALM)));
    assert_eq!(parse(&emit(&struck)), Ok(cache()));
}

#[test]
fn configuration_is_told_from_tickets_and_replaced() {
    let mut cache = cache();
    let about = name("krbtgt/A@A");
    assert_eq!(cache.tickets().count(), 2);
    assert_eq!(cache.config("pa_type", Some(&about)), Some(b"16".as_slice()));
    assert_eq!(cache.config("pa_type", None), None);
    cache.set_config("pa_type", Some(&about), b"2");
    assert_eq!(cache.config("pa_type", Some(&about)), Some(b"2".as_slice()));
    assert_eq!(cache.credentials.len(), 3);
    assert!(cache.credentials[0].is_config());
}

#[test]
fn a_new_ticket_takes_the_place_of_the_old_one() {
    let mut cache = cache();
    cache.store(ticket("krbtgt/A@A", 500));
    assert_eq!(cache.tickets().count(), 2);
    assert_eq!(cache.find(&name("krbtgt/A@A"), 499).unwrap().times.ends, 500);
    assert_eq!(cache.find(&name("krbtgt/A@A"), 500), None);
}

#[test]
fn removing_tickets_leaves_configuration() {
    let mut cache = cache();
    assert_eq!(cache.remove(|ticket| ticket.server.is_krbtgt()), 1);
    assert_eq!(cache.remove(|_| true), 1);
    assert_eq!(cache.credentials.len(), 1);
}

#[test]
fn session_keys_are_not_told() {
    assert!(!format!("{:?}", cache()).contains("7, 7"));
}
