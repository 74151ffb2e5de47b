//! Keytabs: the keys of services, in the form that sshd, smbd and all others read (MIT's format 2).
//!
//! A file is `05 02` and entries, each with its length before it; a negative length is a hole. Numbers are big-endian. Source: MIT's
//! documentation, "Keytab file format".

mod linux;

use std::fmt;

use zeroize::Zeroizing;

use super::full_name::FullName;
use super::name::Principal;
pub use linux::{KeytabFileError, check, install};

use crate::wire::{Reader, WireError, at_most};

/// The longest keytab worth reading, in octets.
pub const MAX_FILE: usize = 4 * 1024 * 1024;
/// The first two octets.
const MAGIC: u16 = 0x0502;
/// Longest entry.
const MAX_ENTRY: usize = 64 * 1024;
/// Most entries.
const MAX_ENTRIES: usize = 65_536;
/// Longest name component or realm.
const MAX_NAME: usize = 1024;
/// Most components of a name.
const MAX_COMPONENTS: usize = 32;
/// Longest key.
const MAX_KEY: usize = 1024;

/// One key of one principal.
#[derive(Clone, PartialEq, Eq)]
pub struct KeytabEntry {
    /// Whose.
    pub name: FullName,
    /// When it was written, in seconds since the epoch.
    pub timestamp: u32,
    /// The key's version.
    pub kvno: u32,
    /// The etype's number: others' keytabs have etypes that we do not.
    pub etype: i32,
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for KeytabEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeytabEntry")
            .field("name", &self.name)
            .field("kvno", &self.kvno)
            .field("etype", &self.etype)
            .finish_non_exhaustive()
    }
}

/// Why a keytab is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeytabError {
    /// Not `05 02`.
    #[error("it begins with {0:#06x}, not with 0x0502 as a keytab of format 2 does")]
    Format(u16),
    /// Broken off, or with impossible lengths.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A name that is not text.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
}

/// Reads a keytab.
pub fn parse(bytes: &[u8]) -> Result<Vec<KeytabEntry>, KeytabError> {
    at_most(bytes.len(), MAX_FILE, "keytab")?;
    let mut reader = Reader::new(bytes);
    let magic = reader.u16("keytab")?;
    if magic != MAGIC {
        return Err(KeytabError::Format(magic));
    }
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let length = reader.u32("keytab entry length")?.cast_signed();
        let size = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
        if length == 0 {
            // What a program wrote that was interrupted: the end.
            break;
        }
        if length < 0 {
            // A hole may end beyond the file, where the file was cut.
            reader.take(size.min(reader.len()), "keytab hole")?;
            continue;
        }
        at_most(entries.len() + 1, MAX_ENTRIES, "number of keytab entries")?;
        entries.push(entry(reader.sub(size, MAX_ENTRY, "keytab entry")?)?);
    }
    Ok(entries)
}

/// A keytab with `ours` in the place of whatever there was of the same principals. Others' keys stay, in front.
pub fn merged(there: Vec<KeytabEntry>, ours: Vec<KeytabEntry>) -> Vec<KeytabEntry> {
    let mut entries: Vec<KeytabEntry> = there.into_iter().filter(|old| ours.iter().all(|new| new.name != old.name)).collect();
    entries.extend(ours);
    entries
}

fn entry(mut reader: Reader<'_>) -> Result<KeytabEntry, KeytabError> {
    let count = usize::from(reader.u16("number of name components")?);
    at_most(count, MAX_COMPONENTS, "number of name components")?;
    let realm = text(&mut reader, "realm")?;
    let components = (0..count).map(|_| text(&mut reader, "name component")).collect::<Result<_, _>>()?;
    let name_type = reader.u32("name type")?.cast_signed();
    let timestamp = reader.u32("timestamp")?;
    let short = u32::from(reader.u8("key version")?);
    let etype = i32::from(reader.u16("etype")?);
    let length = usize::from(reader.u16("key length")?);
    let key = Zeroizing::new(reader.sub(length, MAX_KEY, "key")?.rest().to_vec());
    // Later additions follow: first the version in full, if it is there and not zero; what comes after is not ours to understand.
    let long = if reader.len() >= 4 { reader.u32("key version")? } else { 0 };
    let kvno = if long == 0 { short } else { long };
    Ok(KeytabEntry { name: FullName::new(Principal { name_type, components }, realm), timestamp, kvno, etype, key })
}

fn text(reader: &mut Reader<'_>, what: &'static str) -> Result<String, KeytabError> {
    let length = usize::from(reader.u16(what)?);
    let octets = reader.sub(length, MAX_NAME, what)?.rest();
    std::str::from_utf8(octets).map(str::to_owned).map_err(|_| KeytabError::Text(what))
}

/// Writes a keytab. An error means that a name or key is longer than keytabs may hold.
pub fn emit(entries: &[KeytabEntry]) -> Result<Zeroizing<Vec<u8>>, KeytabError> {
    at_most(entries.len(), MAX_ENTRIES, "number of keytab entries")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 + entries.iter().map(size).sum::<usize>()));
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    for entry in entries {
        write(entry, &mut bytes)?;
    }
    Ok(bytes)
}

