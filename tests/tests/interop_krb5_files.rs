//! Caches and keytabs between btmm and MIT's programs, both ways: what one has written the other reads, and can go on with.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use btmm_tests::lab::kerberos::{Conf, FOLDER, MitKdc, Pair};
use btmm_tests::lab::{Running, finish};
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::ccache::place::{CachePlace, Whose};
use btmmd::lkdc::ccache::{self, Credential, CredentialCache, SessionKey, Times, format};
use btmmd::lkdc::crypto::Etype;
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::keytab;
use btmmd::lkdc::name::RealmName;
use btmmd::lkdc::principals::{Names, Register};

const REALM: &str = "EXAMPLE.TEST";
const HOST: &str = "host/imac.alice.btmm.internal";

/// A client that has its ticket from MIT's KDC, and a ticket for a service.
fn signed_in() -> (Pair, Running) {
    let pair = Pair::new().expect("two machines");
    let kdc = MitKdc::new(REALM).principal("alice", "a secret").service(HOST).start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new().realm(REALM, &pair.imac)).expect("a krb5.conf");
    pair.laptop.kinit(&["-r", "7d", "alice@EXAMPLE.TEST"], Some("a secret")).expect("a ticket");
    pair.laptop.kvno(&[&format!("{HOST}@{REALM}")]).expect("a service ticket");
    (pair, kdc)
}

fn cache_of(pair: &Pair) -> PathBuf {
    pair.laptop.node.path(format!("{FOLDER}/cc"))
}

/// `btmm tickets …` on the laptop, on the cache that MIT's programs have there.
fn tickets(pair: &Pair, arguments: &[&str]) -> Command {
    let mut command = pair.laptop.node.command(env!("CARGO_BIN_EXE_btmm-as-tested"));
    command.arg("tickets").args(arguments).env("KRB5CCNAME", format!("FILE:{FOLDER}/cc"));
    command
}

fn names() -> Names {
    Names {
        realm: RealmName::of_key(b"imac's key"),
        machine: "imac".to_owned(),
        zone: "alice.btmm.internal".to_owned(),
        account: "alice".to_owned(),
        users: BTreeMap::new(),
    }
}

/// A register in a directory that is removed at once: nothing here reads it again.
fn register() -> Register {
    let state = std::env::temp_dir().join(format!("btmm-interop-files-{}", std::process::id()));
    let mut register =
        Register::open(&state, names(), Duration::from_secs(7 * 86_400), SystemTime::now(), &mut SystemEntropy).expect("a register");
    register.rotate(&["host".to_owned()], SystemTime::now(), &mut SystemEntropy).expect("new keys");
    std::fs::remove_dir_all(&state).expect("removed");
    register
}

