//! The file of used codes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::ledger::Used;
use crate::account::layout::StateError;
use crate::account::linux::{Secrecy, read, write};
use crate::lkdc::principals::FileError;

/// In the local KDC's folder.
const FILE: &str = "codes.json";
/// The newest form that this program understands.
const FORMAT: u32 = 1;

/// What the owner of a damaged file can do.
const REMEDY: &str = "restore it from a backup, or move it away; one-time codes of the minute before the start are refused then";

/// `lkdc/codes.json`. Steps of 30 seconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    #[serde(default)]
    floor: u64,
    #[serde(default)]
    used: BTreeMap<String, u64>,
}

/// What `folder` tells of used codes, and puts down there what comes. Where there is nothing yet, what was used before `start` is unknown,
/// unless the realm is `new`: then nothing was.
pub fn open(folder: &Path, new: bool, start: SystemTime) -> Result<Ledger, FileError> {
    let path = folder.join(FILE);
    let used = match load(&path)? {
        Some(used) => used,
        None if new => Used::default(),
        None => {
            let used = Used::since(start);
            save(&path, &used).map_err(FileError::State)?;
            used
        }
    };
    Ok(Ledger::kept(used, Box::new(move |used| save(&path, used).map_err(|error| error.to_string()))))
}

fn load(path: &Path) -> Result<Option<Used>, FileError> {
    let damaged = |why| FileError::Damaged { path: path.to_owned(), why, remedy: REMEDY };
    let Some(octets) = read(path, Secrecy::Secret).map_err(|error| FileError::of(error, REMEDY))? else { return Ok(None) };
    let stored: Stored =
        serde_json::from_slice(&octets).map_err(|error| damaged(format!("line {}, column {}", error.line(), error.column())))?;
    match stored.format {
        FORMAT => Ok(Some(Used { floor: stored.floor, last: stored.used })),
        format if format > FORMAT => Err(FileError::Newer { path: path.to_owned(), format, known: FORMAT }),
        format => Err(damaged(format!("format {format}"))),
    }
}

fn save(path: &Path, used: &Used) -> Result<(), StateError> {
    let stored = Stored { format: FORMAT, floor: used.floor, used: used.last.clone() };
    let octets = serde_json::to_vec_pretty(&stored).expect("numbers under names");
    write(path, &octets, Secrecy::Secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::account::driver::tests::directory;
    use crate::lkdc::name::Principal;
    use crate::lkdc::otp::OtpError;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_used_code_is_not_good_after_a_restart_and_one_that_was_not_used_is() {
        let folder = directory();
        let carol = Principal::user("carol");
        let ledger = open(folder.path(), true, at(3000)).unwrap();
        assert_eq!(ledger.claim(&carol, 100), Ok(()));
        let again = open(folder.path(), false, at(3001)).unwrap();
        assert_eq!(again.claim(&carol, 100), Err(OtpError::Used));
        assert_eq!(again.claim(&carol, 101), Ok(()));
    }

    #[test]
    fn where_nothing_is_known_no_code_of_before_is_good_not_even_after_one_more_restart() {
        let folder = directory();
        let carol = Principal::user("carol");
        for start in [3000, 3010] {
            let ledger = open(folder.path(), false, at(start)).unwrap();
            assert_eq!(ledger.claim(&carol, 101), Err(OtpError::Used));
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_left_as_it_is() {
        let folder = directory();
        let path = folder.path().join(FILE);
        for (text, why) in
            [("{", "line 1"), ("{\"format\":0}", "format 0"), ("{\"format\":2}", "upgrade btmm"), ("{\"format\":1,\"x\":1}", "column")]
        {
            write(&path, text.as_bytes(), Secrecy::Secret).unwrap();
            let told = open(folder.path(), false, at(3000)).unwrap_err().to_string();
            assert!(told.starts_with(path.to_str().unwrap()) && told.contains(why), "{told}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
