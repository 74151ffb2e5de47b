//! The form of `lkdc/principals.json`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::book::{Book, Service, User};
use super::entry::{Keys, VersionedKeys};
use super::strength::Strength;
use super::totp::TotpSecret;
use crate::lkdc::crypto::{Etype, Key};

/// The newest form that this program understands.
pub(super) const FORMAT: u32 = 1;

/// Why octets are not what was kept. Never tells contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotStored {
    /// Not JSON of this form.
    #[error("line {line}, column {column}")]
    Json { line: usize, column: usize },
    /// Written by a newer program.
    #[error("it has format {0}")]
    Newer(u32),
    /// A name, key or time that cannot be.
    #[error("{0}")]
    Value(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    realm: String,
    krbtgt: Vec<StoredVersion>,
    services: BTreeMap<String, StoredService>,
    users: BTreeMap<String, StoredUser>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredService {
    keys: Vec<StoredVersion>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    strength: Vec<Strength>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUser {
    keys: Vec<StoredVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totp: Option<Secret>,
}

/// Times are seconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredVersion {
    kvno: u32,
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// By the etype's number.
    keys: BTreeMap<i32, Secret>,
}

/// Octets as base64 text, which is wiped as well.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    fn of(octets: &[u8]) -> Self {
        Self(data_encoding::BASE64.encode(octets))
    }

    fn reveal(&self) -> Result<Zeroizing<Vec<u8>>, NotStored> {
        data_encoding::BASE64.decode(self.0.as_bytes()).map(Zeroizing::new).map_err(|_| NotStored::Value("a secret is not base64"))
    }
}

/// What is written.
pub(super) fn emit(book: &Book) -> Zeroizing<Vec<u8>> {
    let stored = Stored {
        format: FORMAT,
        realm: book.realm.to_string(),
        krbtgt: versions_out(&book.krbtgt),
        services: book
            .services
            .iter()
            .map(|(name, service)| (name.clone(), StoredService { keys: versions_out(&service.keys), strength: service.strength.clone() }))
            .collect(),
        users: book
            .users
            .iter()
            .map(|(name, user)| {
                let totp = user.totp.as_ref().map(|secret| Secret::of(secret.bytes()));
                (name.clone(), StoredUser { keys: versions_out(&user.keys), totp })
            })
            .collect(),
    };
    // Reserved at once, so that no reallocation leaves a copy of a secret behind: a version takes less than 1 KiB.
    let versions = 1 + stored.services.values().map(|service| 1 + service.keys.len()).sum::<usize>();
    let versions = versions + stored.krbtgt.len() + stored.users.values().map(|user| 1 + user.keys.len()).sum::<usize>();
    let mut json = Zeroizing::new(Vec::with_capacity(versions * 1024));
    serde_json::to_writer_pretty(&mut *json, &stored).expect("a book always makes JSON");
    json
}

/// Reads what was written.
pub(super) fn parse(json: &[u8]) -> Result<Book, NotStored> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let place = |error: serde_json::Error| NotStored::Json { line: error.line(), column: error.column() };
    let form: Form = serde_json::from_slice(json).map_err(place)?;
    if form.format > FORMAT {
        return Err(NotStored::Newer(form.format));
    }
    let stored: Stored = serde_json::from_slice(json).map_err(place)?;
    let service =
        |(name, service): (String, StoredService)| Ok((name, Service { keys: versions_in(&service.keys)?, strength: service.strength }));
    let user = |(name, user): (String, StoredUser)| {
        let totp = user.totp.as_ref().map(Secret::reveal).transpose()?;
        Ok((name, User { keys: versions_in(&user.keys)?, totp: totp.map(|secret| TotpSecret::from_bytes(&secret)) }))
    };
    let book = Book {
        realm: stored.realm.parse().map_err(|_| NotStored::Value("the realm is none"))?,
        krbtgt: versions_in(&stored.krbtgt)?,
        services: stored.services.into_iter().map(service).collect::<Result<_, _>>()?,
        users: stored.users.into_iter().map(user).collect::<Result<_, _>>()?,
    };
    if book.krbtgt.is_empty() {
        return Err(NotStored::Value("the ticket granting service has no key"));
    }
    Ok(book)
}

fn versions_out(versions: &[VersionedKeys]) -> Vec<StoredVersion> {
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let version = |version: &VersionedKeys| StoredVersion {
        kvno: version.kvno,
        since: seconds(version.since),
        until: version.until.map(seconds),
        salt: version.salt.clone(),
        keys: version.keys.iter().map(|key| (key.etype().number(), Secret::of(key.bytes()))).collect(),
    };
    versions.iter().map(version).collect()
}

fn versions_in(versions: &[StoredVersion]) -> Result<Vec<VersionedKeys>, NotStored> {
    versions.iter().map(version_in).collect()
}

fn version_in(stored: &StoredVersion) -> Result<VersionedKeys, NotStored> {
    let mut keys = Keys::new();
    for etype in Etype::ALL {
        if let Some(secret) = stored.keys.get(&etype.number()) {
            keys.push(Key::new(etype, &secret.reveal()?).map_err(|_| NotStored::Value("a key has not the length of its etype"))?);
        }
    }
    if keys.len() != stored.keys.len() || keys.is_empty() {
        return Err(NotStored::Value("a key has an etype that there is not"));
    }
    let time = |seconds: u64| {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(NotStored::Value("a time is beyond all clocks"))
    };
    Ok(VersionedKeys {
        kvno: stored.kvno,
        keys,
        salt: stored.salt.clone(),
        since: time(stored.since)?,
        until: stored.until.map(time).transpose()?,
    })
}