/// `klist -k`'s lines as (version, principal, etype, key).
fn listed(text: &str) -> Vec<(u32, String, String, String)> {
    let entry = |line: &str| {
        let (kvno, rest) = line.trim().split_once(' ')?;
        let (principal, rest) = rest.split_once(" (")?;
        let (etype, rest) = rest.split_once(")")?;
        let key = rest.trim().strip_prefix("(0x")?.strip_suffix(')')?;
        Some((kvno.parse().ok()?, principal.to_owned(), etype.trim().to_owned(), key.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

fn expected(entries: &[keytab::KeytabEntry]) -> Vec<(u32, String, String, String)> {
    let entry = |entry: &keytab::KeytabEntry| {
        let etype = Etype::from_number(entry.etype).expect("one of ours").name().to_owned();
        (entry.kvno, entry.name.to_string(), etype, data_encoding::HEXLOWER.encode(&entry.key))
    };
    entries.iter().map(entry).collect()
}

#[test]
fn klist_reads_every_key_of_our_keytab() {
    let pair = Pair::new().expect("two machines");
    let octets = register().keytab(&[]).expect("a keytab");
    pair.imac.node.write(&format!("{FOLDER}/ours.keytab"), &*octets).expect("written");
    let list = pair.imac.klist(&["-k", "-e", "-K", &format!("{FOLDER}/ours.keytab")]).expect("a list").out;
    let ours = keytab::parse(&octets).expect("our own");
    assert_eq!(listed(&list), expected(&ours), "{list}");
    assert!(ours.iter().any(|entry| entry.kvno == 2) && ours.len() > 100);
}

#[test]
fn we_read_every_key_of_kadmin_s_keytab_and_add_ours_to_it() {
    let (pair, _kdc) = signed_in();
    let path = pair.imac.node.path("/run/lab/root/etc/krb5.keytab");
    let theirs = keytab::parse(&std::fs::read(&path).expect("ktadd's keytab")).expect("understood");
    let list = |pair: &Pair| pair.imac.klist(&["-k", "-e", "-K", "/etc/krb5.keytab"]).expect("a list").out;
    assert_eq!(expected(&theirs), listed(&list(&pair)));
    assert_eq!(theirs.len(), 4);
    let ours = keytab::parse(&register().keytab(&["host".to_owned()]).expect("a keytab")).expect("our own");
    keytab::install(&path, ours.clone()).expect("installed");
    keytab::install(&path, ours.clone()).expect("installed again");
    assert_eq!(listed(&list(&pair)), expected(&[theirs, ours].concat()));
    // A service can still prove itself with the key that was there before.
    pair.imac.kinit(&["-k", "-t", "/etc/krb5.keytab", &format!("{HOST}@{REALM}")], None).expect("a ticket by keytab");
}

#[test]
fn a_cache_of_kinit_comes_back_octet_for_octet() {
    let (pair, _kdc) = signed_in();
    let octets = std::fs::read(cache_of(&pair)).expect("kinit's cache");
    let cache = format::parse(&octets).expect("understood");
    assert_eq!(*format::emit(&cache), octets);
    assert_eq!(cache.client.to_string(), "alice@EXAMPLE.TEST");
    let services: Vec<String> = cache.tickets().map(|ticket| ticket.server.to_string()).collect();
    assert_eq!(services, ["krbtgt/EXAMPLE.TEST@EXAMPLE.TEST", "host/imac.alice.btmm.internal@EXAMPLE.TEST"]);
    assert!(cache.config("pa_type", Some(&FullName::krbtgt(REALM))).is_some());
    let granting = cache.find(&FullName::krbtgt(REALM), 0).expect("the first ticket");
    assert!(granting.times.renew_till > granting.times.ends && granting.has_flag(8));
    assert_eq!(granting.key.octets.len(), Etype::from_number(granting.key.etype).expect("one of ours").key_length());
}

/// DER of one value shorter than 128 octets.
fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    [&[tag, u8::try_from(content.len()).expect("short")], content.as_slice()].concat()
}

/// A Ticket (RFC 4120 §5.3) for `host/imac@EXAMPLE.TEST` with nothing in it, for klist to look at.
fn hollow_ticket(etype: Etype) -> Vec<u8> {
    let number = |value: u8| der(0x02, &[&[value]]);
    let text = |text: &str| der(0x1b, &[text.as_bytes()]);
    let name = der(0x30, &[&der(0xa0, &[&number(3)]), &der(0xa1, &[&der(0x30, &[&text("host"), &text("imac")])])]);
    let sealed =
        der(0x30, &[&der(0xa0, &[&number(u8::try_from(etype.number()).expect("small"))]), &der(0xa2, &[&der(0x04, &[b"sealed"])])]);
    let fields = [der(0xa0, &[&number(5)]), der(0xa1, &[&text(REALM)]), der(0xa2, &[&name]), der(0xa3, &[&sealed])].concat();
    der(0x61, &[&der(0x30, &[&fields])])
}

#[test]
fn klist_reads_our_cache() {
    let pair = Pair::new().expect("two machines");
    pair.laptop.configure(&Conf::new()).expect("a krb5.conf");
    let now = u32::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs()).expect("before 2106");
    let client: FullName = "alice@EXAMPLE.TEST".parse().expect("a name");
    let mut cache = CredentialCache::new(client.clone());
    cache.time_offset = Some((0, 0));
    for (server, etype, flags) in
        [("krbtgt/EXAMPLE.TEST@EXAMPLE.TEST", Etype::ALL[0], 0x40c0_0000), ("cifs/imac@EXAMPLE.TEST", Etype::ALL[3], 0)]
    {
        let mut ticket = Credential::empty(client.clone(), server.parse().expect("a name"));
        ticket.key = SessionKey { etype: etype.number(), octets: vec![1; etype.key_length()].into() };
        ticket.times = Times { authenticated: now, starts: now, ends: now + 36_000, renew_till: now + 600_000 };
        ticket.flags = flags;
        ticket.ticket = hollow_ticket(etype);
        cache.store(ticket);
    }
    cache.set_config("pa_type", Some(&FullName::krbtgt(REALM)), b"16");
    let place = CachePlace::File(cache_of(&pair));
    ccache::save(&place, &cache).expect("saved");
    assert_eq!(ccache::load(&place).expect("read").as_ref(), Some(&cache));
    let list = pair.laptop.klist(&["-e", "-f", "-C"]).expect("a list").out;
    for expected in [
        "Default principal: alice@EXAMPLE.TEST",
        "krbtgt/EXAMPLE.TEST@EXAMPLE.TEST",
        "cifs/imac@EXAMPLE.TEST",
        "Etype (skey, tkt): aes256-cts-hmac-sha384-192",
        "Etype (skey, tkt): aes128-cts-hmac-sha1-96",
        "config: pa_type(krbtgt/EXAMPLE.TEST@EXAMPLE.TEST) = 16",
        "Flags: FRI",
    ] {
        assert!(list.contains(expected), "{expected:?} is not in\n{list}");
    }
}

#[test]
fn tickets_lists_what_kinit_got_and_removes_what_it_is_told_to() {
    let (pair, _kdc) = signed_in();
    let text = finish(tickets(&pair, &[])).expect("a list").out;
    assert!(text.starts_with(&format!("FILE:{FOLDER}/cc: 2 tickets of alice\n")), "{text}");
    let words: Vec<Vec<&str>> = text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][..3], ["sign-in", "imac.alice.btmm.internal", "password"], "{text}");
    assert_eq!(words[1][..3], ["host", "imac.alice.btmm.internal", "password"], "{text}");
    let json: serde_json::Value = serde_json::from_str(&finish(tickets(&pair, &["--json"])).expect("a list").out).expect("JSON");
    assert_eq!(json["caches"][0]["tickets"][1]["principal"], "host/imac.alice.btmm.internal@EXAMPLE.TEST");
    assert_eq!(json["caches"][0]["tickets"][1]["state"], "good");

    assert_eq!(finish(tickets(&pair, &["rm", "host@imac"])).expect("removed").out, "1 ticket removed\n");
    let list = pair.laptop.klist(&[]).expect("a list").out;
    assert!(list.contains("krbtgt/EXAMPLE.TEST") && !list.contains("host/imac"), "{list}");
    // The cache is still one that MIT's library adds to.
    pair.laptop.kvno(&[&format!("{HOST}@{REALM}")]).expect("the service ticket again");
    assert_eq!(finish(tickets(&pair, &["rm", "--all"])).expect("removed").out, "2 tickets removed\n");
    pair.laptop.klist(&["-s"]).expect_err("nothing to list");
    assert_eq!(finish(tickets(&pair, &[])).expect("a list").out, "no tickets\n");
}

