//! Caches in the kernel's keys, laid out as MIT's library does (its `cc_keyring.c` says how).
//!
//! A collection is a keyring that hangs from an anchor. It holds a keyring for each cache, and the name of the primary one. A cache holds a
//! key for each credential, one for its client, and one for the KDC's clock.

use std::ffi::CStr;
use std::io;
use std::time::SystemTime;

use super::format::{self, FormatError};
use super::keyctl::{self, PROCESS, SESSION, Serial, THREAD, USER, USER_SESSION};
use super::place::{Anchor, KeyringName};
use super::{Credential, CredentialCache};
use crate::wire::Reader;

const RING: &CStr = c"keyring";
const KEY: &CStr = c"user";
/// Credentials may be longer than a `user` key holds.
const BIG_KEY: &CStr = c"big_key";
const PRIMARY: &str = "krb_ccache:primary";
const CLIENT: &str = "__krb5_princ__";
const TIME_OFFSETS: &str = "__krb5_time_offsets__";
/// The form of the primary cache's name.
const VERSION: u32 = 1;
/// What a cache is called whose collection has no name.
const NAMELESS: &str = "tkt";
const MAX_NAME: usize = 1024;

/// Why keys are no cache.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyringError {
    /// The kernel.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Octets that say something else.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// The caches of a collection, the primary one first.
pub(super) fn members(name: &KeyringName) -> io::Result<Vec<KeyringName>> {
    if name.subsidiary.is_some() {
        return Ok(vec![name.clone()]);
    }
    let Some(collection) = collection(name, false)? else { return Ok(Vec::new()) };
    let primary = primary(name, collection)?;
    let mut names = Vec::new();
    for member in keyctl::members(collection)? {
        // A key may end between the two calls.
        if let Ok(about) = keyctl::about(member)
            && about.kind == "keyring"
        {
            names.push(about.name);
        }
    }
    names.sort_by_key(|member| (*member != primary, member.clone()));
    Ok(names.into_iter().map(|member| KeyringName { subsidiary: Some(member), ..name.clone() }).collect())
}

/// Reads a cache; `None` when there is none.
pub(super) fn load(name: &KeyringName) -> Result<Option<CredentialCache>, KeyringError> {
    let Some((_, kept)) = ring(name, false)? else { return Ok(None) };
    match held(kept) {
        // Removed by another program in between.
        Err(KeyringError::Io(error))
            if (has_ended(&error) || is_refused(&error)) && ring(name, false)?.is_none_or(|(_, now)| now != kept) =>
        {
            Ok(None)
        }
        read => Ok(read?.map(|(cache, _)| cache)),
    }
}

/// Whether a key has ended.
fn has_ended(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOKEY | libc::EKEYEXPIRED | libc::EKEYREVOKED))
}

/// Whether a key may be nobody's any more: who reads it by the keyring that it was in is then refused.
fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EACCES)
}

/// Puts a cache in the place of what was there. What was there goes last: when the kernel has no room for the new one, the old one stays.
pub(super) fn save(name: &KeyringName, cache: &CredentialCache) -> io::Result<()> {
    let Some((_, ring)) = ring(name, true)? else { return Err(io::ErrorKind::NotFound.into()) };
    let before = keyctl::members(ring)?;
    // A key that has ended holds nothing, and would not come to life again by a new payload.
    let (ended, before): (Vec<Serial>, Vec<Serial>) =
        before.into_iter().partition(|key| keyctl::read(*key).is_err_and(|error| has_ended(&error)));
    for key in ended {
        gone(keyctl::unlink(key, ring))?;
    }
    let mut kept = cache.credentials.iter().map(|credential| put(ring, credential)).collect::<io::Result<Vec<Serial>>>()?;
    kept.push(keyctl::add(ring, KEY, CLIENT, &format::emit_name(&cache.client))?);
    if let Some((seconds, microseconds)) = cache.time_offset {
        kept.push(keyctl::add(ring, KEY, TIME_OFFSETS, &[seconds.to_be_bytes(), microseconds.to_be_bytes()].concat())?);
    }
    for key in before.into_iter().filter(|key| !kept.contains(key)) {
        gone(keyctl::unlink(key, ring))?;
    }
    expire(ring, cache)
}

/// Changes a cache key by key, so that what another program adds meanwhile stays. `None` when there is none.
pub(super) fn update<T>(name: &KeyringName, change: impl FnOnce(&mut CredentialCache) -> T) -> Result<Option<T>, KeyringError> {
    let Some((_, ring)) = ring(name, false)? else { return Ok(None) };
    let Some((before, keys)) = held(ring)? else { return Ok(None) };
    let mut after = before.clone();
    let changed = change(&mut after);
    let added = after.credentials.iter().filter(|credential| !before.credentials.contains(credential));
    // A new credential for the same server may have taken over the key of the old one.
    let added = added.map(|credential| put(ring, credential)).collect::<io::Result<Vec<Serial>>>()?;
    for (credential, key) in before.credentials.iter().zip(keys) {
        if !after.credentials.contains(credential) && !added.contains(&key) {
            gone(keyctl::unlink(key, ring))?;
        }
    }
    expire(ring, &after)?;
    Ok(Some(changed))
}

