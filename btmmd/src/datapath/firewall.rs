//! The switch of port 4500: `btmm firewall block`, `allow`, `status`. Works as root with no daemon; takes effect at the next packet.
//!
//! The choice lives in the pinned map `switch`, which the programs read for every packet, and in `<state_dir>/firewall`
//! (`block\n` or `allow\n`), from which a boot restores it. Fail closed: whenever the two disagree, or the file cannot be read,
//! the switch blocks.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Counters, DatapathError};

/// What `btmm firewall status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallStatus {
    /// Whether the switch blocks.
    pub blocked: bool,
    /// Interfaces on which the programs that obey the switch are attached. Empty before the first `block` or start of the daemon.
    pub enforced_on: Vec<String>,
    /// Interfaces that carry traffic and have no gate, so that the switch does not reach them.
    pub not_enforced_on: Vec<String>,
    /// What the programs have counted.
    pub counters: Counters,
    /// The choice could not be read and the switch blocks because of that: one line that names the file.
    pub warning: Option<String>,
}

/// Blocks UDP to and from the encapsulation port, in and out, at the next packet, and keeps it so over restarts and boots.
///
/// Needs no daemon: if nothing is pinned yet, loads the programs and attaches them to every interface but loopback and our own.
///
/// # Errors
/// [`DatapathError::Partial`] when an interface could not be put under the switch (the others are blocked).
pub fn block(_pins: &Path, _state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    Err(DatapathError::NoPrograms)
}

/// Lets port 4500 through again. The SPI filter and the rate limit stay in force where they are attached.
///
/// # Errors
/// When the choice could not be written: the switch then stays as it was.
pub fn allow(_pins: &Path, _state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    Err(DatapathError::NoPrograms)
}

/// The switch as it is. Loads and attaches nothing.
///
/// # Errors
/// When the pins exist but cannot be opened.
pub fn status(_pins: &Path, _state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    Err(DatapathError::NoPrograms)
}

/// Brings the kept choice back after a boot, for use before the network is up. [`super::Datapath::open`] does the same by itself.
///
/// # Errors
/// As [`block`].
pub fn restore(_pins: &Path, _state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    Err(DatapathError::NoPrograms)
}
