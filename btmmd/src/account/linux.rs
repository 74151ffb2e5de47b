//! The account's files. See [`layout`] for which there are.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use super::certificate::AccountTrust;
use super::key::{KeyAlgorithm, MachineKey};
use super::layout::{self, StateError};
use super::roster::{Roster, SignedRoster};
use super::token::{TokenUri, UriError};
use crate::disk;

/// The largest state file worth reading, in octets.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// Reads a whole file; `None` if it does not exist. Refuses secrets that others can read.
pub(crate) fn read(path: &Path, secrecy: Secrecy) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
    let failed = |source| StateError::Io { doing: "read", path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(StateError::damaged(path, "it is not a regular file"));
    }
    let mode = about.mode() & 0o777;
    if secrecy == Secrecy::Secret && mode & 0o077 != 0 {
        return Err(StateError::Exposed { path: path.to_owned(), mode });
    }
    // Reserved at once, so that no reallocation leaves a copy of a secret behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(about.len()).unwrap_or(MAX_FILE).min(MAX_FILE) + 1));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() > MAX_FILE { Err(StateError::damaged(path, "it is too long")) } else { Ok(Some(octets)) }
}

/// Writes a whole file so that after a crash there is either the old one or the new one.
pub(crate) fn write(path: &Path, octets: &[u8], secrecy: Secrecy) -> Result<(), StateError> {
    let failed = |source| StateError::Io { doing: "write", path: path.to_owned(), source };
    disk::replace(path, octets, secrecy.mode(), |_| Ok(())).map_err(failed)
}

/// Removes a file; it may be missing already.
pub(super) fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Io { doing: "remove", path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

/// Whether there is anything under this name.
pub(super) fn exists(path: &Path) -> Result<bool, StateError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StateError::Io { doing: "look at", path: path.to_owned(), source }),
    }
}

/// Removes an empty directory.
pub(super) fn remove_directory(path: &Path) -> Result<(), StateError> {
    fs::remove_dir(path).map_err(|source| StateError::Io { doing: "remove the directory", path: path.to_owned(), source })
}

/// Makes a directory that only its owner may enter; it may exist already.
pub(crate) fn make_directory(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StateError::Io { doing: "make the directory", path: path.to_owned(), source })
}

/// What the file of the machine's key says.
pub(super) enum KeyFile {
    /// The key itself.
    Key(MachineKey),
    /// On which token it is.
    Token(TokenUri),
}

/// Reads the file of the machine's key.
pub(super) fn key_file(path: &Path) -> Result<Option<KeyFile>, StateError> {
    let Some(text) = read(path, Secrecy::Secret)? else { return Ok(None) };
    let damaged = |error: &dyn std::error::Error| StateError::damaged(path, &error.to_string());
    if text.starts_with(b"pkcs11:") {
        let uri = std::str::from_utf8(&text).map_err(|error| damaged(&error))?.parse();
        return uri.map(|uri| Some(KeyFile::Token(uri))).map_err(|error: UriError| damaged(&error));
    }
    MachineKey::from_pem(&text).map(|key| Some(KeyFile::Key(key))).map_err(|error| damaged(&error))
}

/// The machine's key, made now if there is none yet. It survives a failed attempt to join, so that the next one finds the same machine.
pub(super) fn machine_key(state_dir: &Path) -> Result<MachineKey, StateError> {
    let path = state_dir.join(layout::MACHINE_KEY);
    match key_file(&path)? {
        Some(KeyFile::Key(key)) => return Ok(key),
        Some(KeyFile::Token(uri)) => return Ok(MachineKey::on_token(&uri)?),
        None => {}
    }
    let key = MachineKey::generate(KeyAlgorithm::default())?;
    make_directory(state_dir)?;
    write_key(&path, &key)?;
    Ok(key)
}

/// Has the machine use the key on this token, which is made there if it is missing.
pub(super) fn use_token(state_dir: &Path, uri: &TokenUri) -> Result<(), StateError> {
    let path = state_dir.join(layout::MACHINE_KEY);
    match key_file(&path)? {
        Some(KeyFile::Token(known)) if known == *uri => {}
        Some(_) => return Err(StateError::OtherKey(path)),
        None => {}
    }
    MachineKey::on_token(uri)?;
    make_directory(state_dir)?;
    write(&path, format!("{uri}\n").as_bytes(), Secrecy::Secret)
}

/// Reads a private key.
pub(super) fn read_key(path: &Path) -> Result<Option<MachineKey>, StateError> {
    let Some(pem) = read(path, Secrecy::Secret)? else { return Ok(None) };
    MachineKey::from_pem(&pem).map(Some).map_err(|error| StateError::damaged(path, &error.to_string()))
}

/// Writes a private key.
pub(super) fn write_key(path: &Path, key: &MachineKey) -> Result<(), StateError> {
    write(path, key.to_pem()?.as_bytes(), Secrecy::Secret)
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Its owner.
    Secret,
    /// Everybody who may enter the directory.
    Public,
}

impl Secrecy {
    fn mode(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Whoever writes rosters does so alone: one that is fetched may meet one that came by joining, or one of a session that has ended.
static KEEPING: Mutex<()> = Mutex::new(());

/// Keeps this roster, whatever was kept before: the base has just given it with an identity, or is here.
pub(super) fn write_roster(state_dir: &Path, signed: &SignedRoster) -> Result<(), StateError> {
    let _alone = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    write(&state_dir.join(layout::ROSTER), &signed.to_json(), Secrecy::Public)
}

/// Keeps `roster`, which is in `signed`, unless the one that is kept is as new. One that cannot be read is replaced.
pub(super) fn keep_roster(state_dir: &Path, signed: &SignedRoster, roster: &Roster, trust: &AccountTrust) -> Result<(), StateError> {
    let _alone = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    match read_roster(state_dir, trust) {
        Ok(Some(kept)) if kept.serial() >= roster.serial() => Ok(()),
        _ => write(&state_dir.join(layout::ROSTER), &signed.to_json(), Secrecy::Public),
    }
}

/// Reads the newest roster kept, and checks it again.
pub(super) fn read_roster(state_dir: &Path, trust: &AccountTrust) -> Result<Option<Roster>, StateError> {
    let path = state_dir.join(layout::ROSTER);
    let Some(json) = read(&path, Secrecy::Public)? else { return Ok(None) };
    let roster = SignedRoster::from_json(&json).and_then(|signed| signed.verify(trust));
    roster.map(Some).map_err(|error| StateError::damaged(&path, &error.to_string()))
}
