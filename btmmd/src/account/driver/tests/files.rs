//! What the account keeps on disk.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn an_account_is_founded_once() {
    let directory = directory();
    let (identity, base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    assert_eq!(identity.zone().as_str(), "alice.btmm.internal");
    assert_eq!(base.tsig_keys().count(), 1);
    let before = fs::read(directory.path().join("base/ca.key")).unwrap();
    let refused = create(directory.path(), options(), SystemTime::now()).unwrap_err().to_string();
    assert!(refused.starts_with("this machine is already base in the account alice"), "{refused}");
    fs::remove_file(directory.path().join("identity.json")).unwrap();
    let refused = create(directory.path(), options(), SystemTime::now()).unwrap_err().to_string();
    assert!(refused.contains("base exists but identity.json beside it does not"), "{refused}");
    assert_eq!(fs::read(directory.path().join("base/ca.key")).unwrap(), before);
}

#[test]
fn an_account_that_cannot_be_written_leaves_nothing_behind_but_the_key() {
    let directory = directory();
    fs::create_dir(directory.path().join("roster.json")).unwrap();
    let refused = create(directory.path(), options(), SystemTime::now()).unwrap_err().to_string();
    assert!(refused.starts_with("cannot write") && refused.lines().count() == 1, "{refused}");
    assert_eq!(files(&directory), ["machine.key", "roster.json"]);
}

#[test]
fn every_damaged_file_is_named_in_one_line_and_left_alone() {
    for file in ["identity.json", "machine.key", "base/ca.key", "base/state.json"] {
        let directory = directory();
        create(directory.path(), options(), SystemTime::now()).unwrap();
        let path = directory.path().join(file);
        for (contents, why) in
            [("{", "is damaged"), ("{\"format\": 99}", if file.ends_with("json") { "has format 99" } else { "is damaged" })]
        {
            fs::write(&path, contents).unwrap();
            let refused = Base::open(directory.path()).unwrap_err().to_string();
            assert!(refused.contains(&format!("{} {why}", path.display())), "{refused}");
            assert_eq!(refused.lines().count(), 1, "{refused}");
            if !file.starts_with("base") {
                assert!(create(directory.path(), options(), SystemTime::now()).is_err());
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        fs::remove_file(&path).unwrap();
        let refused = Base::open(directory.path()).unwrap_err().to_string();
        assert!(refused.contains(file), "{refused}");
    }
}

#[test]
fn another_machines_key_file_is_noticed() {
    let [mine, theirs] = [(); 2].map(|()| directory());
    for directory in [&mine, &theirs] {
        create(directory.path(), options(), SystemTime::now()).unwrap();
    }
    fs::copy(theirs.path().join("machine.key"), mine.path().join("machine.key")).unwrap();
    let refused = Identity::load(mine.path()).unwrap_err().to_string();
    assert!(refused.contains("does not belong to this machine, base.alice.btmm.internal"), "{refused}");
}

#[test]
fn an_invitation_needs_addresses_that_can_be_reached() {
    let directory = directory();
    let (_, mut base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    for bad in ["0.0.0.0:4500", "192.0.2.1:0", "[::]:4500", "[ff02::1]:4500"] {
        assert!(base.invite(&[bad.parse().unwrap()], SystemTime::now()).is_err(), "{bad}");
    }
    assert!(base.invite(&[], SystemTime::now()).is_err());
    assert!(base.invite(&["192.0.2.1:4500".parse().unwrap(); 9], SystemTime::now()).is_err());
}

#[test]
fn the_base_tells_when_its_machines_change() {
    let directory = directory();
    let (_, mut base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    let mut serial = base.watch_serial();
    let code = base.invite(&["192.0.2.1:4500".parse().unwrap()], SystemTime::now()).unwrap();
    assert!(!serial.has_changed().unwrap());
    let key = crate::account::key::MachineKey::generate(Default::default()).unwrap();
    let applicant = crate::account::join::Applicant { key: Arc::new(key), name: "imac".parse().unwrap() };
    let channel = crate::account::tls::ChannelBinding([7; 32]);
    let request = applicant.request(&code, &channel).unwrap();
    base.join(IpAddr::from([192, 0, 2, 1]), &request, &channel, SystemTime::now()).unwrap();
    assert!(serial.has_changed().unwrap());
    assert_eq!(*serial.borrow_and_update(), 2);
}

#[test]
fn the_base_renews_itself() {
    let directory = directory();
    let (identity, base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    let later = identity.renew_at() + Duration::from_secs(1);
    let renewed = base.renew_own(&identity, later).unwrap();
    assert!(renewed.expires_at() > identity.expires_at());
    assert_eq!(Identity::load(directory.path()).unwrap().certificate(), renewed.certificate());
}
