//! Kernel IPsec over netlink.
//!
//! - [`port`]: the nouns: states, the inner network, what the kernel tells us.
//! - [`policy`]: policies as plain values, and what turns those present into those wanted.
//! - [`guard`]: why no inner packet leaves in clear, and what holds that up when nothing of ours runs.
//! - [`link`]: `btmm0`, its routes and rules, as a plan.
//! - [`error`]: what can go wrong, with the object it went wrong with.
//! - [`linux`]: the handle, [`linux::Xfrm`], and the monitor of kernel events.
//!
//! `encode` and `decode` stand between our nouns and `netlink-packet-xfrm`.
mod decode;
mod encode;
pub mod error;
pub mod guard;
pub mod link;
pub mod linux;
pub mod policy;
pub mod port;

pub use error::XfrmError;
pub use linux::Xfrm;
