//! Caches where they are: in the kernel's keys (`keyring`), or in files, locked as other Kerberos programs lock them and replaced as a whole.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use zeroize::Zeroizing;

use super::CredentialCache;
use super::format::{self, FormatError, MAX_FILE};
use super::keyring::{self, KeyringError};
use super::place::{CachePlace, KeyringName};
use super::profile::{Said, is_read, said};
use crate::clock;
use crate::lkdc::full_name::FullName;
use crate::lkdc::linux::{Lock, LockError, locked, random_name, replace};

/// The file that names the primary cache of a folder, and what it names when it is missing.
const PRIMARY: &str = "primary";
const FIRST: &str = "tkt";

/// How deep files may include others.
const DEEPEST: u32 = 8;

/// Why a cache cannot be used. One line, naming it.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Cannot be understood.
    #[error("{place} is no credential cache ({why}): name another in KRB5CCNAME, or remove it if it was one")]
    Damaged {
        /// Where.
        place: CachePlace,
        /// What is wrong.
        #[source]
        why: FormatError,
    },
    /// Somebody else's.
    #[error("{place} belongs to user {uid}, whose tickets are not yours")]
    Foreign {
        /// Where.
        place: CachePlace,
        /// Whose.
        uid: u32,
    },
    /// Something else than a file.
    #[error("{0} is not a regular file")]
    NotFile(CachePlace),
    /// Another program does not let go of it.
    #[error("{0} is locked by another program")]
    Locked(CachePlace),
    /// There is none.
    #[error("{0}: no tickets there")]
    Missing(CachePlace),
    /// Not the ticket that was asked for.
    #[error("{place}: no ticket for {wanted}")]
    NoTicket {
        /// Where.
        place: CachePlace,
        /// What was asked for.
        wanted: String,
    },
    /// Another client's tickets are there.
    #[error("{place} has tickets of {client} in it, and a file holds one client's: name a folder, as in KRB5CCNAME=DIR:$HOME/.krb5cc")]
    Occupied {
        /// Where.
        place: CachePlace,
        /// Whose.
        client: String,
    },
    /// The system refused.
    #[error("cannot {doing} {place}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        place: CachePlace,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The name that `krb5.conf` gives the cache of programs that are told no other; `None` when it gives none.
pub fn configured() -> Option<String> {
    let named = std::env::var_os("KRB5_CONFIG").filter(|named| !named.is_empty()).unwrap_or_else(|| "/etc/krb5.conf".into());
    std::env::split_paths(&named).find_map(|file| configured_in(&file, DEEPEST))
}

/// The first word of a file, those that it includes among them.
fn configured_in(file: &Path, depth: u32) -> Option<String> {
    let deeper = depth.checked_sub(1)?;
    said(&fs::read_to_string(file).ok()?).into_iter().find_map(|said| match said {
        Said::Name(name) => Some(name),
        Said::File(file) => configured_in(&file, deeper),
        Said::Folder(folder) => {
            let entries = fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path());
            let mut files: Vec<PathBuf> =
                entries.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_read)).collect();
            files.sort();
            files.iter().find_map(|file| configured_in(file, deeper))
        }
    })
}

/// Reads a cache; `None` when there is none.
pub fn load(place: &CachePlace) -> Result<Option<CredentialCache>, CacheError> {
    match place {
        CachePlace::File(path) => match open(place, path, Lock::Shared)? {
            Some(mut file) => read(place, &mut file).map(Some),
            None => Ok(None),
        },
        CachePlace::Dir(folder) => load(&CachePlace::File(primary(place, folder)?)),
        CachePlace::Keyring(name) => keyring::load(name).map_err(in_keys("read", place)),
    }
}

/// Every single cache at `place`, which may be a collection; the primary one first.
pub fn members(place: &CachePlace) -> Result<Vec<CachePlace>, CacheError> {
    match place {
        CachePlace::File(_) => Ok(vec![place.clone()]),
        CachePlace::Dir(folder) => members_of_folder(place, folder),
        CachePlace::Keyring(name) => {
            let members = keyring::members(name).map_err(failed("list", place))?;
            Ok(members.into_iter().map(CachePlace::Keyring).collect())
        }
    }
}

