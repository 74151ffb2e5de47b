use std::os::unix::fs::chown;

use super::*;
use crate::lkdc::ccache::Credential;
use crate::lkdc::full_name::FullName;

/// A folder of its own under the system's temporary one, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("btmm-ccache-{}", random_name()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> FullName {
    text.parse().unwrap()
}

/// A cache of `client` with a ticket that ends then.
fn cache(client: &str, ends: u32) -> CredentialCache {
    let mut cache = CredentialCache::new(name(client));
    let mut ticket = Credential::empty(name(client), FullName::krbtgt(&name(client).realm));
    ticket.times.ends = ends;
    cache.store(ticket);
    cache
}

#[test]
fn a_file_of_another_user_is_not_used_by_root_either() {
    assert!(nix::unistd::geteuid().is_root(), "this test gives files away and so needs root");
    let folder = Folder::new();
    let path = folder.0.join("krb5cc_0");
    fs::write(&path, *b"\x05\x04\0\0").unwrap();
    chown(&path, Some(12_345), None).unwrap();
    let place = CachePlace::File(path.clone());
    let is_foreign = |refused: CacheError| matches!(refused, CacheError::Foreign { uid: 12_345, .. });
    assert!(load(&place).is_err_and(is_foreign));
    assert!(save(&place, &cache("root@A", u32::MAX)).is_err_and(is_foreign));
    assert!(update(&place, |_| ()).is_err_and(is_foreign));
    assert_eq!(fs::read(&path).unwrap().len(), 4, "nothing of ours is in it");
}

#[test]
fn a_file_that_another_program_is_writing_is_waited_for_and_read_whole() {
    let folder = Folder::new();
    let path = folder.0.join("cc");
    let place = CachePlace::File(path.clone());
    save(&place, &cache("alice@A", u32::MAX)).unwrap();
    let held = open(&place, &path, Lock::Exclusive).unwrap().unwrap();
    // As MIT's library does: emptied, then filled.
    held.set_len(0).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| load(&place).unwrap().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
        (&held).write_all(&format::emit(&cache("alice@A", 7))).unwrap();
        drop(held);
        assert_eq!(reader.join().unwrap(), cache("alice@A", 7));
    });
}

#[test]
fn what_is_no_cache_in_a_folder_keeps_nobody_from_those_that_are() {
    let folder = Folder::new();
    let place = CachePlace::Dir(folder.0.clone());
    // What kinit leaves behind after a wrong password.
    fs::write(folder.0.join("tkt"), *b"\x05\x04\0\0").unwrap();
    fs::write(folder.0.join("tktXXXXXX"), *b"\x05\x04\0\0").unwrap();
    let alice = add(&place, &cache("alice@A", u32::MAX)).unwrap();
    assert_eq!(alice, CachePlace::File(folder.0.join("tkt")), "the primary one");
    let bob = add(&place, &cache("bob@B", u32::MAX)).unwrap();
    assert_eq!(add(&place, &cache("alice@A", 7)).unwrap(), alice);
    let mut passed_over = Vec::new();
    let there = caches(&place, |error| passed_over.push(error)).unwrap();
    assert_eq!(there, [(alice, cache("alice@A", 7)), (bob, cache("bob@B", u32::MAX))]);
    assert!(matches!(passed_over.as_slice(), [CacheError::Damaged { place: CachePlace::File(path), .. }] if path.ends_with("tktXXXXXX")));
    assert!(load(&CachePlace::File(folder.0.join("tktXXXXXX"))).is_err(), "who names it alone is told");
}

#[test]
fn a_file_has_room_for_another_client_once_the_tickets_in_it_have_ended() {
    let folder = Folder::new();
    let place = CachePlace::File(folder.0.join("cc"));
    let is_alice = |client: &FullName| *client == name("alice@A");
    check_room(&place, is_alice).unwrap();
    add(&place, &cache("bob@B", u32::MAX)).unwrap();
    assert!(matches!(check_room(&place, is_alice), Err(CacheError::Occupied { client, .. }) if client == "bob@B"));
    assert!(matches!(add(&place, &cache("alice@A", u32::MAX)), Err(CacheError::Occupied { .. })));
    check_room(&place, |client| *client == name("bob@B")).unwrap();
    add(&place, &cache("bob@B", 7)).unwrap();
    check_room(&place, is_alice).unwrap();
    add(&place, &cache("alice@A", u32::MAX)).unwrap();
    assert_eq!(load(&place).unwrap(), Some(cache("alice@A", u32::MAX)));
}