/// A key that is not there any more need not be taken out: a new one displaced it, or another program was faster.
fn gone(unlinked: io::Result<()>) -> io::Result<()> {
    unlinked.or_else(|error| if error.raw_os_error() == Some(libc::ENOENT) || has_ended(&error) { Ok(()) } else { Err(error) })
}

/// Removes a cache; there may be none.
pub(super) fn destroy(name: &KeyringName) -> io::Result<()> {
    let Some((collection, ring)) = ring(name, false)? else { return Ok(()) };
    keyctl::clear(ring)?;
    keyctl::unlink(ring, collection)
}

/// Whether a collection has no primary cache.
pub(super) fn primary_is_vacant(name: &KeyringName) -> io::Result<bool> {
    Ok(ring(&KeyringName { subsidiary: None, ..name.clone() }, false)?.is_none())
}

/// Names a collection's primary cache where nothing does, so that the next cache that is put there is not it.
pub(super) fn name_primary(name: &KeyringName) -> io::Result<()> {
    let Some(collection) = collection(name, true)? else { return Ok(()) };
    let primary = primary(name, collection)?;
    set_primary(collection, &primary)
}

/// The cache in a keyring, with the key of each of its credentials.
fn held(ring: Serial) -> Result<Option<(CredentialCache, Vec<Serial>)>, KeyringError> {
    let (mut client, mut time_offset, mut credentials) = (None, None, Vec::new());
    for key in keyctl::members(ring)? {
        let Ok(about) = keyctl::about(key) else { continue };
        let payload = match keyctl::read(key) {
            Err(error) if has_ended(&error) => continue,
            // Another program has just taken it out.
            Err(error) if is_refused(&error) && !keyctl::members(ring)?.contains(&key) => continue,
            read => read?,
        };
        match about.name.as_str() {
            CLIENT => client = Some(format::parse_name(&payload)?),
            TIME_OFFSETS => time_offset = Some(offsets(&payload)?),
            _ => credentials.push((format::parse_credential(&payload)?, key)),
        }
    }
    // Keyrings keep no order: configuration first, as in files, then by age.
    credentials.sort_by_cached_key(|(credential, _)| {
        let server = &credential.server;
        (!credential.is_config(), credential.times.starts, !server.is_krbtgt(), server.to_string())
    });
    let (credentials, keys) = credentials.into_iter().unzip();
    Ok(client.map(|client| (CredentialCache { time_offset, client, credentials }, keys)))
}

fn offsets(payload: &[u8]) -> Result<(i32, i32), FormatError> {
    let mut reader = Reader::new(payload);
    let offsets = (reader.u32("time offset")?.cast_signed(), reader.u32("time offset")?.cast_signed());
    reader.finish("time offset")?;
    Ok(offsets)
}

fn put(ring: Serial, credential: &Credential) -> io::Result<Serial> {
    let (name, octets) = (credential.server.to_string(), format::emit_credential(credential));
    let key = match keyctl::add(ring, BIG_KEY, &name, &octets) {
        // A kernel without such keys.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => keyctl::add(ring, KEY, &name, &octets)?,
        added => added?,
    };
    if let Some(left) = credential.times.ends.checked_sub(seconds()).filter(|left| *left > 0 && !credential.is_config()) {
        keyctl::forget_after(key, left)?;
    }
    Ok(key)
}

/// The cache goes with its last ticket.
fn expire(ring: Serial, cache: &CredentialCache) -> io::Result<()> {
    match cache.tickets().map(|ticket| ticket.times.ends).max() {
        Some(ends) => keyctl::forget_after(ring, ends.saturating_sub(seconds()).max(1)),
        None => Ok(()),
    }
}

/// The collection and the cache's keyring in it.
fn ring(name: &KeyringName, make: bool) -> io::Result<Option<(Serial, Serial)>> {
    let Some(collection) = collection(name, make)? else { return Ok(None) };
    let cache = match &name.subsidiary {
        Some(subsidiary) => subsidiary.clone(),
        None => primary(name, collection)?,
    };
    if make {
        set_primary(collection, &cache)?;
    }
    Ok(found(collection, None, &cache, make)?.map(|ring| (collection, ring)))
}

/// Makes this the primary cache where none is named.
fn set_primary(collection: Serial, cache: &str) -> io::Result<()> {
    if keyctl::search(collection, KEY, PRIMARY)?.is_none() {
        let length = u32::try_from(cache.len()).unwrap_or(u32::MAX);
        keyctl::add(collection, KEY, PRIMARY, &[&VERSION.to_be_bytes(), &length.to_be_bytes(), cache.as_bytes()].concat())?;
    }
    Ok(())
}

