//! Addresses, default routes and their changes.
//!
//! - [`address`]: what kind of address it is.
//! - [`snapshot`]: all interfaces, addresses and default routes at one moment, and what changed between two.
//! - [`linux`]: the kernel's side, as a stream of snapshots.
pub mod address;
pub mod linux;
pub mod snapshot;

pub use address::Class;
pub use snapshot::{Address, Changes, DefaultRoute, Interface, Kind, Snapshot};
