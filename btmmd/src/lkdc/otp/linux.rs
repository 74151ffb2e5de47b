//! The file of used codes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::ledger::Used;
use crate::account::layout::StateError;
use crate::account::linux::{Secrecy, read, write};

/// In the local KDC's folder.
const FILE: &str = "codes.json";
/// The newest form that this program understands.
const FORMAT: u32 = 1;

/// Why the file of used codes cannot be used. One line, naming it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Cannot be understood.
    #[error("{} is damaged ({why}): restore it from a backup, or move it away; one-time codes of the minute before the start are refused then", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Written by a newer btmm.
    #[error("{} has format {format}, but this btmm knows only formats up to {FORMAT}: upgrade btmm", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The system, or who may read it.
    #[error(transparent)]
    State(StateError),
}

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
pub fn open(folder: &Path, new: bool, start: SystemTime) -> Result<Ledger, LedgerError> {
    let path = folder.join(FILE);
    let used = match load(&path)? {
        Some(used) => used,
        None if new => Used::default(),
        None => {
            let used = Used::since(start);
            save(&path, &used).map_err(LedgerError::State)?;
            used
        }
    };
    Ok(Ledger::kept(used, Box::new(move |used| save(&path, used).map_err(|error| error.to_string()))))
}

fn load(path: &Path) -> Result<Option<Used>, LedgerError> {
    let damaged = |why| LedgerError::Damaged { path: path.to_owned(), why };
    let octets = match read(path, Secrecy::Secret) {
        Ok(Some(octets)) => octets,
        Ok(None) => return Ok(None),
        Err(StateError::Damaged { why, .. }) => return Err(damaged(why)),
        Err(other) => return Err(LedgerError::State(other)),
    };
    let stored: Stored =
        serde_json::from_slice(&octets).map_err(|error| damaged(format!("line {}, column {}", error.line(), error.column())))?;
    match stored.format {
        FORMAT => Ok(Some(Used { floor: stored.floor, last: stored.used })),
        format if format > FORMAT => Err(LedgerError::Newer { path: path.to_owned(), format }),
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
    use crate::lkdc::name::Principal;
    use crate::lkdc::otp::OtpError;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("btmm-codes-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_used_code_is_not_good_after_a_restart_and_one_that_was_not_used_is() {
        let folder = Folder::new("kept");
        let carol = Principal::user("carol");
        let ledger = open(&folder.0, true, at(3000)).unwrap();
        assert_eq!(ledger.claim(&carol, 100), Ok(()));
        let again = open(&folder.0, false, at(3001)).unwrap();
        assert_eq!(again.claim(&carol, 100), Err(OtpError::Used));
        assert_eq!(again.claim(&carol, 101), Ok(()));
    }

    #[test]
    fn where_nothing_is_known_no_code_of_before_is_good_not_even_after_one_more_restart() {
        let folder = Folder::new("lost");
        let carol = Principal::user("carol");
        for start in [3000, 3010] {
            let ledger = open(&folder.0, false, at(start)).unwrap();
            assert_eq!(ledger.claim(&carol, 101), Err(OtpError::Used));
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_left_as_it_is() {
        let folder = Folder::new("damaged");
        let path = folder.0.join(FILE);
        for (text, why) in
            [("{", "line 1"), ("{\"format\":0}", "format 0"), ("{\"format\":2}", "upgrade btmm"), ("{\"format\":1,\"x\":1}", "column")]
        {
            write(&path, text.as_bytes(), Secrecy::Secret).unwrap();
            let told = open(&folder.0, false, at(3000)).unwrap_err().to_string();
            assert!(told.starts_with(path.to_str().unwrap()) && told.contains(why), "{told}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
