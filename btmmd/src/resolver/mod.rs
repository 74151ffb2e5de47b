//! The local resolver: a name look-up that raises a tunnel.
//!
//! A query for the AAAA record of a machine is held until the tunnel to it is up, and then answered with its inner address; if the tunnel cannot be
//! raised the answer is SERVFAIL with the cause in words (RFC 8914). No answer is ever made up, so a program that has an address has a tunnel.
//! Names outside the account are refused, so that the system goes on to its next name server.
//!
//! ```text
//!              Query, TunnelUp, TunnelFailed, Table, Timeout             Answer, WantTunnel
//! driver.rs ─────────────────────────────────────────────► stub.rs ─────────────────────────► driver.rs, engine
//!
//! resolved.rs: the calls that make systemd-resolved ask us     linux.rs: makes them over D-Bus
//! ```
pub mod driver;
pub mod linux;
mod message;
mod resolved;
mod stub;
mod table;

pub use resolved::{Call, Integration, Link, apply, revert};
pub use stub::{Asker, Command, Config, Input, Stub};
pub use table::Table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the stub listens unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 45, 0, 1)), 53);
