//! The table of realms that btmmd keeps: a line `REALM ADDRESS HOST` for each machine of the account.
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;

/// Where btmmd keeps it, readable by all.
pub const TABLE: &str = "/run/btmm/realms";
/// Realms that can be in the table begin so.
pub const PREFIX: &[u8] = b"LKDC:";
/// The most octets of a table that are looked at: 256 machines take a quarter of it.
pub const MAX_TABLE: usize = 512 * 1024;
/// The longest line; a longer one is passed over. A realm, an address and a host name in a zone take less.
pub const MAX_LINE: usize = 512;

/// The address that the table in `path` has for `realm`. Where that is no plain file, nothing.
#[must_use]
pub fn find(realm: &[u8], path: &str) -> Option<IpAddr> {
    if !realm.starts_with(PREFIX) || realm.len() > MAX_LINE {
        return None;
    }
    // Whatever lies there, opening it does not wait and leads nowhere else.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut search = Search::new(realm);
    let mut chunk = [0; 4096];
    let mut left = MAX_TABLE;
    while left > 0 {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        if let Some(address) = search.feed(chunk.get(..count)?) {
            return Some(address);
        }
        left = left.saturating_sub(count);
    }
    None
}

/// Looks for a realm in a table that comes in pieces.
#[derive(Debug)]
pub struct Search<'realm> {
    realm: &'realm [u8],
    line: [u8; MAX_LINE],
    /// Octets of the line so far, also of those that had no room.
    length: usize,
}

impl<'realm> Search<'realm> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(realm: &'realm [u8]) -> Self {
        Self { realm, line: [0; MAX_LINE], length: 0 }
    }

    /// Reads on; only lines that have ended count, so a table cut short gives no wrong address.
    pub fn feed(&mut self, octets: &[u8]) -> Option<IpAddr> {
        for octet in octets {
            if *octet == b'\n' {
                let line = self.line.get(..self.length);
                self.length = 0;
                if let Some(address) = line.and_then(|line| address(line, self.realm)) {
                    return Some(address);
                }
                continue;
            }
            if let Some(place) = self.line.get_mut(self.length) {
                *place = *octet;
            }
            self.length = self.length.saturating_add(1);
        }
        None
    }
}

/// The address in a line, if the line is about `realm`.
fn address(line: &[u8], realm: &[u8]) -> Option<IpAddr> {
    let mut fields = line.split(|octet| *octet == b' ');
    if fields.next()? != realm {
        return None;
    }
    std::str::from_utf8(fields.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: &[u8] = b"LKDC:SHA256.AB";

    fn search(table: &[u8]) -> Option<IpAddr> {
        Search::new(REALM).feed(table)
    }

    #[test]
    fn a_realm_is_found_whole_or_not_at_all() {
        let table = b"LKDC:SHA256.A fd00::1 one.zone\nLKDC:SHA256.AB fd00::2 two.zone\nLKDC:SHA256.ABC fd00::3 three.zone\n";
        assert_eq!(search(table), Some("fd00::2".parse().expect("an address")));
        for cut in 0..=table.len() {
            let pieces = table.split_at(cut);
            let mut search = Search::new(REALM);
            let found = search.feed(pieces.0).or_else(|| search.feed(pieces.1));
            assert_eq!(found, Some("fd00::2".parse().expect("an address")), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_line_of_the_table_is_passed_over() {
        let long: Vec<u8> = [REALM, b" fd00::9 ", &[b'x'; MAX_LINE]].concat();
        for wrong in
            [&b"LKDC:SHA256.AB"[..], b"LKDC:SHA256.AB ", b"LKDC:SHA256.AB fd00::g h", b"LKDC:SHA256.AB  fd00::1", &long, b"\xff", b""]
        {
            assert_eq!(search(&[wrong, b"\n"].concat()), None, "{:?}", String::from_utf8_lossy(wrong));
            let then = [wrong, b"\nLKDC:SHA256.AB 198.18.0.1 h\n"].concat();
            assert_eq!(search(&then), Some("198.18.0.1".parse().expect("an address")));
        }
        assert_eq!(search(b"LKDC:SHA256.AB fd00::2 cut.short"), None, "a line without an end is not believed");
    }

    #[test]
    fn only_plain_files_and_realms_of_machines_are_looked_at() {
        let folder = std::env::temp_dir().join(format!("btmm-locate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = |name: &str| folder.join(name).to_str().map(String::from).expect("a name");
        std::fs::write(path("table"), "LKDC:SHA256.AB fd00::2 h\nEXAMPLE.TEST fd00::3 h\n").expect("written");
        std::os::unix::fs::symlink(path("table"), path("link")).expect("linked");
        assert_eq!(find(REALM, &path("table")), Some("fd00::2".parse().expect("an address")));
        assert_eq!(find(b"EXAMPLE.TEST", &path("table")), None);
        for other in ["link", "missing", ""] {
            assert_eq!(find(REALM, &path(other)), None, "{other}");
        }
        for device in ["/dev/zero", "/dev/tty", "/"] {
            assert_eq!(find(REALM, device), None, "{device}");
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
