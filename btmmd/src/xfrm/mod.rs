//! Kernel IPsec over netlink.
//!
//! - [`port`]: the nouns: states, policies, the inner network, what the kernel tells us.
//! - [`error`]: what can go wrong, with the object it went wrong with.
//! - [`linux`]: the handle, [`linux::Xfrm`], and the monitor of kernel events.
pub mod error;
pub mod linux;
pub mod port;

pub use error::XfrmError;
pub use linux::Xfrm;
