//! The folder of pins on a bpffs.
//!
//! ```text
//! <pins>/switch            the firewall switch, one map for ever
//! <pins>/v<LAYOUT>/<map>   the other maps, of one layout
//! <pins>/links/<hook>-<program>-<index>
//!                          what is attached where: the bpf_link of XDP and TCX; for clsact filters, which have no link, the program
//! ```
//! Nothing but directories and BPF objects can be made on a bpffs, and no name may contain a dot, hence interface indices.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapType};
use btmm_ebpf::layout;
use btmm_ebpf::verdict::Verdict;
use nix::fcntl::AtFlags;
use nix::mount::MsFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, unlinkat};

use crate::datapath::DatapathError;

/// Type and sizes a pinned map must have to be taken over.
struct Shape {
    name: &'static str,
    map_type: MapType,
    key: u32,
    value: u32,
    entries: u32,
}

const SHAPES: [Shape; 5] = [
    Shape { name: layout::CONFIG, map_type: MapType::Array, key: 4, value: size_of::<layout::Config>() as u32, entries: 1 },
    Shape { name: layout::INBOUND_SAS, map_type: MapType::Hash, key: 4, value: 4, entries: layout::INBOUND_SAS_MAX },
    Shape { name: layout::READY_PEERS, map_type: MapType::Hash, key: 16, value: 4, entries: layout::READY_PEERS_MAX },
    Shape { name: layout::IKE_SOURCES, map_type: MapType::LruHash, key: 12, value: 8, entries: layout::IKE_SOURCES_MAX },
    Shape { name: layout::COUNTERS, map_type: MapType::PerCpuArray, key: 4, value: 8, entries: Verdict::COUNT },
];

/// The folder, ready.
pub struct Pins {
    root: PathBuf,
    /// The maps of this layout were not there before.
    pub fresh: bool,
}

impl Pins {
    /// Makes the folders, mounting a bpffs above them if there is none, and removes maps of another shape.
    pub fn prepare(root: &Path) -> Result<Self, DatapathError> {
        ensure_bpffs(root)?;
        let mut pins = Self { root: root.to_owned(), fresh: false };
        for folder in [pins.root.clone(), pins.layout(), pins.links()] {
            make_folder(&folder)?;
        }
        for shape in &SHAPES {
            pins.fresh |= !pins.keep(shape)?;
        }
        Ok(pins)
    }

    /// The folder of an earlier run, if there is one.
    pub fn existing(root: &Path) -> Result<Option<Self>, DatapathError> {
        Ok(present(&root.join(layout::SWITCH))?.then(|| Self { root: root.to_owned(), fresh: false }))
    }

    /// Removes everything in the folder, and the folder itself unless something is mounted there or above it may not be changed.
    pub fn remove(self) -> Result<(), DatapathError> {
        let root = Folder::open(&self.root)?;
        for path in list(&self.root)? {
            if is_folder(&path)? {
                Folder::open(&path)?.clear()?;
                root.remove(&path, UnlinkatFlags::RemoveDir)?;
            } else {
                root.remove(&path, UnlinkatFlags::NoRemoveDir)?;
            }
        }
        let _mounted_or_not_ours = fs::remove_dir(&self.root);
        Ok(())
    }

    pub fn switch(&self) -> PathBuf {
        self.root.join(layout::SWITCH)
    }

    pub fn counters(&self) -> PathBuf {
        self.layout().join(layout::COUNTERS)
    }

    /// Every map's name and pin.
    pub fn maps(&self) -> Vec<(&'static str, PathBuf)> {
        let rest = SHAPES.iter().map(|shape| (shape.name, self.layout().join(shape.name)));
        rest.chain([(layout::SWITCH, self.switch())]).collect()
    }

    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Gives what root made to the owner of the folder, so that the daemon can open what the CLI pinned.
    pub fn adopt(&self) -> Result<(), DatapathError> {
        let owner = fs::metadata(&self.root).map_err(at(&self.root))?;
        if !Uid::effective().is_root() || owner.uid() == 0 {
            return Ok(());
        }
        for path in [self.root.clone(), self.layout(), self.links()] {
            Folder::open(&path)?.give(owner.uid(), owner.gid())?;
        }
        Ok(())
    }