#[test]
fn with_a_ticket_of_kinit_we_get_others_and_renew_it() {
    let pair = Pair::new().expect("two machines");
    let realm = pair.imac.realm();
    let kdc = MitKdc::new(&realm).principal("alice", "a secret").service(HOST).start(&pair.imac).expect("krb5kdc");
    pair.laptop.configure(&Conf::new().realm_of(&pair.imac)).expect("a krb5.conf");
    pair.laptop.node.write("/run/btmm/realms", format!("{realm} {} {}\n", pair.imac.inner, pair.imac.fqdn())).expect("a table");
    let alice = format!("alice@{realm}");
    pair.laptop.kinit(&["-l", "5m", "-r", "7d", &alice], Some("a secret")).expect("a ticket");
    let ends = |pair: &Pair| {
        let cache = ccache::load(&CachePlace::File(cache_of(pair))).expect("read").expect("a cache");
        cache.find(&FullName::krbtgt(&realm), 0).expect("the first ticket").times.ends
    };
    let before = ends(&pair);
    std::thread::sleep(Duration::from_millis(1100));
    let text = finish(tickets(&pair, &["renew"])).expect("renewed").out;
    assert!(text.starts_with("sign-in on LKDC:") && text.ends_with("good for 5 min\n"), "{text}");
    assert!(ends(&pair) > before);

    let text = finish(tickets(&pair, &["get", "host@imac"])).expect("a ticket").out;
    assert!(text.starts_with("host on imac.alice.btmm.internal: good for "), "{text}");
    let list = pair.laptop.klist(&["-e"]).expect("a list").out;
    assert!(list.contains(&format!("{HOST}@{realm}")), "{list}");
    of_several_realms_those_of_the_account_are_renewed(&pair);
    // What MIT's library needs it finds there: no KDC is asked.
    drop(kdc);
    pair.laptop.kvno(&[&format!("{HOST}@{realm}")]).expect("the ticket that is there");
    let told = |arguments: &[&str]| format!("{:#}", finish(tickets(&pair, arguments)).expect_err("no such ticket"));
    assert!(told(&["get", "host@mars"]).contains("no machine \"mars\" is known"));
    assert!(told(&["renew", "host@imac"]).contains("no ticket that can be renewed for host@imac"));
    let silent = told(&["renew"]);
    assert!(silent.contains("no KDC answers at"), "{silent}");
}

