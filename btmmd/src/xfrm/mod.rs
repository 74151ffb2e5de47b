//! Kernel IPsec over netlink.
pub mod port;