    /// Unpins the maps of other layouts. Programs that still run over them keep them alive until they are replaced.
    pub fn forget_older_layouts(&self) {
        for folder in list(&self.root).unwrap_or_default() {
            let is_layout = folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('v'));
            if is_layout && folder != self.layout() {
                let _may_be_gone = Folder::open(&folder).and_then(|held| held.clear());
                let _may_be_gone = fs::remove_dir(folder);
            }
        }
    }

    fn layout(&self) -> PathBuf {
        self.root.join(format!("v{}", layout::LAYOUT))
    }

    /// Whether a map is there in its shape. One of another shape is unpinned.
    fn keep(&self, shape: &Shape) -> Result<bool, DatapathError> {
        let path = self.layout().join(shape.name);
        if !present(&path)? {
            return Ok(false);
        }
        let named = |source| DatapathError::Map { name: shape.name, source: Box::new(source) };
        let info = MapData::from_pin(&path).and_then(|data| data.info()).map_err(named)?;
        let fits = info.map_type().is_ok_and(|found| found == shape.map_type)
            && (info.key_size(), info.value_size(), info.max_entries()) == (shape.key, shape.value, shape.entries);
        if !fits {
            Folder::open(&self.layout())?.remove(&path, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(fits)
    }
}

/// A folder held open. What root does to its entries goes by this, never by the path: the daemon's user, who owns the folder, could put a
/// link to another in its place. Nor are entries followed that are links.
struct Folder {
    path: PathBuf,
    held: File,
}

impl Folder {
    fn open(path: &Path) -> Result<Self, DatapathError> {
        let held = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path).map_err(at(path))?;
        Ok(Self { path: path.to_owned(), held })
    }

    /// Removes an entry; it may be gone already.
    fn remove(&self, entry: &Path, flags: UnlinkatFlags) -> Result<(), DatapathError> {
        let name = entry.file_name().unwrap_or_default();
        unlinkat(&self.held, name, flags).map_err(io::Error::from).or_else(unless_missing).map_err(at(entry))
    }

    /// Removes every entry; none of them may be a folder.
    fn clear(&self) -> Result<(), DatapathError> {
        list(&self.path)?.iter().try_for_each(|entry| self.remove(entry, UnlinkatFlags::NoRemoveDir))
    }

    /// Gives the folder and what is in it to a user.
    fn give(&self, user: u32, group: u32) -> Result<(), DatapathError> {
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        for entry in list(&self.path)? {
            let name = entry.file_name().unwrap_or_default();
            let given = fchownat(&self.held, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW);
            given.map_err(io::Error::from).or_else(unless_missing).map_err(at(&entry))?;
        }
        fchown(&self.held, user, group).map_err(io::Error::from).map_err(at(&self.path))
    }
}

/// Whether this is a folder, and not a link to one.
fn is_folder(path: &Path) -> Result<bool, DatapathError> {
    fs::symlink_metadata(path).map(|about| about.is_dir()).map_err(at(path))
}

/// What lies in a folder, in order.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(folder))?,
    };
    let mut paths: Vec<PathBuf> = entries.collect::<Result<Vec<_>, _>>().map_err(at(folder))?.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// Whether a pin is there. One that we may not look for is not taken for missing.
pub fn present(path: &Path) -> Result<bool, DatapathError> {
    path.try_exists().map_err(at(path))
}

/// No error when a pin that is to go is gone already.
pub fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Names the pin an error is about.
pub fn at(path: &Path) -> impl Fn(io::Error) -> DatapathError {
    let path = path.to_owned();
    move |source| DatapathError::Pin { path: path.clone(), source }
}

fn make_folder(folder: &Path) -> Result<(), DatapathError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        // Opened, because a link to a folder would do for one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Folder::open(folder).map(drop),
        made => made.map_err(at(folder)),
    }
}

/// Mounts a bpffs on the folder above the pins unless they lie on one already.
fn ensure_bpffs(root: &Path) -> Result<(), DatapathError> {
    let failed = |source| DatapathError::Bpffs { path: root.to_owned(), source };
    let above = root.parent().unwrap_or(Path::new("/"));
    if is_bpffs(root) || is_bpffs(above) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), above, Some("bpf"), flags, Some("mode=0711")).map_err(|error| failed(error.into()))
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use nix::unistd::setfsuid;

    use super::*;

    #[test]
    fn pins_that_may_not_be_looked_at_are_an_error_that_names_them_and_not_absent() {
        let folder = std::env::temp_dir().join(format!("btmm-pins-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        assert!(Pins::existing(&folder).unwrap().is_none());
        fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
        let asked = folder.clone();
        // For root nothing is forbidden: the thread looks as another user.
        let found = std::thread::spawn(move || {
            setfsuid(Uid::from_raw(65_534));
            Pins::existing(&asked).map(|pins| pins.is_some())
        });
        let error = found.join().unwrap().unwrap_err();
        fs::remove_dir(&folder).unwrap();
        assert!(error.is_permission());
        assert_eq!(error.to_string(), format!("{}: Permission denied (os error 13)", folder.join(layout::SWITCH).display()));
    }
}
