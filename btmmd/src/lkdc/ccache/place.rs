//! Where a cache is, as `KRB5CCNAME` and krb5.conf's `default_ccache_name` say it.

use std::fmt;
use std::path::PathBuf;

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// A file.
    File(PathBuf),
    /// A folder of caches, of which one is the primary.
    Dir(PathBuf),
    /// In the kernel's keys.
    Keyring(KeyringName),
}

/// A cache in the kernel's keys: `anchor:collection` or `anchor:collection:subsidiary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringName {
    /// Which of the kernel's keyrings it hangs from.
    pub anchor: Anchor,
    /// The collection's name; for a persistent keyring the user id, or nothing for one's own.
    pub collection: String,
    /// The cache in the collection; without it the primary one.
    pub subsidiary: Option<String>,
}

/// From which of the kernel's keyrings a collection hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The user's keyring that outlives log-out.
    Persistent,
    /// The log-in session's.
    Session,
    /// The user's.
    User,
    /// The process's own.
    Process,
    /// The thread's own.
    Thread,
    /// The session's, in a form that old programs see.
    Legacy,
}

/// A name that is no place we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A type that is not built in.
    #[error("{0:?} is not a cache that btmm can use: use FILE:, DIR: or KEYRING:")]
    Type(String),
    /// A type and no path.
    #[error("{0:?} names no file or folder")]
    Nowhere(String),
    /// `KEYRING:` with an unknown anchor.
    #[error("{0:?} does not begin with persistent:, session:, user:, process: or thread:")]
    Anchor(String),
    /// `%{…}` which is not replaced here.
    #[error("{0:?} has a part in %{{}} other than uid, USERID, euid, username or TEMP")]
    Token(String),
}

/// What replaces `%{uid}` and its like.
#[derive(Clone, Debug)]
pub struct Whose {
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub user: String,
}

impl CachePlace {
    /// The place that every program takes when it is told none.
    pub fn default_of(uid: u32) -> Self {
        Self::File(format!("/tmp/krb5cc_{uid}").into())
    }

    /// Whether there is room for the caches of several clients.
    pub fn is_collection(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Dir(_) => true,
            Self::Keyring(name) => name.subsidiary.is_none(),
        }
    }

    /// Reads a name. Without a type it is a file.
    pub fn parse(text: &str, whose: &Whose) -> Result<Self, PlaceError> {
        let name = expand(text, whose)?;
        match name.split_once(':') {
            Some(("FILE" | "DIR", "" | ":")) => Err(PlaceError::Nowhere(name)),
            None => Ok(Self::File(name.into())),
            Some(("FILE", path)) => Ok(Self::File(path.into())),
            // Two colons: that very file of the folder.
            Some(("DIR", path)) => Ok(path.strip_prefix(':').map_or_else(|| Self::Dir(path.into()), |file| Self::File(file.into()))),
            Some(("KEYRING", rest)) => keyring(rest).map(Self::Keyring),
            Some((before, _)) if before.contains('/') => Ok(Self::File(name.into())),
            Some(_) => Err(PlaceError::Type(name)),
        }
    }
}

fn keyring(rest: &str) -> Result<KeyringName, PlaceError> {
    let Some((anchor, rest)) = rest.split_once(':') else {
        return Ok(KeyringName { anchor: Anchor::Legacy, collection: rest.to_owned(), subsidiary: None });
    };
    let anchor = Anchor::ALL.into_iter().find(|known| known.name() == anchor).ok_or_else(|| PlaceError::Anchor(rest.to_owned()))?;
    let (collection, subsidiary) = match rest.split_once(':') {
        Some((collection, subsidiary)) => (collection, Some(subsidiary.to_owned())),
        None => (rest, None),
    };
    Ok(KeyringName { anchor, collection: collection.to_owned(), subsidiary })
}

fn expand(text: &str, whose: &Whose) -> Result<String, PlaceError> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("%{") {
        let refused = || PlaceError::Token(text.to_owned());
        let (token, after) = after.split_once('}').ok_or_else(refused)?;
        name.push_str(before);
        match token {
            "uid" | "USERID" | "euid" => name.push_str(&whose.uid.to_string()),
            "username" => name.push_str(&whose.user),
            "TEMP" => name.push_str("/tmp"),
            "null" => {}
            _ => return Err(refused()),
        }
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

impl Anchor {
    const ALL: [Self; 6] = [Self::Persistent, Self::Session, Self::User, Self::Process, Self::Thread, Self::Legacy];

    /// As names spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Session => "session",
            Self::User => "user",
            Self::Process => "process",
            Self::Thread => "thread",
            Self::Legacy => "legacy",
        }
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "FILE:{}", path.display()),
            Self::Dir(path) => write!(f, "DIR:{}", path.display()),
            Self::Keyring(name) => write!(f, "KEYRING:{name}"),
        }
    }
}

impl fmt::Display for KeyringName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.anchor.name(), self.collection)?;
        self.subsidiary.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CachePlace, PlaceError> {
        CachePlace::parse(text, &Whose { uid: 1000, user: "alice".to_owned() })
    }

    #[test]
    fn names_are_read_as_kinit_reads_them() {
        assert_eq!(parse("/tmp/x"), Ok(CachePlace::File("/tmp/x".into())));
        assert_eq!(parse("FILE:/tmp/krb5cc_%{uid}"), Ok(CachePlace::default_of(1000)));
        assert_eq!(parse("DIR:/run/user/%{uid}/krb5cc"), Ok(CachePlace::Dir("/run/user/1000/krb5cc".into())));
        assert_eq!(parse("DIR::/run/tkt1"), Ok(CachePlace::File("/run/tkt1".into())));
        assert_eq!(parse("/tmp/a:b"), Ok(CachePlace::File("/tmp/a:b".into())));
        let keyring = |anchor, collection: &str, subsidiary: Option<&str>| {
            Ok(CachePlace::Keyring(KeyringName { anchor, collection: collection.to_owned(), subsidiary: subsidiary.map(str::to_owned) }))
        };
        assert_eq!(parse("KEYRING:persistent:%{uid}"), keyring(Anchor::Persistent, "1000", None));
        assert_eq!(parse("KEYRING:session:x:tkt"), keyring(Anchor::Session, "x", Some("tkt")));
        assert_eq!(parse("KEYRING:x"), keyring(Anchor::Legacy, "x", None));
    }

    #[test]
    fn names_that_are_not_understood_are_refused_and_named() {
        assert_eq!(parse("KCM:1000"), Err(PlaceError::Type("KCM:1000".to_owned())));
        assert!(parse("KEYRING:nowhere:1").is_err());
        assert!(parse("FILE:/tmp/%{shape}").is_err());
        assert!(parse("FILE:/tmp/%{uid").is_err());
        for nowhere in ["FILE:", "DIR:", "DIR::"] {
            assert_eq!(parse(nowhere), Err(PlaceError::Nowhere(nowhere.to_owned())));
        }
    }
}