/// The caches that there are at `place`, which may be a collection; the primary one first. One of a collection that is no cache, or not ours,
/// keeps nobody from the others: it is only told to `passed_over`.
pub fn caches(place: &CachePlace, mut passed_over: impl FnMut(CacheError)) -> Result<Vec<(CachePlace, CredentialCache)>, CacheError> {
    let mut caches = Vec::new();
    for member in members(place)? {
        match load(&member) {
            Ok(there) => caches.extend(there.map(|cache| (member, cache))),
            // It may be the one that is looked for.
            Err(error @ CacheError::Locked(_)) => return Err(error),
            Err(error) if place.is_collection() => passed_over(error),
            Err(error) => return Err(error),
        }
    }
    Ok(caches)
}

/// Puts `cache` in the place of what was there.
pub fn save(place: &CachePlace, cache: &CredentialCache) -> Result<(), CacheError> {
    match place {
        CachePlace::File(path) => {
            // Held until the new file is there, so that who waits for it sees the new one.
            let held = open(place, path, Lock::Exclusive)?;
            write(place, path, cache, held.as_ref())
        }
        CachePlace::Dir(folder) => save(&CachePlace::File(primary(place, folder)?), cache),
        CachePlace::Keyring(name) => keyring::save(name, cache).map_err(failed("write", place)),
    }
}

/// Puts a cache beside those of other clients, in the place of the same client's; tells where. It becomes the primary one where there is
/// none. A file has no room for two that are good.
pub fn add(place: &CachePlace, cache: &CredentialCache) -> Result<CachePlace, CacheError> {
    for (member, there) in caches(place, drop)? {
        if there.client == cache.client {
            return save(&member, cache).map(|()| member);
        }
    }
    check_room(place, |client| *client == cache.client)?;
    let member = match place {
        CachePlace::Dir(folder) => {
            let primary = CachePlace::File(primary(place, &made(place, folder)?)?);
            match load(&primary) {
                // What a program began that got no ticket is there for the next one.
                Ok(None) | Err(CacheError::Damaged { .. }) => primary,
                _ => CachePlace::File(another(folder)),
            }
        }
        CachePlace::Keyring(name) if place.is_collection() && !keyring::primary_is_vacant(name).map_err(failed("look at", place))? => {
            CachePlace::Keyring(subsidiary(name))
        }
        other => other.clone(),
    };
    save(&member, cache).map(|()| member)
}

/// Refuses a file that has tickets in it of a client who is not the one that [`add`] shall be asked for, before anything is spent on tickets.
pub fn check_room(place: &CachePlace, is_meant: impl Fn(&FullName) -> bool) -> Result<(), CacheError> {
    if !matches!(place, CachePlace::File(_)) {
        return Ok(());
    }
    let now = clock::wall().duration_since(UNIX_EPOCH).map_or(u32::MAX, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX));
    match load(place)? {
        Some(there) if !is_meant(&there.client) && there.tickets().any(|ticket| ticket.times.ends > now) => {
            Err(CacheError::Occupied { place: place.clone(), client: there.client.to_string() })
        }
        _ => Ok(()),
    }
}

/// Puts a new client's cache into a collection so that it is not the primary one, which programs take that look for no realm; tells where.
/// `None` where there is room for one cache only.
pub fn add_aside(place: &CachePlace, cache: &CredentialCache) -> Result<Option<CachePlace>, CacheError> {
    let member = match place {
        CachePlace::Dir(folder) => CachePlace::File(another(&made(place, folder)?)),
        CachePlace::Keyring(name) if place.is_collection() => {
            keyring::name_primary(name).map_err(failed("write", place))?;
            CachePlace::Keyring(subsidiary(name))
        }
        CachePlace::Keyring(_) | CachePlace::File(_) => return Ok(None),
    };
    save(&member, cache).map(|()| Some(member))
}

fn made(place: &CachePlace, folder: &Path) -> Result<PathBuf, CacheError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make the folder of", place))?;
    Ok(folder.to_owned())
}

/// A name in a folder that no cache has.
fn another(folder: &Path) -> PathBuf {
    folder.join(format!("{FIRST}{}", random_name()))
}

/// A name in a collection of keys that no cache has.
fn subsidiary(name: &KeyringName) -> KeyringName {
    KeyringName { subsidiary: Some(format!("krb_ccache_{}", random_name())), ..name.clone() }
}

