//! `btmm on` and `btmm off`, kept over restarts and boots.

use std::io;
use std::path::Path;

use super::error::RunError;
use crate::disk;

/// The switch as it was left; on where nobody ever turned it.
///
/// # Errors
/// A file that says neither: it is left as it is, for guessing either way would surprise its owner.
pub fn load(path: &Path) -> Result<bool, RunError> {
    match std::fs::read_to_string(path) {
        Ok(text) => match text.trim() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(RunError::file(path, "says neither \"on\" nor \"off\": write one of them, or remove the file for \"on\"")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(RunError::file(path, error)),
    }
}

/// Keeps the switch: written whole or not at all.
pub fn save(path: &Path, on: bool) -> Result<(), RunError> {
    let said: &[u8] = if on { b"on\n" } else { b"off\n" };
    disk::replace(path, said, 0o644, |_| Ok(())).map_err(|error| RunError::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_kept_and_a_damaged_one_is_named() {
        let folder = std::env::temp_dir().join(format!("btmm-switch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("switch");
        assert!(load(&path).unwrap());
        save(&path, false).unwrap();
        assert!(!load(&path).unwrap());
        save(&path, true).unwrap();
        assert!(load(&path).unwrap());
        std::fs::write(&path, "maybe").unwrap();
        assert!(load(&path).unwrap_err().to_string().starts_with(path.to_str().unwrap()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
