//! What lies in the state directory, and what can be wrong with it.
//!
//! | file | what | who may read |
//! |---|---|---|
//! | `identity.json` | account, zone, prefix, own name, base, certificates, TSIG key. Written last: without it the machine is in no account | owner |
//! | `machine.key` | the machine's private key, PKCS#8 PEM, or the `pkcs11:` URI of the one on its token. Made once, kept when joining fails | owner |
//! | `roster.json` | the newest roster seen, signed by the CA | all |
//! | `base/ca.key` | on the home base: the account CA's private key, PKCS#8 PEM | owner |
//! | `base/state.json` | on the home base: machines with their TSIG keys, hashes of invitation secrets | owner |
//!
//! Every file is replaced as a whole (written beside, synced, renamed). The JSON files hold a `format` number; a higher one than this
//! program knows is refused, not guessed at. A file that cannot be read is never overwritten, `roster.json` excepted, which the
//! base gives again.

use std::io;
use std::path::{Path, PathBuf};

use super::key::KeyError;

/// The newest form of the JSON files that this program understands.
pub(super) const FORMAT: u32 = 1;
/// What a joined machine knows.
pub(super) const IDENTITY: &str = "identity.json";
/// The machine's private key.
pub(super) const MACHINE_KEY: &str = "machine.key";
/// The newest roster seen.
pub(super) const ROSTER: &str = "roster.json";
/// The directory of a home base.
pub(super) const BASE: &str = "base";
/// The CA's private key.
pub(super) const CA_KEY: &str = "base/ca.key";
/// Machines and invitations.
pub(super) const BASE_STATE: &str = "base/state.json";

/// What can be wrong with the state directory. One line, naming the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no account here.
    #[error("{} does not exist: this machine is in no account yet; run \"btmm account create\" or \"btmm join\"", .0.display())]
    NoAccount(PathBuf),
    /// This machine is not a home base.
    #[error("{} does not exist: this machine is not the home base of its account", .0.display())]
    NoBase(PathBuf),
    /// There is an account here already.
    #[error("this machine is already {machine} in the account {account} ({} exists): nothing was changed", path.display())]
    Exists {
        /// The identity file.
        path: PathBuf,
        /// The account.
        account: String,
        /// The machine's name.
        machine: String,
    },
    /// A home base without an identity.
    #[error("{} exists but {IDENTITY} beside it does not: restore {IDENTITY} from a backup, or move it away", .0.display())]
    Orphaned(PathBuf),
    /// Cannot be understood.
    #[error("{} is damaged ({why}): restore it from a backup, or move it away and join again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Written by a newer btmm.
    #[error("{} has format {format}, but this btmm knows only formats up to {FORMAT}: upgrade btmm", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// A secret that others can read.
    #[error("{} can be read by other users (mode {mode:04o}): run \"chmod 600\" on it, and join again if they are not trusted", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another key than the one asked for.
    #[error("{} holds another key already: move it away to use the one on the token", .0.display())]
    OtherKey(PathBuf),
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A key could not be made or written.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl StateError {
    pub(super) fn damaged(path: &Path, why: &str) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_owned() }
    }
}

/// Reads the JSON of a versioned file. Errors name its line, never its contents.
pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, StateError> {
    #[derive(serde::Deserialize)]
    struct Form {
        format: u32,
    }
    let place = |error: serde_json::Error| StateError::damaged(path, &format!("line {}, column {}", error.line(), error.column()));
    let form: Form = serde_json::from_slice(json).map_err(place)?;
    if form.format > FORMAT {
        return Err(StateError::Format { path: path.to_owned(), format: form.format });
    }
    serde_json::from_slice(json).map_err(place)
}
