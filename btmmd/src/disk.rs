//! Files that are there whole, or as they were.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces a file so that after a crash there is either the old one or the new one. The draft beside it is always made anew: nothing that
/// the directory's owner put in its place is written to or followed. `prepare` sees it before it has the file's name.
pub(crate) fn replace(path: &Path, octets: &[u8], mode: u32, prepare: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let fresh = beside(path);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(octets)?;
        prepare(&file)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    })();
    if written.is_err() {
        // The first error is the one to report; a leftover is removed by the next write.
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_place_of_the_draft_is_neither_followed_nor_written_to() {
        let folder = std::env::temp_dir().join(format!("btmm-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (other, file, draft) = (folder.join("other"), folder.join("file"), folder.join("file.new"));
        for link in [true, false] {
            fs::write(&other, "of somebody else").unwrap();
            if link {
                std::os::unix::fs::symlink(&other, &draft).unwrap()
            } else {
                fs::hard_link(&other, &draft).unwrap()
            }
            replace(&file, b"ours", 0o600, |_| Ok(())).unwrap();
            assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
            assert!(fs::symlink_metadata(&file).unwrap().is_file() && fs::read(&file).unwrap() == b"ours");
        }
        let kept = replace(&file, b"theirs", 0o600, |_| Err(io::Error::other("no"))).unwrap_err().to_string();
        assert_eq!((kept.as_str(), fs::read(&file).unwrap().as_slice(), draft.exists()), ("no", b"ours".as_slice(), false));
        fs::remove_dir_all(&folder).unwrap();
    }
}
