//! The kernel half: loading, pinning, attaching.

use std::net::Ipv6Addr;
use std::path::Path;

use super::{Counters, DatapathError, Settings, Uplink};

/// The programs, loaded; their maps, pinned; their links, pinned. Dropping this detaches nothing.
pub struct Datapath {}

impl Datapath {
    /// Loads the programs over the maps pinned under `pins` (making what is missing), brings back the kept choice of the switch,
    /// and atomically replaces the programs on every interface that an earlier run attached and that is still there.
    ///
    /// A layout change between versions makes the maps anew, except for the switch, which is the same map for ever. After such a
    /// change no interface is touched before [`attach_uplink`](Self::attach_uplink): set the inbound SAs first.
    ///
    /// # Errors
    /// [`DatapathError::NoPrograms`] in a build without them; otherwise what the kernel said, with its object.
    pub fn open(_pins: &Path, _settings: &Settings) -> Result<Self, DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// One line for the log when the kept choice of the switch could not be read, so that the switch blocks.
    pub fn warning(&self) -> Option<&str> {
        None
    }

    /// Changes port, prefix or rates at the next packet. `state_dir` and `program_log` are fixed at [`open`](Self::open).
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn set_config(&mut self, _settings: &Settings) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Puts `gate` and `gate_egress` on an interface. Idempotent: an earlier program of ours is replaced atomically, never stacked.
    ///
    /// # Errors
    /// [`DatapathError::Interface`], [`DatapathError::Attach`].
    pub fn attach_uplink(&mut self, _interface: &str) -> Result<Uplink, DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Takes the programs off an interface. No error when there are none, or when it is gone.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn detach_uplink(&mut self, _interface: &str) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Where the gate is in force now.
    pub fn uplinks(&self) -> Result<Vec<Uplink>, DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Puts `wait_egress` on `btmm0` (`inner_index`), redirecting to the TUN `wait_index`. Idempotent.
    ///
    /// # Errors
    /// As [`attach_uplink`](Self::attach_uplink).
    pub fn attach_waiting_room(&mut self, _inner_index: u32, _wait_index: u32) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Lets ESP of an inbound SPI (host byte order) in, or no longer.
    ///
    /// # Errors
    /// What the kernel said of the map, a full one included (131,072 SPIs).
    pub fn set_inbound_sa(&mut self, _spi: u32, _present: bool) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Lets no ESP in.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn clear_inbound_sas(&mut self) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Lets packets for `peer` leave `btmm0` (its tunnel is up), or sends them to the waiting room.
    ///
    /// # Errors
    /// What the kernel said of the map, a full one included (16,384 peers).
    pub fn set_peer_ready(&mut self, _peer: Ipv6Addr, _ready: bool) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Sends packets for every peer to the waiting room.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn clear_ready_peers(&mut self) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Packets by verdict.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Whether the switch blocks.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn blocked(&self) -> Result<bool, DatapathError> {
        Err(DatapathError::NoPrograms)
    }
}