/// Enough octets for an entry, so that the buffer never moves and leaves no copy of a key behind.
fn size(entry: &KeytabEntry) -> usize {
    let names: usize = entry.name.principal.components.iter().map(|component| component.len() + 2).sum();
    32 + entry.name.realm.len() + names + entry.key.len()
}

fn write(entry: &KeytabEntry, bytes: &mut Vec<u8>) -> Result<(), KeytabError> {
    let components = &entry.name.principal.components;
    at_most(components.len(), MAX_COMPONENTS, "number of name components")?;
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    counted(bytes, components.len(), &[], "number of name components")?;
    counted(bytes, entry.name.realm.len(), entry.name.realm.as_bytes(), "realm")?;
    for component in components {
        counted(bytes, component.len(), component.as_bytes(), "name component")?;
    }
    bytes.extend_from_slice(&entry.name.principal.name_type.to_be_bytes());
    bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
    // The low octet, as in the days when there was only that.
    bytes.push(entry.kvno.to_be_bytes()[3]);
    let etype = u16::try_from(entry.etype).map_err(|_| WireError::Invalid { what: "etype", got: u64::from(entry.etype.unsigned_abs()) })?;
    bytes.extend_from_slice(&etype.to_be_bytes());
    at_most(entry.key.len(), MAX_KEY, "key")?;
    counted(bytes, entry.key.len(), &entry.key, "key")?;
    bytes.extend_from_slice(&entry.kvno.to_be_bytes());
    let length = bytes.len() - start - 4;
    at_most(length, MAX_ENTRY, "keytab entry")?;
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    bytes.get_mut(start..start + 4).expect("four octets were put there").copy_from_slice(&length);
    Ok(())
}

fn counted(bytes: &mut Vec<u8>, count: usize, octets: &[u8], what: &'static str) -> Result<(), KeytabError> {
    at_most(octets.len(), MAX_NAME.max(MAX_KEY), what)?;
    let count = u16::try_from(count).map_err(|_| WireError::TooLong { what, got: count, max: usize::from(u16::MAX) })?;
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(octets);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kvno: u32) -> KeytabEntry {
        KeytabEntry { name: name.parse().unwrap(), timestamp: 0x0102_0304, kvno, etype: 17, key: Zeroizing::new(vec![9; 16]) }
    }

    /// Written by hand from the description of the format: `host/a@R`, version 1, AES-128.
    const BY_HAND: &str =
        "0502 0000002f 0002 0001 52 0004 686f7374 0001 61 00000003 01020304 01 0011 0010 09090909090909090909090909090909 00000001";

    fn by_hand() -> Vec<u8> {
        let digits: String = BY_HAND.split_whitespace().collect();
        data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    #[test]
    fn a_keytab_written_by_hand_is_understood_and_written_alike() {
        assert_eq!(parse(&by_hand()), Ok(vec![entry("host/a@R", 1)]));
        assert_eq!(*emit(&[entry("host/a@R", 1)]).unwrap(), by_hand());
    }

    #[test]
    fn versions_beyond_an_octet_survive() {
        let entries = vec![entry("host/a@R", 255), entry("host/a@R", 256), entry("cifs/b.c@R", 70_000)];
        assert_eq!(parse(&emit(&entries).unwrap()), Ok(entries));
    }

    #[test]
    fn holes_and_an_interrupted_end_are_skipped() {
        let mut bytes = vec![5, 2];
        bytes.extend_from_slice(&(-3_i32).to_be_bytes());
        bytes.extend_from_slice(&[1, 2, 3]);
        bytes.extend_from_slice(&by_hand()[2..]);
        bytes.extend_from_slice(&[0, 0, 0, 0, 1]);
        assert_eq!(parse(&bytes), Ok(vec![entry("host/a@R", 1)]));
    }

    #[test]
    fn an_entry_without_the_long_version_has_the_short_one() {
        let mut bytes = by_hand();
        bytes.truncate(bytes.len() - 4);
        bytes[5] -= 4;
        assert_eq!(parse(&bytes), Ok(vec![entry("host/a@R", 1)]));
    }

    #[test]
    fn a_keytab_broken_off_anywhere_is_refused() {
        let whole = by_hand();
        for length in (0..whole.len()).filter(|length| *length != 2) {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(parse(&[5, 1]), Err(KeytabError::Format(0x0501)));
    }

    #[test]
    fn our_keys_take_the_place_of_ours_alone() {
        let there = vec![entry("host/a@OTHER", 3), entry("host/a@R", 1), entry("nfs/a@R", 1)];
        let ours = vec![entry("host/a@R", 2), entry("host/a@R", 1)];
        let names: Vec<String> = merged(there, ours).iter().map(|entry| format!("{} {}", entry.name, entry.kvno)).collect();
        assert_eq!(names, ["host/a@OTHER 3", "nfs/a@R 1", "host/a@R 2", "host/a@R 1"]);
    }

    #[test]
    fn keys_are_not_told() {
        assert!(!format!("{:?}", entry("host/a@R", 1)).contains('9'));
    }
}
