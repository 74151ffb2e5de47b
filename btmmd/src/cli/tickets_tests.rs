use super::*;
use crate::lkdc::ccache::Times;

const REALM: &str = "LKDC:SHA256.BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
const NOW: i64 = 1_800_000_000;

fn name(text: &str) -> FullName {
    text.replace('%', REALM).parse().unwrap()
}

fn ticket(server: &str, ends: i64, flags: u32) -> Credential {
    let mut ticket = Credential::empty(name("alice@%"), name(server));
    let seconds = |time: i64| u32::try_from(time).unwrap();
    ticket.key.etype = 20;
    ticket.times = Times { authenticated: seconds(NOW - 7200), starts: 0, ends: seconds(ends), renew_till: seconds(NOW + 86_400 * 6) };
    ticket.flags = flags;
    ticket
}

fn cache() -> CredentialCache {
    let mut cache = CredentialCache::new(name("alice@%"));
    cache.store(ticket("krbtgt/%@%", NOW + 3600 * 8, 0x40c0_0000 | 0x0080_0000));
    cache.store(ticket("host/imac.alice.btmm.internal@%", NOW - 300, 0x4000_0000));
    cache.store(ticket("cifs/%@%", NOW + 59, 0));
    cache.set_config("pa_type", Some(&name("krbtgt/%@%")), b"16");
    cache
}

fn listing(cache: &CredentialCache) -> Listing {
    Listing { caches: vec![report("FILE:/tmp/krb5cc_1000", cache, NOW)] }
}

#[test]
fn tickets_read_as_people_know_their_machines() {
    let expected = "\
FILE:/tmp/krb5cc_1000: 3 tickets of alice
SERVICE  MACHINE                   STRENGTH     TIME LEFT        RENEWABLE
sign-in  imac.alice.btmm.internal  certificate  8 h              6 days
host     imac.alice.btmm.internal  certificate  ended 5 min ago  -
cifs     imac.alice.btmm.internal  certificate  59 s             -
";
    assert_eq!(render(&listing(&cache()), false, NOW, Paint(false)), expected);
}

#[test]
fn verbose_shows_principals_in_full() {
    let text = render(&listing(&cache()), true, NOW, Paint(false));
    assert!(text.contains(&format!("3 tickets of alice@{REALM}\n")), "{text}");
    assert!(text.ends_with(&format!(" cifs/{REALM}@{REALM}\n")), "{text}");
    assert!(text.contains("aes256-cts-hmac-sha384-192  forwardable,renewable  krbtgt/"), "{text}");
}

#[test]
fn a_realm_without_a_known_machine_is_cut_short() {
    let mut cache = cache();
    cache.remove(|ticket| ticket.server == name("host/imac.alice.btmm.internal@%"));
    assert_eq!(listing(&cache).caches[0].tickets[0].peer, "LKDC:BA7816BF…");
}

#[test]
fn other_peoples_realms_are_shown_as_they_are() {
    let mut cache = CredentialCache::new("bob@EXAMPLE.ORG".parse().unwrap());
    cache.store(ticket("krbtgt/EXAMPLE.ORG@EXAMPLE.ORG", NOW + 60, 0));
    let listing = listing(&cache);
    let ticket = &listing.caches[0].tickets[0];
    assert_eq!((ticket.peer.as_str(), ticket.strength, ticket.state), ("EXAMPLE.ORG", None, "good"));
}

#[test]
fn strength_follows_the_note_of_the_first_ticket() {
    for (noted, expected) in [("2", Some("password")), ("151", Some("password")), ("141", Some("otp")), ("77", None), ("x", None)] {
        let mut cache = cache();
        cache.set_config("pa_type", Some(&name("krbtgt/%@%")), noted.as_bytes());
        assert_eq!(listing(&cache).caches[0].tickets[2].strength, expected, "{noted}");
    }
}

#[test]
fn nothing_is_said_in_two_words() {
    assert_eq!(render(&Listing { caches: vec![] }, false, NOW, Paint(false)), "no tickets\n");
    assert_eq!(render(&listing(&CredentialCache::new(name("alice@%"))), false, NOW, Paint(false)), "no tickets\n");
}

#[test]
fn tickets_that_are_no_good_are_marked_for_the_eye() {
    let text = render(&listing(&cache()), false, NOW, Paint(true));
    let marked: Vec<bool> = text.lines().skip(2).map(|line| line.contains("\u{1b}[33m")).collect();
    assert_eq!(marked, [false, true, false]);
}

#[test]
fn tickets_are_meant_by_principal_service_and_host() {
    let cache = cache();
    let meant = |text: &str| -> Vec<String> {
        cache.tickets().filter(|ticket| is_meant(&cache, ticket, text)).map(|ticket| service(&ticket.server)).collect()
    };
    assert_eq!(meant("imac"), ["sign-in", "host", "cifs"]);
    assert_eq!(meant("cifs@imac"), ["cifs"]);
    assert_eq!(meant("sign-in@imac.alice.btmm.internal"), ["sign-in"]);
    assert_eq!(meant("host/imac.alice.btmm.internal"), ["host"]);
    assert_eq!(meant(&format!("cifs/{REALM}@{REALM}")), ["cifs"]);
    assert_eq!(meant("host@laptop"), Vec::<String>::new());
    assert_eq!(meant("nfs@imac"), Vec::<String>::new());
}
