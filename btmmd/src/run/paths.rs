//! Where things are. Defaults are those of the packaged service.

use std::path::PathBuf;

/// Folders and files of one daemon.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The configuration file.
    pub config: PathBuf,
    /// What must survive a boot: keys, roster, zone, switches.
    pub state: PathBuf,
    /// The control socket's folder.
    pub runtime: PathBuf,
    /// Pinned eBPF programs, maps and links.
    pub pins: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            config: PathBuf::from(crate::config::PATH),
            state: PathBuf::from("/var/lib/btmm"),
            runtime: PathBuf::from("/run/btmm"),
            pins: PathBuf::from("/sys/fs/bpf/btmm"),
        }
    }
}

impl Paths {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("btmmd.sock")
    }

    /// The zone that a base serves.
    pub fn zone(&self) -> PathBuf {
        self.state.join("zone.json")
    }

    /// The tunnels that are up.
    pub fn tunnels(&self) -> PathBuf {
        self.state.join("tunnels.json")
    }

    /// The on/off switch.
    pub fn switch(&self) -> PathBuf {
        self.state.join("switch")
    }
}
