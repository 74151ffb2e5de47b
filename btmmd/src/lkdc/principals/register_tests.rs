use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::entropy::SystemEntropy;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::{Principal, RealmName};
use crate::lkdc::principals::book::{ROTATION, SERVICES};
use crate::lkdc::principals::{Entry, Kind};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const GOOD: &str = "correct horse battery staple";

/// A state directory that is removed at the end.
struct State(PathBuf);

impl State {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("btmm-register-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self, now: u64) -> Result<Register, RegisterError> {
        Register::open(&self.0, names("key"), WEEK, at(now), &mut SystemEntropy)
    }

    fn file(&self) -> PathBuf {
        self.0.join("lkdc/principals.json")
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn names(key: &str) -> Names {
    Names {
        realm: RealmName::of_key(key.as_bytes()),
        machine: "imac".to_owned(),
        zone: "alice.btmm.internal".to_owned(),
        account: "alice".to_owned(),
        users: BTreeMap::from([("bob".to_owned(), "robert".to_owned())]),
    }
}

fn find(register: &Register, name: &Principal) -> Arc<Entry> {
    register.principals().find(name).unwrap_or_else(|| panic!("{name} is not there"))
}

fn newest(entry: &Entry) -> (u32, Vec<u8>) {
    let (kvno, key) = entry.preferred(&Etype::ALL).unwrap();
    (kvno, key.bytes().to_vec())
}

#[test]
fn a_new_register_has_every_service_under_every_name() {
    let state = State::new("new");
    let register = state.open(0).unwrap();
    let realm = names("key").realm.to_string();
    for service in SERVICES {
        for host in ["imac.alice.btmm.internal", "imac", "imac.local", &realm] {
            let entry = find(&register, &Principal::service(service, host));
            assert_eq!(entry.kind, Kind::Service);
            assert_eq!(entry.current().unwrap().keys.len(), 4);
        }
    }
    let krbtgt = find(&register, &Principal::krbtgt(&realm));
    assert_eq!(krbtgt.kind, Kind::Krbtgt);
    assert_ne!(newest(&krbtgt).1, newest(&find(&register, &Principal::service("host", "imac"))).1);
    assert_eq!(find(&register, &Principal::user("alice")).kind, Kind::User { local: Some("alice".to_owned()) });
    assert_eq!(find(&register, &Principal::user("bob")).kind, Kind::User { local: Some("robert".to_owned()) });
    assert!(find(&register, &Principal::user("alice")).keys.is_empty());
}

#[test]
fn what_was_kept_is_read_back_by_its_owner_alone() {
    let state = State::new("kept");
    let mut register = state.open(0).unwrap();
    register.set_password("carol", GOOD, None, at(1)).unwrap();
    register.set_totp("carol", TotpSecret::generate(&mut SystemEntropy)).unwrap();
    register.require("host", &[Strength::Otp, Strength::Certificate]).unwrap();
    assert_eq!(fs::metadata(state.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let again = state.open(2).unwrap();
    for name in [Principal::service("host", "imac"), Principal::krbtgt(names("key").realm.as_str()), Principal::user("carol")] {
        assert_eq!(newest(&find(&again, &name)), newest(&find(&register, &name)), "{name}");
    }
    assert_eq!(find(&again, &Principal::user("carol")).totp, find(&register, &Principal::user("carol")).totp);
    assert!(find(&again, &Principal::user("carol")).totp.is_some());
    assert_eq!(find(&again, &Principal::service("host", "imac")).strength, [Strength::Otp, Strength::Certificate]);
    assert_eq!((again.demands()["host"].len(), again.demands()["cifs"].len()), (2, 0));
}

#[test]
fn a_second_factor_takes_effect_with_the_first_right_code_of_it() {
    let state = State::new("totp");
    let mut register = state.open(0).unwrap();
    register.set_password("carol", GOOD, None, at(0)).unwrap();
    let totp = |register: &Register| find(register, &Principal::user("carol")).totp.clone();
    let code = |uri: &str, now: u64| {
        let secret = uri.split_once("secret=").unwrap().1.split('&').next().unwrap();
        let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        crate::lkdc::otp::totp::code(&secret, crate::lkdc::otp::totp::step(at(now)), TotpSecret::DIGITS).to_string()
    };
    assert!(matches!(register.confirm_totp("carol", "123456", at(0)), Err(RegisterError::NoOffer(_))));
    let first = register.offer_totp("carol", at(0), &mut SystemEntropy).unwrap();
    assert!(first.starts_with("otpauth://totp/imac:carol?secret="));
    let second = register.offer_totp("carol", at(1), &mut SystemEntropy).unwrap();
    assert_ne!(code(&first, 60), code(&second, 60), "one in a million would be equal");
    assert!(matches!(register.confirm_totp("carol", &code(&first, 60), at(60)), Err(RegisterError::WrongCode(_))));
    assert_eq!(totp(&register), None, "a wrong code changes nothing");
    register.confirm_totp("carol", &code(&second, 90), at(90)).unwrap();
    let again = register.codes.claim(&Principal::user("carol"), crate::lkdc::otp::totp::step(at(90)));
    assert_eq!(again, Err(OtpError::Used), "the code that confirmed gets no ticket");
    let kept = totp(&register);
    assert!(kept.is_some());

    let third = register.offer_totp("carol", at(100), &mut SystemEntropy).unwrap();
    assert_eq!(totp(&register), kept, "the old one is in force until the new one is confirmed");
    assert!(matches!(register.confirm_totp("carol", &code(&third, 701), at(701)), Err(RegisterError::NoOffer(_))), "it waited too long");
    assert!(register.remove_totp("carol").unwrap());
    assert!(!register.remove_totp("carol").unwrap());
    assert_eq!(totp(&register), None);
}

#[test]
fn a_password_is_kept_as_the_keys_that_any_client_makes_of_it() {
    let state = State::new("password");
    let mut register = state.open(0).unwrap();
    register.set_password("carol", GOOD, None, at(1)).unwrap();
    let entry = find(&register, &Principal::user("carol"));
    let salt = format!("{}carol", names("key").realm);
    let kept = entry.current().unwrap();
    assert_eq!(kept.salt.as_deref(), Some(salt.as_str()));
    for etype in Etype::ALL {
        let made = Key::from_password(etype, GOOD.as_bytes(), salt.as_bytes(), None).unwrap();
        assert_eq!(kept.key(etype).unwrap().bytes(), made.bytes());
    }
    assert!(!fs::read_to_string(state.file()).unwrap().contains("horse"));
}

#[test]
fn a_password_is_changed_by_one_who_knows_the_old_one() {
    let state = State::new("change");
    let mut register = state.open(0).unwrap();
    register.set_password("carol", GOOD, Some("there was none"), at(1)).unwrap();
    let other = "another staple for horses";
    let refused = register.set_password("carol", other, Some("wrong"), at(2)).unwrap_err();
    assert_eq!(refused.to_string(), "this is not carol's password");
    assert!(register.set_password("carol", "short", Some(GOOD), at(2)).is_err());
    register.set_password("carol", other, Some(GOOD), at(2)).unwrap();
    assert_eq!(find(&register, &Principal::user("carol")).current().unwrap().kvno, 2);
    assert!(register.forget("carol").unwrap());
    assert!(!register.forget("carol").unwrap());
    assert!(register.principals().find(&Principal::user("carol")).is_none());
    assert!(register.offer_totp("carol", at(3), &mut SystemEntropy).is_err());
}

#[test]
fn new_keys_leave_the_old_ones_good_until_the_longest_ticket_has_ended() {
    let state = State::new("rotate");
    let mut register = state.open(0).unwrap();
    let host = Principal::service("host", "imac");
    let old = newest(&find(&register, &host));
    register.rotate(&["host".to_owned()], at(10), &mut SystemEntropy).unwrap();
    let entry = find(&register, &host);
    assert_eq!(newest(&entry).0, 2);
    assert_eq!(entry.key(Some(1), Etype::ALL[0], at(10)).unwrap().bytes(), old.1);
    assert_eq!(newest(&find(&register, &Principal::service("cifs", "imac"))).0, 1);
    let week = WEEK.as_secs();
    register.age(at(10 + week - 1), &mut SystemEntropy).unwrap();
    assert_eq!(find(&register, &host).keys.len(), 2);
    register.age(at(10 + week), &mut SystemEntropy).unwrap();
    assert_eq!(find(&register, &host).keys.len(), 1);
    let refused = register.rotate(&["gopher".to_owned()], at(11), &mut SystemEntropy).unwrap_err().to_string();
    assert!(refused.contains("gopher") && refused.contains("afpserver"), "{refused}");
}

#[test]
fn the_ticket_granting_service_has_new_keys_every_month() {
    let state = State::new("month");
    let register = state.open(0).unwrap();
    let krbtgt = Principal::krbtgt(names("key").realm.as_str());
    assert_eq!(newest(&find(&register, &krbtgt)).0, 1);
    let later = state.open(ROTATION.as_secs()).unwrap();
    assert_eq!(newest(&find(&later, &krbtgt)).0, 2);
    assert_eq!(find(&later, &krbtgt).keys.len(), 2);
    assert_eq!(newest(&find(&state.open(ROTATION.as_secs() + 1).unwrap(), &krbtgt)).0, 2);
}

#[test]
fn another_machine_key_makes_another_realm_with_the_same_passwords() {
    let state = State::new("realm");
    let mut register = state.open(0).unwrap();
    register.set_password("carol", GOOD, None, at(1)).unwrap();
    let other = Register::open(&state.0, names("other key"), WEEK, at(2), &mut SystemEntropy).unwrap();
    let realm = names("other key").realm;
    assert_eq!(newest(&find(&other, &Principal::krbtgt(realm.as_str()))).0, 2);
    assert!(other.principals().find(&Principal::krbtgt(names("key").realm.as_str())).is_none());
    assert_eq!(newest(&find(&other, &Principal::user("carol"))), newest(&find(&register, &Principal::user("carol"))));
}

#[test]
fn a_keytab_holds_all_versions_of_the_services_asked_for() {
    let state = State::new("keytab");
    let mut register = state.open(0).unwrap();
    register.rotate(&["host".to_owned()], at(1), &mut SystemEntropy).unwrap();
    let entries = keytab::parse(&register.keytab(&["host".to_owned()]).unwrap()).unwrap();
    assert_eq!(entries.len(), 4 * 2 * 4);
    assert!(entries.iter().all(|entry| entry.name.principal.components[0] == "host" && entry.name.realm == names("key").realm.as_str()));
    assert_eq!(keytab::parse(&register.keytab(&[]).unwrap()).unwrap().len(), 4 * 4 * (SERVICES.len() + 1));
    assert!(register.keytab(&["gopher".to_owned()]).is_err());
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    let state = State::new("damaged");
    state.open(0).unwrap();
    let whole = fs::read(state.file()).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    for damaged in [
        whole[..whole.len() / 2].to_vec(),
        Vec::new(),
        text.replacen("\"kvno\": 1", "\"kvno\": -1", 1).into_bytes(),
        text.replacen("\"17\"", "\"16\"", 1).into_bytes(),
        text.replacen("LKDC:SHA256.", "LKDC:SHA1.", 1).into_bytes(),
        text.replacen("\"users\"", "\"guests\"", 1).into_bytes(),
    ] {
        fs::write(state.file(), &damaged).unwrap();
        let told = state.open(1).unwrap_err().to_string();
        assert!(told.contains("lkdc/principals.json is damaged"), "{told}");
        assert_eq!(fs::read(state.file()).unwrap(), damaged);
    }
    fs::write(state.file(), text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    assert!(state.open(1).unwrap_err().to_string().contains("upgrade btmm"));
    fs::set_permissions(state.file(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(state.open(1).unwrap_err().to_string().contains("can be read by other users"));
}

#[test]
fn machines_of_the_account_are_clients() {
    let state = State::new("machines");
    let mut register = state.open(0).unwrap();
    register.set_machines(vec!["laptop.alice.btmm.internal".to_owned(), "imac.alice.btmm.internal".to_owned()]);
    assert_eq!(find(&register, &Principal::service("host", "laptop.alice.btmm.internal")).kind, Kind::Machine);
    // This machine's own name is also that of its service, which has keys.
    assert_eq!(find(&register, &Principal::service("host", "imac.alice.btmm.internal")).kind, Kind::Service);
    register.set_machines(Vec::new());
    assert!(register.principals().find(&Principal::service("host", "laptop.alice.btmm.internal")).is_none());
}

#[test]
fn nobody_is_root_by_name_alone() {
    let state = State::new("root");
    let register = Register::open(&state.0, Names { account: "root".to_owned(), ..names("key") }, WEEK, at(0), &mut SystemEntropy).unwrap();
    assert_eq!(find(&register, &Principal::user("root")).kind, Kind::User { local: None });
}
