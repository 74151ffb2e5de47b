//! Any octets where a cache or a keytab should be: no panic, and what is taken is written back as it was understood.
//!
//! Runs as an ordinary test on random inputs, and under `cargo xtask fuzz` with a coverage-guided engine.
use bolero::check;
use btmm_tests::damage::{self, Octet};
use btmmd::lkdc::ccache::{Credential, CredentialCache, SessionKey, Typed, format};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::keytab::{self, KeytabEntry};

fn cache() -> CredentialCache {
    let name = |text: &str| text.parse::<FullName>().expect("a name");
    let mut cache = CredentialCache::new(name("alice@A"));
    cache.time_offset = Some((1, -1));
    for server in ["krbtgt/A@A", "host/imac.alice.btmm.internal@A"] {
        let mut ticket = Credential::empty(name("alice@A"), name(server));
        ticket.key = SessionKey { etype: 18, octets: vec![3; 32].into() };
        ticket.addresses = vec![Typed { kind: 2, octets: vec![127, 0, 0, 1] }];
        ticket.ticket = vec![0x61; 100];
        cache.store(ticket);
    }
    cache.set_config("fast_avail", Some(&name("krbtgt/A@A")), b"yes");
    cache
}

fn entries() -> Vec<KeytabEntry> {
    let entry =
        |name: &str, kvno| KeytabEntry { name: name.parse().expect("a name"), timestamp: 7, kvno, etype: 20, key: vec![5; 32].into() };
    vec![entry("host/imac@A", 1), entry("host/imac@A", 300), entry("cifs/LKDC:SHA256.AB@LKDC:SHA256.AB", 2)]
}

fn judge_cache(octets: &[u8]) {
    if let Ok(cache) = format::parse(octets) {
        let written = format::emit(&cache);
        assert_eq!(format::parse(&written).as_ref(), Ok(&cache));
        for credential in &cache.credentials {
            let written = format::emit_credential(credential);
            assert_eq!(format::parse_credential(&written).as_ref(), Ok(credential));
        }
    }
    let _ = format::parse_credential(octets);
    if let Ok(name) = format::parse_name(octets) {
        assert_eq!(format::emit_name(&name), octets);
    }
}

fn judge_keytab(octets: &[u8]) {
    if let Ok(entries) = keytab::parse(octets) {
        let written = keytab::emit(&entries).expect("what was read fits");
        let again = keytab::parse(&written).expect("our own");
        assert_eq!(again, entries);
    }
}

#[test]
fn any_octets_are_a_cache_or_an_error() {
    check!().for_each(|octets: &[u8]| judge_cache(octets));
}

#[test]
fn a_damaged_cache_is_a_cache_or_an_error() {
    let whole = format::emit(&cache()).to_vec();
    check!().with_type::<(Vec<Octet>, u16)>().for_each(|(changes, end)| judge_cache(&damage::octets(whole.clone(), changes, *end)));
}

#[test]
fn any_octets_are_a_keytab_or_an_error() {
    check!().for_each(|octets: &[u8]| {
        judge_keytab(octets);
        judge_keytab(&[&[5, 2], octets].concat());
    });
}

#[test]
fn a_damaged_keytab_is_a_keytab_or_an_error() {
    let whole = keytab::emit(&entries()).expect("it fits").to_vec();
    check!().with_type::<(Vec<Octet>, u16)>().for_each(|(changes, end)| judge_keytab(&damage::octets(whole.clone(), changes, *end)));
}

#[test]
fn lengths_that_lead_outside_are_refused_and_cost_nothing() {
    let (cache, keytab) = (format::emit(&cache()).to_vec(), keytab::emit(&entries()).expect("it fits").to_vec());
    for whole in [cache, keytab] {
        for place in 2..whole.len() - 4 {
            for length in [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0]] {
                let mut octets = whole.clone();
                octets[place..place + 4].copy_from_slice(&length);
                judge_cache(&octets);
                judge_keytab(&octets);
            }
        }
    }
}