/// Changes a cache that is there, with nobody else changing it meanwhile.
pub fn update<T>(place: &CachePlace, change: impl FnOnce(&mut CredentialCache) -> T) -> Result<T, CacheError> {
    match place {
        CachePlace::File(path) => {
            let Some(mut held) = open(place, path, Lock::Exclusive)? else { return Err(CacheError::Missing(place.clone())) };
            let mut cache = read(place, &mut held)?;
            let changed = change(&mut cache);
            write(place, path, &cache, Some(&held))?;
            Ok(changed)
        }
        CachePlace::Dir(folder) => update(&CachePlace::File(primary(place, folder)?), change),
        CachePlace::Keyring(name) => {
            let changed = keyring::update(name, change).map_err(in_keys("change", place))?;
            changed.ok_or_else(|| CacheError::Missing(place.clone()))
        }
    }
}

/// Removes a cache; there may be none.
pub fn destroy(place: &CachePlace) -> Result<(), CacheError> {
    match place {
        CachePlace::File(path) => match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", place)(source)),
            _ => Ok(()),
        },
        CachePlace::Dir(folder) => destroy(&CachePlace::File(primary(place, folder)?)),
        CachePlace::Keyring(name) => keyring::destroy(name).map_err(failed("remove", place)),
    }
}

fn failed(doing: &'static str, place: &CachePlace) -> impl Fn(io::Error) -> CacheError {
    move |source| CacheError::Io { doing, place: place.clone(), source }
}

fn in_keys(doing: &'static str, place: &CachePlace) -> impl Fn(KeyringError) -> CacheError {
    move |error| match error {
        KeyringError::Io(source) => CacheError::Io { doing, place: place.clone(), source },
        KeyringError::Format(why) => CacheError::Damaged { place: place.clone(), why },
    }
}

/// The file, locked; `None` when there is none.
fn open(place: &CachePlace, path: &Path, lock: Lock) -> Result<Option<File>, CacheError> {
    let own = nix::unistd::geteuid().as_raw();
    let judge = |about: &Metadata| match about.uid() {
        _ if !about.is_file() => Err(CacheError::NotFile(place.clone())),
        uid if uid != own => Err(CacheError::Foreign { place: place.clone(), uid }),
        _ => Ok(()),
    };
    locked(path, lock, judge).map_err(|error| match error {
        LockError::Io(doing, source) => failed(doing, place)(source),
        LockError::Busy => CacheError::Locked(place.clone()),
        LockError::Judged(error) => error,
    })
}

fn read(place: &CachePlace, file: &mut File) -> Result<CredentialCache, CacheError> {
    let length = file.metadata().map_err(failed("look at", place))?.len();
    // Reserved at once, so that no reallocation leaves a copy of a session key behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(MAX_FILE).min(MAX_FILE) + 1));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut octets).map_err(failed("read", place))?;
    format::parse(&octets).map_err(|why| CacheError::Damaged { place: place.clone(), why })
}

/// Puts a new file in the place of the old one, which may be held.
fn write(place: &CachePlace, path: &Path, cache: &CredentialCache, old: Option<&File>) -> Result<(), CacheError> {
    // The name may be a link: what is replaced is what it leads to.
    let path = if old.is_some() { fs::canonicalize(path).map_err(failed("find", place))? } else { path.to_owned() };
    replace(&path, |file| file.write_all(&format::emit(cache))).map_err(failed("write", place))
}

/// The primary cache of a folder.
fn primary(place: &CachePlace, folder: &Path) -> Result<PathBuf, CacheError> {
    let named = match fs::read_to_string(folder.join(PRIMARY)) {
        Ok(text) => text.trim_end_matches('\n').to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => FIRST.to_owned(),
        Err(error) => return Err(failed("read the primary cache's name of", place)(error)),
    };
    if !is_member(&named) {
        return Err(failed("use the primary cache's name of", place)(io::ErrorKind::InvalidData.into()));
    }
    Ok(folder.join(named))
}

fn is_member(name: &str) -> bool {
    name.starts_with(FIRST) && !name.contains('/')
}

fn members_of_folder(place: &CachePlace, folder: &Path) -> Result<Vec<CachePlace>, CacheError> {
    let primary = primary(place, folder)?;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", place)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", place))?;
        if entry.file_name().to_str().is_some_and(is_member) {
            names.push(entry.path());
        }
    }
    names.sort_by_key(|path| (*path != primary, path.clone()));
    Ok(names.into_iter().map(CachePlace::File).collect())
}

#[cfg(test)]
#[path = "linux_tests.rs"]
mod tests;
