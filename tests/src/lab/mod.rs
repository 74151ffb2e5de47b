//! The lab: machines, home routers and an internet made of namespaces, the same natively and inside `cargo xtask vm`.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use btmm_tests::lab::{TwoHomes, binary};
//! let homes = TwoHomes::new()?;
//! let capture = homes.capture()?;
//! let daemon = homes.imac.spawn(homes.imac.command(binary("btmmd")))?;
//! homes.laptop.ping("203.0.113.10", 5)?;
//! let seen = capture.stop()?;
//! # drop(daemon);
//! # Ok(()) }
//! ```
//!
//! Everything made here is inside namespaces of its own and ends with its guard, or with this process.
mod capture;
pub mod kerberos;
mod last_frame;
mod node;
mod packet;
mod process;
mod resolved;
mod router;
mod topology;

use std::path::PathBuf;

pub use capture::{Capture, Seen};
pub use node::Node;
pub use packet::{Kind, Packet, read_pcap};
pub use process::{Finished, Running, feed, finish};
pub use resolved::Resolved;
pub use router::{Router, RouterPlan};
pub use topology::{Options, TwoHomes};

/// True inside `cargo xtask vm`: the lab root is the root, and its programs are called by their names.
#[must_use]
pub fn inside() -> bool {
    std::env::var_os("BTMM_LAB").is_some_and(|value| value == "inside")
}

/// The path of one of our programs (`btmmd`, `btmm`, `lab`), built beside the one that is running, or in `BTMM_BIN_DIR`.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("BTMM_BIN_DIR") {
        return PathBuf::from(folder).join(name);
    }
    let running = std::env::current_exe().unwrap_or_default();
    let folder = running.parent().map(PathBuf::from).unwrap_or_default();
    // Test binaries lie one folder deeper, in deps.
    let folder = if folder.ends_with("deps") { folder.parent().map(PathBuf::from).unwrap_or_default() } else { folder };
    folder.join(name)
}

/// The lab root of this checkout, for foreign programs outside the VM.
#[must_use]
pub fn lab_root() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    let root = target.join("lab/rootfs");
    root.canonicalize().unwrap_or(root)
}
