//! The file of principals, and what can be wrong with any file of the local KDC.

use std::path::{Path, PathBuf};

use super::book::Book;
use super::stored::{self, FORMAT, NotStored};
use crate::account::layout::StateError;
use crate::account::linux::{self, Secrecy};

/// The folder of the local KDC in the state directory.
pub(super) const FOLDER: &str = "lkdc";
/// What is kept of the realm, in [`FOLDER`].
const PRINCIPALS: &str = "lkdc/principals.json";

/// What the owner of a damaged file can do.
const REMEDY: &str =
    "restore it from a backup, or move it away, set passwords again with \"btmm passwd\" and export keytabs again with \"btmm keytab\"";

/// Why a file of the local KDC cannot be used. One line, naming it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Cannot be understood.
    #[error("{} is damaged ({why}): {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Written by a newer btmm.
    #[error("{} has format {format}, but this btmm knows only formats up to {known}: upgrade btmm", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The newest that is understood.
        known: u32,
    },
    /// The system, or who may read it.
    #[error(transparent)]
    State(StateError),
}

impl FileError {
    /// What reading or writing came to, with what the owner can do where the file is damaged.
    pub(crate) fn of(error: StateError, remedy: &'static str) -> Self {
        match error {
            StateError::Damaged { path, why } => Self::Damaged { path, why, remedy },
            other => Self::State(other),
        }
    }
}

/// Reads what is kept; `None` when nothing is yet.
pub(super) fn load(state_dir: &Path) -> Result<Option<Book>, FileError> {
    let path = state_dir.join(PRINCIPALS);
    let Some(json) = linux::read(&path, Secrecy::Secret).map_err(|error| FileError::of(error, REMEDY))? else { return Ok(None) };
    stored::parse(&json).map(Some).map_err(|error| match error {
        NotStored::Newer(format) => FileError::Newer { path, format, known: FORMAT },
        other => FileError::Damaged { path, why: other.to_string(), remedy: REMEDY },
    })
}

/// Writes what is kept, so that after a crash there is either the old file or the new one.
pub(super) fn save(state_dir: &Path, book: &Book) -> Result<(), FileError> {
    let written = linux::make_directory(&state_dir.join(FOLDER))
        .and_then(|()| linux::write(&state_dir.join(PRINCIPALS), &stored::emit(book), Secrecy::Secret));
    written.map_err(FileError::State)
}
