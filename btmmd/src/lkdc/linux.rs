//! Files that other Kerberos programs use at the same time: locked as MIT's library locks them, and replaced as a whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};

use crate::entropy::{Entropy, SystemEntropy};

/// How often and how long another program's lock is waited for.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// What a file is locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// To be read, while nobody changes it.
    Shared,
    /// To be changed, while nobody else has it.
    Exclusive,
}

/// Why a file cannot be had.
#[derive(Debug)]
pub(super) enum LockError<E> {
    /// The system refused.
    Io(&'static str, io::Error),
    /// Another program does not let go of it.
    Busy,
    /// It is not a file to be used.
    Judged(E),
}

/// The file of this name, locked; `None` when there is none. It is judged first: what others made is not waited for.
pub(super) fn locked<E>(path: &Path, lock: Lock, judge: impl Fn(&Metadata) -> Result<(), E>) -> Result<Option<File>, LockError<E>> {
    for _ in 0..TRIES {
        let write = lock == Lock::Exclusive;
        let file = match OpenOptions::new().read(true).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LockError::Io("open", error)),
        };
        judge(&file.metadata().map_err(|error| LockError::Io("look at", error))?).map_err(LockError::Judged)?;
        match try_lock(&file, lock) {
            Ok(()) if is_still(&file, path) => return Ok(Some(file)),
            // Replaced while we waited: once more with the new one.
            Ok(()) => {}
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => std::thread::sleep(PAUSE),
            // A file that nobody may lock (on a read-only file system) is read as it is.
            Err(_) if lock == Lock::Shared => return Ok(Some(file)),
            Err(error) => return Err(LockError::Io("lock", error.into())),
        }
    }
    Err(LockError::Busy)
}

/// Open file description locks, as MIT's library takes them, over the whole file.
fn try_lock(file: &File, lock: Lock) -> nix::Result<()> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    };
    let lock = libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}

fn is_still(file: &File, path: &Path) -> bool {
    let identity = |about: Metadata| (about.dev(), about.ino());
    matches!((file.metadata().map(identity), fs::metadata(path).map(identity)), (Ok(held), Ok(there)) if held == there)
}

/// Has a new file beside the old one filled, for its owner alone, and puts it in its place.
pub(super) fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let fresh = beside(path);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    })();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// A name that nobody can take first, and that begins as no cache in a folder of caches does.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", random_name()));
    path.with_file_name(name)
}

/// A name that there has not been.
pub(super) fn random_name() -> String {
    let mut octets = [0; 8];
    SystemEntropy.fill(&mut octets);
    data_encoding::HEXLOWER.encode(&octets)
}
