//! btmmd: your own machines, reachable from anywhere, over kernel IPsec.
//!
//! The map. Upper half, which decides and owns no socket:
//!
//! - [`account`]: names, keys, certificates, invitations, the roster.
//! - [`rendezvous`]: the account's DNS zone, served and used.
//! - [`resolver`]: name look-ups of this machine that raise tunnels.
//! - [`portmap`]: the home router's port mapping.
//! - [`netwatch`]: this machine's addresses and routes.
//! - [`ike`]: IKEv2 (RFC 7296).
//! - [`lkdc`]: the local KDC and its clients (RFC 4120, 4556, 6113).
//! - [`esp`]: what IKE and the kernel call an ESP state's direction and key.
//! - [`entropy`]: random octets.
//! - [`wire`]: the one door through which hostile bytes enter.
//! - [`disk`]: files that are there whole, or as they were.
//!
//! Lower half, which reconciles the kernel:
//!
//! - [`xfrm`]: IPsec states and policies, `btmm0`, routes, the guard.
//! - [`datapath`]: eBPF programs, the firewall switch, the waiting room.
//!
//! Joined by [`engine`] (pure composition) and [`run`] (the event loop), and reached by people through [`control`] and [`cli`].
//!
//! In each folder IO lives only in `driver.rs` or `linux.rs`; everything else is a function of its input and the time.
pub mod account;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod datapath;
mod disk;
pub mod engine;
pub mod entropy;
pub mod esp;
pub mod ike;
pub mod lkdc;
pub mod netwatch;
pub mod portmap;
pub mod rendezvous;
pub mod resolver;
pub mod run;
pub mod wire;
pub mod xfrm;