/// The name of the primary cache.
fn primary(name: &KeyringName, collection: Serial) -> io::Result<String> {
    let Some(key) = keyctl::search(collection, KEY, PRIMARY)? else {
        return Ok(if name.collection.is_empty() { NAMELESS.to_owned() } else { name.collection.clone() });
    };
    let payload = keyctl::read(key)?;
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let mut reader = Reader::new(&payload);
    if reader.u32("version").map_err(invalid)? != VERSION {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let length = usize::try_from(reader.u32("name").map_err(invalid)?).unwrap_or(usize::MAX);
    let octets = reader.sub(length, MAX_NAME, "name").map_err(invalid)?.rest();
    String::from_utf8(octets.to_vec()).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn collection(name: &KeyringName, make: bool) -> io::Result<Option<Serial>> {
    let called = format!("_krb_{}", name.collection);
    match name.anchor {
        Anchor::Persistent => {
            let own = nix::unistd::geteuid().as_raw();
            let uid = if name.collection.is_empty() { Ok(own) } else { name.collection.parse() };
            let uid = uid.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            found(keyctl::persistent(uid)?, Some(PROCESS), "_krb", make)
        }
        // The user's keyring gives no possession of what is in it: the process's does.
        Anchor::User => found(USER, Some(PROCESS), &called, make),
        Anchor::Session | Anchor::Legacy => found(session()?, None, &called, make),
        Anchor::Process => found(PROCESS, None, &called, make),
        Anchor::Thread => found(THREAD, None, &called, make),
    }
}

/// Where a session's keys are. A process without a session of its own must name the user's, or the kernel makes it a new one.
fn session() -> io::Result<Serial> {
    let (own, user) = (keyctl::resolve(SESSION)?, keyctl::resolve(USER_SESSION)?);
    Ok(if own == user { USER_SESSION } else { SESSION })
}

/// A keyring of this name in `parent`, made if asked; possessed through `possess` as well.
fn found(parent: Serial, possess: Option<Serial>, name: &str, make: bool) -> io::Result<Option<Serial>> {
    if let Some(there) = keyctl::search(parent, RING, name)? {
        if let Some(possess) = possess {
            keyctl::link(there, possess)?;
        }
        return Ok(Some(there));
    }
    if !make {
        return Ok(None);
    }
    let made = keyctl::add(possess.unwrap_or(parent), RING, name, &[])?;
    if possess.is_some() {
        keyctl::link(made, parent)?;
    }
    Ok(Some(made))
}

fn seconds() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache in this process's own keys, which go with it.
    fn place() -> KeyringName {
        KeyringName { anchor: Anchor::Process, collection: "btmm-test".to_owned(), subsidiary: Some("tkt".to_owned()) }
    }

    fn cache(services: &[(&str, u32)]) -> CredentialCache {
        let mut cache = CredentialCache::new("alice@A".parse().unwrap());
        for (service, octets) in services {
            let mut ticket = Credential::empty(cache.client.clone(), format!("{service}@A").parse().unwrap());
            ticket.times.ends = u32::MAX;
            ticket.ticket = vec![0; *octets as usize];
            cache.store(ticket);
        }
        cache
    }

    fn held(place: &KeyringName) -> Vec<(String, usize)> {
        let cache = load(place).unwrap().unwrap();
        cache.tickets().map(|ticket| (ticket.server.principal.to_string(), ticket.ticket.len())).collect()
    }

    #[test]
    fn a_cache_that_the_kernel_has_no_room_for_leaves_the_old_one_in_its_place() {
        let place = place();
        save(&place, &cache(&[("cifs/a", 1), ("host/a", 1)])).unwrap();
        // No key is as long as that.
        let too_much = [("cifs/a", 2), ("nfs/a", 2_000_000)];
        save(&place, &cache(&too_much)).unwrap_err();
        assert_eq!(held(&place), [("cifs/a".to_owned(), 2), ("host/a".to_owned(), 1)]);
        update(&place, |held| *held = cache(&too_much)).unwrap_err();
        assert_eq!(held(&place), [("cifs/a".to_owned(), 2), ("host/a".to_owned(), 1)]);

        save(&place, &cache(&[("cifs/a", 3), ("nfs/a", 1)])).unwrap();
        assert_eq!(held(&place), [("cifs/a".to_owned(), 3), ("nfs/a".to_owned(), 1)], "what is not in the new one is gone");
        update(&place, |held| *held = cache(&[("cifs/a", 4)])).unwrap().unwrap();
        assert_eq!(held(&place), [("cifs/a".to_owned(), 4)]);
    }
}
