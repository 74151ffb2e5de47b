//! Keytabs in files.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use zeroize::Zeroizing;

use super::{KeytabEntry, KeytabError, MAX_FILE, emit, merged, parse};
use crate::lkdc::linux::{Lock, LockError, locked, replace};

/// Why a keytab cannot be put into its place. One line, naming it.
#[derive(Debug, thiserror::Error)]
pub enum KeytabFileError {
    /// There is something else under this name.
    #[error("{} is no keytab ({why}): nothing was changed; name another file with --output", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: KeytabError,
    },
    /// Not a file.
    #[error("{} is not a regular file: nothing was changed", .0.display())]
    NotFile(PathBuf),
    /// Another program does not let go of it.
    #[error("{} is locked by another program: nothing was changed", .0.display())]
    Locked(PathBuf),
    /// Ours does not fit.
    #[error("{}: {why}", path.display())]
    Ours {
        /// The file.
        path: PathBuf,
        /// What is too long.
        #[source]
        why: KeytabError,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Puts `ours` into the keytab at `path`, which is made when there is none, for its owner alone. The keys of other principals in it stay, and
/// so do owner, group and mode: a service that does not run as root reads it by those. At any time it is either the old one or the new one.
pub fn install(path: &Path, ours: Vec<KeytabEntry>) -> Result<(), KeytabFileError> {
    // Held until the new one is there, so that nobody else changes the old one meanwhile.
    let old = open(path, Lock::Exclusive)?;
    let there = old.as_ref().map_or(Ok(Vec::new()), |old| read(path, old))?;
    let octets = emit(&merged(there, ours)).map_err(|why| KeytabFileError::Ours { path: path.to_owned(), why })?;
    write(path, &octets, old.as_ref()).map_err(failed("write", path))
}

/// Refuses a path at which [`install`] would fail, before there are keys that would get lost by that.
pub fn check(path: &Path) -> Result<(), KeytabFileError> {
    open(path, Lock::Shared)?.map_or(Ok(Vec::new()), |old| read(path, &old))?;
    access(folder_of(path), AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| failed("write", path)(error.into()))
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KeytabFileError + 'a {
    move |source| KeytabFileError::Io { doing, path: path.to_owned(), source }
}

/// The file, locked; `None` when there is none.
fn open(path: &Path, lock: Lock) -> Result<Option<File>, KeytabFileError> {
    let judge = |about: &Metadata| if about.is_file() { Ok(()) } else { Err(KeytabFileError::NotFile(path.to_owned())) };
    locked(path, lock, judge).map_err(|error| match error {
        LockError::Io(doing, source) => failed(doing, path)(source),
        LockError::Busy => KeytabFileError::Locked(path.to_owned()),
        LockError::Judged(error) => error,
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path, file: &File) -> Result<Vec<KeytabEntry>, KeytabFileError> {
    let length = file.metadata().map_err(failed("look at", path))?.len();
    // Reserved at once, so that no reallocation leaves a copy of a key behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(MAX_FILE).min(MAX_FILE) + 1));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut octets).map_err(failed("read", path))?;
    parse(&octets).map_err(|why| KeytabFileError::Foreign { path: path.to_owned(), why })
}

fn write(path: &Path, octets: &[u8], old: Option<&File>) -> io::Result<()> {
    // The name may be a link: what is replaced is what it leads to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace(&path, |file| {
        if let Some(old) = old.map(File::metadata).transpose()? {
            let fresh = file.metadata()?;
            let other = |old: u32, fresh: u32| (old != fresh).then_some(old);
            fchown(&*file, other(old.uid(), fresh.uid()), other(old.gid(), fresh.gid()))?;
            file.set_permissions(old.permissions())?;
        }
        file.write_all(octets)
    })?;
    File::open(folder_of(&path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::lkdc::linux::random_name;

    /// A keytab in a folder of its own, removed at the end.
    struct Keytab(PathBuf);

    impl Keytab {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("btmm-keytab-{}", random_name()));
            fs::create_dir(&folder).unwrap();
            Self(folder.join("krb5.keytab"))
        }

        fn owner_and_mode(&self) -> (u32, u32, u32) {
            let about = fs::metadata(&self.0).unwrap();
            (about.uid(), about.gid(), about.mode() & 0o7777)
        }
    }

    impl Drop for Keytab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(folder_of(&self.0));
        }
    }

    fn entry(name: &str) -> KeytabEntry {
        KeytabEntry { name: name.parse().unwrap(), timestamp: 0, kvno: 1, etype: 17, key: Zeroizing::new(vec![9; 16]) }
    }

    #[test]
    fn a_keytab_keeps_its_owner_group_and_mode_and_a_new_one_is_for_its_owner_alone() {
        assert!(nix::unistd::geteuid().is_root(), "this test gives files away and so needs root");
        let keytab = Keytab::new();
        install(&keytab.0, vec![entry("host/a@R")]).unwrap();
        assert_eq!(keytab.owner_and_mode().2, 0o600);
        chown(&keytab.0, Some(12_345), Some(54_321)).unwrap();
        fs::set_permissions(&keytab.0, fs::Permissions::from_mode(0o640)).unwrap();
        install(&keytab.0, vec![entry("HTTP/a@R")]).unwrap();
        assert_eq!(keytab.owner_and_mode(), (12_345, 54_321, 0o640));
        assert_eq!(parse(&fs::read(&keytab.0).unwrap()).unwrap().len(), 2);
        assert_eq!(fs::read_dir(folder_of(&keytab.0)).unwrap().count(), 1, "nothing else is left in the folder");
    }

    #[test]
    fn a_keytab_that_another_program_changes_is_waited_for() {
        let keytab = Keytab::new();
        install(&keytab.0, vec![entry("host/a@R")]).unwrap();
        let held = open(&keytab.0, Lock::Exclusive).unwrap().unwrap();
        std::thread::scope(|scope| {
            let ours = scope.spawn(|| install(&keytab.0, vec![entry("HTTP/a@R")]));
            std::thread::sleep(std::time::Duration::from_millis(200));
            (&held).write_all(&emit(&[entry("host/a@R"), entry("nfs/a@R")]).unwrap()).unwrap();
            drop(held);
            ours.join().unwrap().unwrap();
        });
        assert_eq!(parse(&fs::read(&keytab.0).unwrap()).unwrap(), ["host/a@R", "nfs/a@R", "HTTP/a@R"].map(entry));
    }
}