/// A foreign realm's ticket comes first, as folders are read.
fn of_several_realms_those_of_the_account_are_renewed(pair: &Pair) {
    let place = CachePlace::Dir(pair.laptop.node.path(format!("{FOLDER}/several")));
    let client: FullName = "alice@EXAMPLE.TEST".parse().expect("a name");
    let mut foreign = CredentialCache::new(client.clone());
    let mut ticket = Credential::empty(client, FullName::krbtgt(REALM));
    ticket.times = Times { authenticated: 1, starts: 1, ends: u32::MAX, renew_till: u32::MAX };
    ticket.flags = 0x0080_0000;
    foreign.store(ticket);
    ccache::add(&place, &foreign).expect("saved");
    let own = ccache::load(&CachePlace::File(cache_of(pair))).expect("read").expect("a cache");
    ccache::add(&place, &own).expect("saved");
    let renew = |arguments: &[&str]| {
        let mut command = tickets(pair, &[&["renew"], arguments].concat());
        let output = command.env("KRB5CCNAME", format!("DIR:{FOLDER}/several")).output().expect("run");
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        (output.status.code(), out, err)
    };
    let (code, out, err) = renew(&[]);
    assert_eq!((code, out.lines().count(), err.as_str()), (Some(0), 1, ""), "{out}");
    let realm = pair.imac.realm();
    let (code, out, err) = renew(&["krbtgt/EXAMPLE.TEST", &format!("krbtgt/{realm}")]);
    assert_eq!((code, out.lines().count()), (Some(1), 1), "{out}{err}");
    assert_eq!(err, "btmm: EXAMPLE.TEST is not a realm of this account: use kinit -R\n");
}

/// A user who has no keys: those of real ones are not to be touched.
const NOBODY_S_KEYS: &str = "54321";
/// Another one.
const NOBODY_S_OTHER_KEYS: &str = "54323";
/// Enough for a reader to meet every moment of a change.
const ROUNDS: usize = 500;

/// A collection in this process's session that is removed at the end.
struct Keys(String);

impl Drop for Keys {
    fn drop(&mut self) {
        for member in self.place().and_then(|place| ccache::members(&place).ok()).unwrap_or_default() {
            let _ = ccache::destroy(&member);
        }
    }
}

impl Keys {
    fn place(&self) -> Option<CachePlace> {
        CachePlace::parse(&self.0, &Whose { uid: 0, user: "root".to_owned() }).ok()
    }
}

