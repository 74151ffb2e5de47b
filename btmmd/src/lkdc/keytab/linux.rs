//! Keytabs in files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use zeroize::Zeroizing;

use super::{KeytabEntry, KeytabError, MAX_FILE, emit, merged, parse};

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

/// Puts `ours` into the keytab at `path`, which is made when there is none. The keys of other principals in it stay. For its owner alone,
/// and at any time either the old one or the new one.
pub fn install(path: &Path, ours: Vec<KeytabEntry>) -> Result<(), KeytabFileError> {
    let octets = emit(&merged(there(path)?, ours)).map_err(|why| KeytabFileError::Ours { path: path.to_owned(), why })?;
    write(path, &octets).map_err(failed("write", path))
}

/// Refuses a path at which [`install`] would fail, before there are keys that would get lost by that.
pub fn check(path: &Path) -> Result<(), KeytabFileError> {
    there(path)?;
    access(folder_of(path), AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| failed("write", path)(error.into()))
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KeytabFileError + 'a {
    move |source| KeytabFileError::Io { doing, path: path.to_owned(), source }
}

fn there(path: &Path) -> Result<Vec<KeytabEntry>, KeytabFileError> {
    match read(path).map_err(failed("read", path))? {
        None => Ok(Vec::new()),
        Some(None) => Err(KeytabFileError::NotFile(path.to_owned())),
        Some(Some(octets)) => parse(&octets).map_err(|why| KeytabFileError::Foreign { path: path.to_owned(), why }),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file's octets; an inner `None` is something that is not a file.
fn read(path: &Path) -> io::Result<Option<Option<Zeroizing<Vec<u8>>>>> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(Some(None));
    }
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_FILE).min(MAX_FILE);
    let mut octets = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut octets)?;
    Ok(Some(Some(octets)))
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut fresh = path.clone().into_os_string();
    fresh.push(".new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(folder_of(&path))?.sync_all()
    })();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&fresh);
    }
    written
}