#[test]
fn tickets_in_the_kernel_s_keys_are_shared_both_ways() {
    let (pair, _kdc) = signed_in();
    for anchor in ["session", "user", "persistent"] {
        let collection = if anchor == "persistent" { NOBODY_S_KEYS.to_owned() } else { format!("btmm-test-{}", std::process::id()) };
        let keys = Keys(format!("KEYRING:{anchor}:{collection}"));
        let foreign = |program: &str, arguments: &[&str], input: &str| {
            let mut command = pair.laptop.program(program, arguments);
            command.env("KRB5CCNAME", &keys.0);
            btmm_tests::lab::feed(command, input)
        };
        let ours = |arguments: &[&str]| {
            let mut command = tickets(&pair, arguments);
            command.env("KRB5CCNAME", &keys.0);
            finish(command)
        };
        // Theirs, read and changed by us.
        foreign("kinit", &["alice@EXAMPLE.TEST"], "a secret\n").expect("a ticket");
        foreign("kvno", &[&format!("{HOST}@{REALM}")], "").expect("a service ticket");
        let text = ours(&[]).expect("a list").out;
        assert!(text.contains(": 2 tickets of alice\n") && text.contains("host     imac.alice.btmm.internal  password"), "{text}");
        assert_eq!(ours(&["rm", "host@imac"]).expect("removed").out, "1 ticket removed\n");
        let list = foreign("klist", &["-e"], "").expect("a list").out;
        assert!(list.contains("krbtgt/EXAMPLE.TEST") && !list.contains("host/imac"), "{list}");
        foreign("kvno", &[&format!("{HOST}@{REALM}")], "").expect("the service ticket again");

        // Ours, read by them and used: a copy of the file, under another client's name in the collection.
        let place = keys.place().expect("a place");
        let [member] = ccache::members(&place).expect("members").try_into().expect("one cache");
        let there = ccache::load(&member).expect("read").expect("a cache");
        ccache::destroy(&member).expect("removed");
        foreign("klist", &["-s"], "").expect_err("nothing to list");
        let again = ccache::add(&place, &there).expect("saved");
        assert_eq!(ccache::load(&again).expect("read").as_ref(), Some(&there));
        let list = foreign("klist", &["-e", "-C"], "").expect("a list").out;
        assert!(list.contains("host/imac.alice.btmm.internal") && list.contains("config: pa_type"), "{list}");
        foreign("kvno", &["krbtgt/EXAMPLE.TEST@EXAMPLE.TEST"], "").expect("used");
    }
}

#[test]
fn a_cache_in_the_kernel_s_keys_that_another_program_removes_meanwhile_is_there_or_not() {
    let keys = Keys(format!("KEYRING:persistent:{NOBODY_S_OTHER_KEYS}"));
    let place = keys.place().expect("a place");
    let client: FullName = "alice@EXAMPLE.TEST".parse().expect("a name");
    let mut cache = CredentialCache::new(client.clone());
    for service in ["host", "cifs", "nfs", "vnc"] {
        let mut ticket = Credential::empty(client.clone(), format!("{service}/imac@EXAMPLE.TEST").parse().expect("a name"));
        ticket.times.ends = u32::MAX;
        cache.store(ticket);
    }
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0_u32; 2];
            while !done.load(Ordering::Relaxed) {
                for member in ccache::members(&place).expect("members") {
                    let there = ccache::load(&member).expect("read").is_some();
                    seen[usize::from(there)] += 1;
                }
            }
            seen
        });
        for round in 0..ROUNDS {
            let member = ccache::add(&place, &cache).expect("saved");
            if round % 10 == 0 {
                // Time enough to see it whole now and then.
                std::thread::sleep(Duration::from_millis(2));
            }
            ccache::destroy(&member).expect("removed");
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader")
    });
    assert!(seen[1] > 0, "{seen:?}");
}

#[test]
fn a_folder_of_caches_is_listed_whole() {
    let (pair, _kdc) = signed_in();
    let folder = format!("DIR:{FOLDER}/caches");
    std::fs::create_dir(pair.laptop.node.path(format!("{FOLDER}/caches"))).expect("a folder");
    let mut kinit = pair.laptop.program("kinit", &["alice@EXAMPLE.TEST"]);
    kinit.env("KRB5CCNAME", &folder);
    btmm_tests::lab::feed(kinit, "a secret\n").expect("a ticket");
    let mut listing = tickets(&pair, &[]);
    listing.env("KRB5CCNAME", &folder);
    let text = finish(listing).expect("a list").out;
    assert!(text.contains(": 1 ticket of alice\n") && text.contains("sign-in"), "{text}");
}
